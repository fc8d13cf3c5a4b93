-- +goose Up
-- The same as on MySQL.
ALTER TABLE task_results ADD COLUMN attempt_time TEXT NULL;
ALTER TABLE task_results ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task_results ADD COLUMN awaits_reboot TEXT NULL;
ALTER TABLE endpoints ADD COLUMN labels TEXT NULL;

CREATE INDEX tasks_changed ON tasks (last_modified_time, id);

CREATE TABLE attempts (
    task_id      INTEGER NOT NULL,
    endpoint     TEXT NOT NULL,
    attempt      INTEGER NOT NULL,
    state        TEXT NULL,
    errnr        INTEGER NOT NULL DEFAULT 0,
    errmsg       TEXT NULL,
    start_time   TEXT NULL,
    end_time     TEXT NULL,
    progress     TEXT NULL,
    partial      TEXT NULL,
    log_lines    INTEGER NOT NULL DEFAULT 0,
    log_bytes    INTEGER NOT NULL DEFAULT 0,
    log_left_out INTEGER NOT NULL DEFAULT 0,
    log_complete INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task_id, endpoint, attempt)
);

CREATE TABLE log_chunks (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id    INTEGER NOT NULL,
    endpoint   TEXT NOT NULL,
    attempt    INTEGER NOT NULL,
    first_line INTEGER NOT NULL,
    last_line  INTEGER NOT NULL,
    content    TEXT NOT NULL
);
CREATE UNIQUE INDEX log_chunks_line ON log_chunks (task_id, endpoint, attempt, first_line);
CREATE INDEX log_chunks_task ON log_chunks (task_id, id);

-- +goose Down
DROP TABLE log_chunks;
DROP TABLE attempts;
DROP INDEX tasks_changed;
ALTER TABLE endpoints DROP COLUMN labels;
ALTER TABLE task_results DROP COLUMN attempt_time;
ALTER TABLE task_results DROP COLUMN step;
ALTER TABLE task_results DROP COLUMN awaits_reboot;
