-- +goose Up
-- Removals of endpoints that are under way: the registration is deleted, its
-- open tasks and its queues are not all dealt with yet.
-- +goose StatementBegin
CREATE TABLE endpoint_removals (
    name        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    task_types  LONGTEXT NOT NULL,
    remove_time DATETIME(6) NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- +goose Down
DROP TABLE endpoint_removals;
