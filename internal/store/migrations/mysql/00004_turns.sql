-- +goose Up
-- Whose turn a job of the reconciler is.
-- +goose StatementBegin
CREATE TABLE turns (
    job        VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    holder     CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    turn_until DATETIME(6) NOT NULL,
    PRIMARY KEY (job)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- +goose Down
DROP TABLE turns;
