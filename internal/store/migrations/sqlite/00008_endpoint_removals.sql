-- +goose Up
-- Removals of endpoints that are under way: the registration is deleted, its
-- open tasks and its queues are not all dealt with yet.
CREATE TABLE endpoint_removals (
    name        TEXT NOT NULL PRIMARY KEY,
    task_types  TEXT NOT NULL,
    remove_time TEXT NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE endpoint_removals;
