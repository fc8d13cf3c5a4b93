-- +goose Up
-- What is known of the attempts to send a CREATED task: how many began, up to
-- which listed endpoint the task is sent, and why the broker refused it.
-- +goose StatementBegin
ALTER TABLE tasks ADD COLUMN publish_attempts INT NOT NULL DEFAULT 0,
    ADD COLUMN sent_to VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    ADD COLUMN refusal VARCHAR(1024) NULL;
-- +goose StatementEnd

-- +goose Down
ALTER TABLE tasks DROP COLUMN publish_attempts, DROP COLUMN sent_to, DROP COLUMN refusal;
