-- +goose Up
-- The same as on MySQL.
CREATE INDEX tasks_ended ON tasks (type, status, last_modified_time, id);

CREATE TABLE purged_tasks (
    task_id    INTEGER PRIMARY KEY,
    purge_time TEXT NOT NULL
);
CREATE INDEX purged_tasks_time ON purged_tasks (purge_time, task_id);

-- +goose Down
DROP TABLE purged_tasks;
DROP INDEX tasks_ended;
