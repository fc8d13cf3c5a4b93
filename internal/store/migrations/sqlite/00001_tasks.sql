-- +goose Up
-- The same tables as on MySQL. Times are text of one fixed form in UTC, so
-- that they sort.

CREATE TABLE tasks (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    type               TEXT NOT NULL,
    identifier         TEXT NOT NULL,
    request_hash       BLOB NOT NULL,
    status             TEXT NOT NULL,
    payload            TEXT NOT NULL,
    endpoints          TEXT NULL,
    expected           TEXT NULL,
    unserved           TEXT NULL,
    relay_time         TEXT NULL,
    start_time         TEXT NOT NULL,
    sent_time          TEXT NULL,
    last_modified_time TEXT NOT NULL
);
CREATE UNIQUE INDEX tasks_identifier ON tasks (type, identifier);
CREATE INDEX tasks_list ON tasks (type, id);
CREATE INDEX tasks_list_status ON tasks (type, status, id);
CREATE INDEX tasks_open ON tasks (status, sent_time, id);

CREATE TABLE task_results (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id            INTEGER NOT NULL,
    endpoint           TEXT NOT NULL,
    state              TEXT NOT NULL,
    lost_from          TEXT NULL,
    attempt            INTEGER NOT NULL,
    manager            TEXT NOT NULL,
    errnr              INTEGER NOT NULL,
    errmsg             TEXT NOT NULL,
    payload            TEXT NULL,
    start_time         TEXT NOT NULL,
    last_modified_time TEXT NOT NULL,
    retry_time         TEXT NULL
);
CREATE UNIQUE INDEX task_results_key ON task_results (task_id, endpoint);
CREATE INDEX task_results_endpoint ON task_results (endpoint, state, task_id);

CREATE TABLE endpoints (
    name        TEXT PRIMARY KEY,
    manager     TEXT NOT NULL,
    host        TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    version     TEXT NOT NULL,
    start_time  TEXT NOT NULL,
    last_seen   TEXT NOT NULL,
    lease_until TEXT NOT NULL
);
CREATE INDEX endpoints_last_seen ON endpoints (last_seen);

CREATE TABLE endpoint_task_types (
    task_type TEXT NOT NULL,
    endpoint  TEXT NOT NULL REFERENCES endpoints (name) ON DELETE CASCADE,
    PRIMARY KEY (task_type, endpoint)
);
CREATE INDEX endpoint_task_types_endpoint ON endpoint_task_types (endpoint);

-- +goose Down
DROP TABLE endpoint_task_types;
DROP TABLE endpoints;
DROP TABLE task_results;
DROP TABLE tasks;
