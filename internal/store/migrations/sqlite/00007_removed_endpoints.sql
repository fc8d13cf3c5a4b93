-- +goose Up
-- The endpoints that were removed before they finished a task. Where a task
-- lists its endpoints, expected holds those that are left from then on.
ALTER TABLE tasks ADD COLUMN removed_endpoints TEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN removed_endpoints;
