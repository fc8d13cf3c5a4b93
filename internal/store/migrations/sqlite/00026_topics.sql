-- oldest: 11
-- +goose Up
-- The same as on MySQL.
CREATE TABLE topics (
    task_type TEXT NOT NULL,
    topic     TEXT NOT NULL,
    PRIMARY KEY (task_type, topic)
) WITHOUT ROWID;
CREATE TABLE topic_tasks (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id   INTEGER NOT NULL,
    task_type TEXT NOT NULL,
    topic     TEXT NOT NULL,
    ended     INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX topic_tasks_task ON topic_tasks (task_id);
CREATE INDEX topic_tasks_open ON topic_tasks (task_type, topic, ended, task_id);
ALTER TABLE tasks ADD COLUMN topic TEXT NULL;
ALTER TABLE tasks ADD COLUMN on_conflict TEXT NULL;
ALTER TABLE tasks ADD COLUMN superseded TEXT NULL;
ALTER TABLE task_results ADD COLUMN superseded_by INTEGER NULL;

-- +goose Down
ALTER TABLE task_results DROP COLUMN superseded_by;
ALTER TABLE tasks DROP COLUMN superseded;
ALTER TABLE tasks DROP COLUMN on_conflict;
ALTER TABLE tasks DROP COLUMN topic;
DROP INDEX topic_tasks_open;
DROP INDEX topic_tasks_task;
DROP TABLE topic_tasks;
DROP TABLE topics;
