-- oldest: 11
-- +goose Up
-- Who created the task: a principal, or the schedule whose task it is. NULL if nobody needed
-- a token then.
ALTER TABLE tasks ADD COLUMN created_by VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN created_by;
