-- +goose Up
-- Whose turn a job of the reconciler is.
CREATE TABLE turns (
    job        TEXT NOT NULL PRIMARY KEY,
    holder     TEXT NOT NULL,
    turn_until TEXT NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE turns;
