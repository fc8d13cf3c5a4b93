-- oldest: 11
-- +goose Up
-- How the endpoints of a task were chosen: its selectors, how many endpoints they
-- chose, limit and seed, as JSON. NULL if they were listed, or the task is for all.
ALTER TABLE tasks ADD COLUMN selection LONGTEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN selection;
