-- oldest: 11
-- +goose Up
-- The retry policy of a task that has its own, as JSON.
ALTER TABLE tasks ADD COLUMN retry TEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN retry;
