-- +goose Up
-- The same table as on MySQL.

CREATE TABLE dead_letters (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    digest     BLOB NOT NULL,
    reason     TEXT NOT NULL,
    queue      TEXT NOT NULL,
    message_id TEXT NOT NULL,
    body       BLOB NOT NULL,
    size       INTEGER NOT NULL,
    dead_time  TEXT NOT NULL
);
CREATE UNIQUE INDEX dead_letters_digest ON dead_letters (digest);

-- +goose Down
DROP TABLE dead_letters;
