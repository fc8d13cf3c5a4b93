-- oldest: 11
-- +goose Up
-- When a task that was to start later was accepted, and why it could not start.
ALTER TABLE tasks ADD COLUMN accepted_time TEXT NULL;
ALTER TABLE tasks ADD COLUMN errmsg TEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN accepted_time;
ALTER TABLE tasks DROP COLUMN errmsg;
