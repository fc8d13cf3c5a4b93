-- oldest: 11
-- +goose Up
-- The rounds of tasks that were retried, in the order of their ids, which tells whether
-- something was retried since the last look. outcome is the answer, as JSON, which the
-- same idempotency_key gets again. The first round of a task has no row.
-- +goose StatementBegin
CREATE TABLE rounds (
    id              BIGINT NOT NULL AUTO_INCREMENT,
    task_id         BIGINT NOT NULL,
    round           INT NOT NULL,
    idempotency_key VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NULL,
    request_hash    BINARY(32) NOT NULL,
    outcome         LONGTEXT NOT NULL,
    requested_by    VARCHAR(255) NOT NULL,
    reason          TEXT NOT NULL,
    round_time      DATETIME(6) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY rounds_round (task_id, round),
    UNIQUE KEY rounds_key (task_id, idempotency_key),
    KEY rounds_time (round_time, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
ALTER TABLE tasks ADD COLUMN round INT NOT NULL DEFAULT 1,
    ADD COLUMN round_time DATETIME(6) NULL;
-- +goose StatementEnd
-- The round in which an endpoint runs the task, and how many attempts it had begun
-- before that round.
-- +goose StatementBegin
ALTER TABLE task_results ADD COLUMN round INT NOT NULL DEFAULT 1,
    ADD COLUMN earlier_attempts INT NOT NULL DEFAULT 0;
-- +goose StatementEnd
ALTER TABLE attempts ADD COLUMN round INT NOT NULL DEFAULT 1;

-- +goose Down
ALTER TABLE attempts DROP COLUMN round;
ALTER TABLE task_results DROP COLUMN round, DROP COLUMN earlier_attempts;
ALTER TABLE tasks DROP COLUMN round, DROP COLUMN round_time;
DROP TABLE rounds;
