-- oldest: 11
-- +goose Up
-- Whom a task is for, one row each. tasks.targets is their number; NULL says that
-- an older program accepted the task, and that its lists of endpoints tell.
-- +goose StatementBegin
CREATE TABLE task_targets (
    task_id  BIGINT NOT NULL,
    endpoint VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (task_id, endpoint),
    KEY task_targets_endpoint (endpoint, task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
ALTER TABLE tasks ADD COLUMN targets INT NULL;
-- +goose StatementEnd

-- +goose Down
ALTER TABLE tasks DROP COLUMN targets;
DROP TABLE task_targets;
