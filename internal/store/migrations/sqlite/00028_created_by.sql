-- oldest: 11
-- +goose Up
-- The same as on MySQL.
ALTER TABLE tasks ADD COLUMN created_by TEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN created_by;
