-- oldest: 11
-- +goose Up
-- When the reconciler looks whether a task has expired (its not_after), and how long
-- after its start it expires, in microseconds, if it was told so. A result has the
-- not_after of its task, so that the start of a run reads no other row.
-- +goose StatementBegin
ALTER TABLE tasks ADD COLUMN expires_in BIGINT NULL,
    ADD COLUMN expire_time DATETIME(6) NULL;
-- +goose StatementEnd
CREATE INDEX tasks_expire ON tasks (expire_time, id);
ALTER TABLE task_results ADD COLUMN not_after DATETIME(6) NULL;

-- +goose Down
ALTER TABLE task_results DROP COLUMN not_after;
DROP INDEX tasks_expire ON tasks;
ALTER TABLE tasks DROP COLUMN expires_in, DROP COLUMN expire_time;
