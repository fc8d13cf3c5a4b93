-- oldest: 11
-- +goose Up
-- Whom a task is for, one row each. tasks.targets is their number; NULL says that
-- an older program accepted the task, and that its lists of endpoints tell.
CREATE TABLE task_targets (
    task_id  INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    PRIMARY KEY (task_id, endpoint)
) WITHOUT ROWID;
CREATE INDEX task_targets_endpoint ON task_targets (endpoint, task_id);
ALTER TABLE tasks ADD COLUMN targets INTEGER NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN targets;
DROP INDEX task_targets_endpoint;
DROP TABLE task_targets;
