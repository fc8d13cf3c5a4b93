-- oldest: 11
-- +goose Up
-- The same as on MySQL.
ALTER TABLE tasks ADD COLUMN expires_in INTEGER NULL;
ALTER TABLE tasks ADD COLUMN expire_time TEXT NULL;
CREATE INDEX tasks_expire ON tasks (expire_time, id);
ALTER TABLE task_results ADD COLUMN not_after TEXT NULL;

-- +goose Down
ALTER TABLE task_results DROP COLUMN not_after;
DROP INDEX tasks_expire;
ALTER TABLE tasks DROP COLUMN expires_in;
ALTER TABLE tasks DROP COLUMN expire_time;
