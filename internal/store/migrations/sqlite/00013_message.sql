-- oldest: 11
-- +goose Up
-- The same as on MySQL.
ALTER TABLE tasks ADD COLUMN payload_sha256 BLOB NULL;
ALTER TABLE tasks ADD COLUMN not_after TEXT NULL;
ALTER TABLE tasks ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN traceparent TEXT NULL;
ALTER TABLE tasks ADD COLUMN signature TEXT NULL;
ALTER TABLE tasks ADD COLUMN uid TEXT NULL;
CREATE UNIQUE INDEX tasks_uid ON tasks (uid);
ALTER TABLE endpoints ADD COLUMN protocol INTEGER NOT NULL DEFAULT 1;
ALTER TABLE endpoints ADD COLUMN protocol_manager TEXT NULL;

-- +goose Down
ALTER TABLE endpoints DROP COLUMN protocol;
ALTER TABLE endpoints DROP COLUMN protocol_manager;
DROP INDEX tasks_uid;
ALTER TABLE tasks DROP COLUMN payload_sha256;
ALTER TABLE tasks DROP COLUMN not_after;
ALTER TABLE tasks DROP COLUMN priority;
ALTER TABLE tasks DROP COLUMN traceparent;
ALTER TABLE tasks DROP COLUMN signature;
ALTER TABLE tasks DROP COLUMN uid;
