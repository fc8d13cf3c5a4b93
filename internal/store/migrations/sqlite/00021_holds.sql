-- oldest: 11
-- +goose Up
-- What keeps attempts from starting: at an endpoint, of a task type, or of a task. One
-- of the three columns is set. Without held_until a hold lasts until it is ended.
CREATE TABLE holds (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint     TEXT NULL,
    task_type    TEXT NULL,
    task_id      INTEGER NULL,
    requested_by TEXT NOT NULL,
    reason       TEXT NOT NULL,
    hold_time    TEXT NOT NULL,
    held_until   TEXT NULL
);
CREATE UNIQUE INDEX holds_endpoint ON holds (endpoint);
CREATE UNIQUE INDEX holds_task_type ON holds (task_type);
CREATE UNIQUE INDEX holds_task ON holds (task_id);
CREATE INDEX holds_until ON holds (held_until);
-- A copy of its hold, for those who read the task.
ALTER TABLE tasks ADD COLUMN hold TEXT NULL;
-- While gate is 1, each start at the endpoint looks for holds. gated_by is the manager
-- that registered through a program which does so.
ALTER TABLE endpoints ADD COLUMN gate INTEGER NOT NULL DEFAULT 1;
ALTER TABLE endpoints ADD COLUMN gated_by TEXT NULL;

-- +goose Down
ALTER TABLE endpoints DROP COLUMN gated_by;
ALTER TABLE endpoints DROP COLUMN gate;
ALTER TABLE tasks DROP COLUMN hold;
DROP INDEX holds_until;
DROP INDEX holds_task;
DROP INDEX holds_task_type;
DROP INDEX holds_endpoint;
DROP TABLE holds;
