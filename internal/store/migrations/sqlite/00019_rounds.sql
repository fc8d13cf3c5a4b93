-- oldest: 11
-- +goose Up
-- The same as on MySQL.
CREATE TABLE rounds (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id         INTEGER NOT NULL,
    round           INTEGER NOT NULL,
    idempotency_key TEXT NULL,
    request_hash    BLOB NOT NULL,
    outcome         TEXT NOT NULL,
    requested_by    TEXT NOT NULL,
    reason          TEXT NOT NULL,
    round_time      TEXT NOT NULL
);
CREATE UNIQUE INDEX rounds_round ON rounds (task_id, round);
CREATE UNIQUE INDEX rounds_key ON rounds (task_id, idempotency_key);
CREATE INDEX rounds_time ON rounds (round_time, id);
ALTER TABLE tasks ADD COLUMN round INTEGER NOT NULL DEFAULT 1;
ALTER TABLE tasks ADD COLUMN round_time TEXT NULL;
ALTER TABLE task_results ADD COLUMN round INTEGER NOT NULL DEFAULT 1;
ALTER TABLE task_results ADD COLUMN earlier_attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN round INTEGER NOT NULL DEFAULT 1;

-- +goose Down
ALTER TABLE attempts DROP COLUMN round;
ALTER TABLE task_results DROP COLUMN earlier_attempts;
ALTER TABLE task_results DROP COLUMN round;
ALTER TABLE tasks DROP COLUMN round_time;
ALTER TABLE tasks DROP COLUMN round;
DROP INDEX rounds_time;
DROP INDEX rounds_key;
DROP INDEX rounds_round;
DROP TABLE rounds;
