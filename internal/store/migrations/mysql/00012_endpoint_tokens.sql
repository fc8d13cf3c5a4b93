-- +goose Up
-- The tokens with which endpoints identify themselves at the gateway, as their
-- SHA-256. One that was replaced by another is valid for a while longer.
-- oldest: 11
-- +goose StatementBegin
CREATE TABLE endpoint_tokens (
    id           BIGINT NOT NULL AUTO_INCREMENT,
    endpoint     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    hash         BINARY(32) NOT NULL,
    created_time DATETIME(6) NOT NULL,
    valid_until  DATETIME(6) NULL,
    last_used    CHAR(10) CHARACTER SET ascii COLLATE ascii_bin NULL,
    PRIMARY KEY (id),
    UNIQUE KEY endpoint_tokens_hash (hash),
    KEY endpoint_tokens_endpoint (endpoint, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- Counts the changes of what processes keep in memory.
-- +goose StatementBegin
CREATE TABLE revisions (
    name     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
INSERT INTO revisions (name, revision)
    SELECT 'endpoint_tokens', 0 FROM (SELECT COUNT(*) AS n FROM revisions) v WHERE n = 0;

-- +goose Down
DROP TABLE revisions;
DROP TABLE endpoint_tokens;
