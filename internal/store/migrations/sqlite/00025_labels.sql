-- oldest: 11
-- +goose Up
-- The same as on MySQL.
CREATE TABLE task_labels (
    task_id INTEGER NOT NULL,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (task_id, name)
) WITHOUT ROWID;
CREATE INDEX task_labels_value ON task_labels (name, value, task_id);
CREATE INDEX task_labels_name ON task_labels (name, task_id);
ALTER TABLE tasks ADD COLUMN labels TEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN labels;
DROP INDEX task_labels_name;
DROP INDEX task_labels_value;
DROP TABLE task_labels;
