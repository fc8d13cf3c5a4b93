-- oldest: 11
-- +goose Up
-- When a task that was to start later was accepted, and why it could not start.
-- +goose StatementBegin
ALTER TABLE tasks ADD COLUMN accepted_time DATETIME(6) NULL,
    ADD COLUMN errmsg VARCHAR(1024) NULL;
-- +goose StatementEnd

-- +goose Down
ALTER TABLE tasks DROP COLUMN accepted_time, DROP COLUMN errmsg;
