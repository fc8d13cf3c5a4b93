-- oldest: 11
-- +goose Up
-- Who canceled tasks, in the order of their ids, which tells whether something was
-- canceled since the last look. endpoints is NULL if the task was canceled as a
-- whole. A result with a cancel_id was told to stop.
CREATE TABLE cancels (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id      INTEGER NOT NULL,
    endpoints    TEXT NULL,
    requested_by TEXT NOT NULL,
    reason       TEXT NOT NULL,
    cancel_time  TEXT NOT NULL
);
CREATE INDEX cancels_task ON cancels (task_id);
ALTER TABLE tasks ADD COLUMN cancellation TEXT NULL;
ALTER TABLE task_results ADD COLUMN cancel_id INTEGER NULL;

-- +goose Down
ALTER TABLE task_results DROP COLUMN cancel_id;
ALTER TABLE tasks DROP COLUMN cancellation;
DROP INDEX cancels_task;
DROP TABLE cancels;
