-- oldest: 11
-- +goose Up
-- The same as on MySQL.
ALTER TABLE tasks ADD COLUMN places INTEGER NULL;
CREATE TABLE task_places (
    task_id     INTEGER PRIMARY KEY,
    task_type   TEXT NOT NULL,
    start_order INTEGER NOT NULL,
    untaken     INTEGER NOT NULL,
    listed      INTEGER NOT NULL
);
CREATE INDEX task_places_waiting ON task_places (task_type, start_order, task_id);
CREATE TABLE place_candidates (
    task_id  INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    PRIMARY KEY (task_id, endpoint)
) WITHOUT ROWID;
CREATE TABLE place_claims (
    task_id  INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    PRIMARY KEY (task_id, endpoint)
) WITHOUT ROWID;
CREATE INDEX place_claims_endpoint ON place_claims (endpoint, task_id);

-- +goose Down
DROP INDEX place_claims_endpoint;
DROP TABLE place_claims;
DROP TABLE place_candidates;
DROP INDEX task_places_waiting;
DROP TABLE task_places;
ALTER TABLE tasks DROP COLUMN places;
