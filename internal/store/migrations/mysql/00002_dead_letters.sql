-- +goose Up
-- Messages that were no task, kept until somebody requeues or discards them.
-- The digest tells one from another; the body may be any bytes.

-- +goose StatementBegin
CREATE TABLE dead_letters (
    id         BIGINT NOT NULL AUTO_INCREMENT,
    digest     BINARY(32) NOT NULL,
    reason     VARCHAR(1024) NOT NULL,
    queue      VARCHAR(255) NOT NULL,
    message_id VARCHAR(255) NOT NULL,
    body       LONGBLOB NOT NULL,
    size       BIGINT NOT NULL,
    dead_time  DATETIME(6) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY dead_letters_digest (digest)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- +goose Down
DROP TABLE dead_letters;
