-- +goose Up
-- Finds the tasks of a type that have ended, those that ended first first.
CREATE INDEX tasks_ended ON tasks (type, status, last_modified_time, id);

-- Tasks that are deleted while their results are not yet.
-- +goose StatementBegin
CREATE TABLE purged_tasks (
    task_id    BIGINT NOT NULL,
    purge_time DATETIME(6) NOT NULL,
    PRIMARY KEY (task_id),
    KEY purged_tasks_time (purge_time, task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- +goose Down
DROP TABLE purged_tasks;
DROP INDEX tasks_ended ON tasks;
