-- oldest: 11
-- +goose Up
-- The labels of tasks, one row each, by which tasks are found. The order of their values
-- is of no use, and nothing but the same bytes is the same value.
-- +goose StatementBegin
CREATE TABLE task_labels (
    task_id BIGINT NOT NULL,
    name    VARCHAR(63) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    value   VARBINARY(255) NOT NULL,
    PRIMARY KEY (task_id, name),
    KEY task_labels_value (name, value, task_id),
    KEY task_labels_name (name, task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
-- All of them as JSON, for what reads the task; NULL if it has none.
ALTER TABLE tasks ADD COLUMN labels LONGTEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN labels;
DROP TABLE task_labels;
