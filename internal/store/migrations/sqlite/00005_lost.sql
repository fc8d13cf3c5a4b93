-- +goose Up
-- A result that is LOST says so; what it said before comes back with it. Rows
-- that are LOST now said nothing, or what was overwritten.
ALTER TABLE task_results ADD COLUMN lost_errnr INTEGER NULL;
ALTER TABLE task_results ADD COLUMN lost_errmsg TEXT NULL;
UPDATE task_results SET lost_errnr = 0, lost_errmsg = '' WHERE state = 'LOST';

-- +goose Down
ALTER TABLE task_results DROP COLUMN lost_errnr;
ALTER TABLE task_results DROP COLUMN lost_errmsg;
