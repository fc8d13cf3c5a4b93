-- oldest: 11
-- +goose Up
-- The same as on MySQL.
CREATE TABLE schedules (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           TEXT NOT NULL,
    definition     TEXT NOT NULL,
    version        INTEGER NOT NULL,
    revision       INTEGER NOT NULL,
    pause          TEXT NULL,
    next_time      TEXT NULL,
    queued_time    TEXT NULL,
    due_time       TEXT NULL,
    failures_since TEXT NOT NULL,
    created_time   TEXT NOT NULL,
    created_by     TEXT NOT NULL,
    changed_time   TEXT NOT NULL,
    changed_by     TEXT NOT NULL
);
CREATE UNIQUE INDEX schedules_name ON schedules (name);
CREATE INDEX schedules_due ON schedules (due_time, id);
CREATE TABLE schedule_slots (
    schedule_id   INTEGER NOT NULL,
    slot_time     TEXT NOT NULL,
    outcome       TEXT NOT NULL,
    reason        TEXT NOT NULL,
    type          TEXT NULL,
    identifier    TEXT NULL,
    task_id       INTEGER NULL,
    requested_by  TEXT NOT NULL,
    recorded_time TEXT NOT NULL,
    PRIMARY KEY (schedule_id, slot_time)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE schedule_slots;
DROP INDEX schedules_due;
DROP INDEX schedules_name;
DROP TABLE schedules;
