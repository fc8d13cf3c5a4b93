-- oldest: 11
-- +goose Up
-- The digest of a task's payload, and columns for what messages reserve. Which
-- version of messages an endpoint reads holds only for the manager that said so:
-- an older one that takes over does not change these columns.
-- +goose StatementBegin
ALTER TABLE tasks ADD COLUMN payload_sha256 BINARY(32) NULL,
    ADD COLUMN not_after DATETIME(6) NULL,
    ADD COLUMN priority INT NOT NULL DEFAULT 0,
    ADD COLUMN traceparent VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    ADD COLUMN signature VARCHAR(1024) CHARACTER SET ascii COLLATE ascii_bin NULL,
    ADD COLUMN uid VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL;
-- +goose StatementEnd
CREATE UNIQUE INDEX tasks_uid ON tasks (uid);
-- +goose StatementBegin
ALTER TABLE endpoints ADD COLUMN protocol INT NOT NULL DEFAULT 1,
    ADD COLUMN protocol_manager CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NULL;
-- +goose StatementEnd

-- +goose Down
ALTER TABLE endpoints DROP COLUMN protocol, DROP COLUMN protocol_manager;
DROP INDEX tasks_uid ON tasks;
ALTER TABLE tasks DROP COLUMN payload_sha256, DROP COLUMN not_after, DROP COLUMN priority, DROP COLUMN traceparent,
    DROP COLUMN signature, DROP COLUMN uid;
