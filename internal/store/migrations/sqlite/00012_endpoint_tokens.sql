-- +goose Up
-- The same as on MySQL.
-- oldest: 11
CREATE TABLE endpoint_tokens (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint     TEXT NOT NULL,
    hash         BLOB NOT NULL,
    created_time TEXT NOT NULL,
    valid_until  TEXT NULL,
    last_used    TEXT NULL
);
CREATE UNIQUE INDEX endpoint_tokens_hash ON endpoint_tokens (hash);
CREATE INDEX endpoint_tokens_endpoint ON endpoint_tokens (endpoint, id);

CREATE TABLE revisions (
    name     TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO revisions (name, revision)
    SELECT 'endpoint_tokens', 0 FROM (SELECT COUNT(*) AS n FROM revisions) v WHERE n = 0;

-- +goose Down
DROP TABLE revisions;
DROP TABLE endpoint_tokens;
