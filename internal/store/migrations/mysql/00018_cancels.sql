-- oldest: 11
-- +goose Up
-- Who canceled tasks, in the order of their ids, which tells whether something was
-- canceled since the last look. endpoints is NULL if the task was canceled as a
-- whole. A result with a cancel_id was told to stop.
-- +goose StatementBegin
CREATE TABLE cancels (
    id           BIGINT NOT NULL AUTO_INCREMENT,
    task_id      BIGINT NOT NULL,
    endpoints    LONGTEXT NULL,
    requested_by VARCHAR(255) NOT NULL,
    reason       TEXT NOT NULL,
    cancel_time  DATETIME(6) NOT NULL,
    PRIMARY KEY (id),
    KEY cancels_task (task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
ALTER TABLE tasks ADD COLUMN cancellation LONGTEXT NULL;
ALTER TABLE task_results ADD COLUMN cancel_id BIGINT NULL;

-- +goose Down
ALTER TABLE task_results DROP COLUMN cancel_id;
ALTER TABLE tasks DROP COLUMN cancellation;
DROP TABLE cancels;
