-- oldest: 11
-- +goose Up
-- What keeps attempts from starting: at an endpoint, of a task type, or of a task. One
-- of the three columns is set. Without held_until a hold lasts until it is ended.
-- +goose StatementBegin
CREATE TABLE holds (
    id           BIGINT NOT NULL AUTO_INCREMENT,
    endpoint     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    task_type    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    task_id      BIGINT NULL,
    requested_by VARCHAR(255) NOT NULL,
    reason       TEXT NOT NULL,
    hold_time    DATETIME(6) NOT NULL,
    held_until   DATETIME(6) NULL,
    PRIMARY KEY (id),
    UNIQUE KEY holds_endpoint (endpoint),
    UNIQUE KEY holds_task_type (task_type),
    UNIQUE KEY holds_task (task_id),
    KEY holds_until (held_until)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
-- A copy of its hold, for those who read the task.
ALTER TABLE tasks ADD COLUMN hold LONGTEXT NULL;
-- While gate is 1, each start at the endpoint looks for holds. gated_by is the manager
-- that registered through a program which does so.
ALTER TABLE endpoints ADD COLUMN gate TINYINT NOT NULL DEFAULT 1;
ALTER TABLE endpoints ADD COLUMN gated_by CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NULL;

-- +goose Down
ALTER TABLE endpoints DROP COLUMN gated_by;
ALTER TABLE endpoints DROP COLUMN gate;
ALTER TABLE tasks DROP COLUMN hold;
DROP TABLE holds;
