-- +goose Up
-- Names compare byte by byte, as they do everywhere else in tasker, so they
-- are ascii_bin; what people write is utf8mb4. JSON documents are text, since
-- a payload is kept byte for byte. Times are UTC.

-- +goose StatementBegin
CREATE TABLE tasks (
    id                 BIGINT NOT NULL AUTO_INCREMENT,
    type               VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    identifier         VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    request_hash       BINARY(32) NOT NULL,
    status             VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    payload            LONGTEXT NOT NULL,
    endpoints          LONGTEXT NULL,
    expected           LONGTEXT NULL,
    unserved           LONGTEXT NULL,
    relay_time         DATETIME(6) NULL,
    start_time         DATETIME(6) NOT NULL,
    sent_time          DATETIME(6) NULL,
    last_modified_time DATETIME(6) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY tasks_identifier (type, identifier),
    KEY tasks_list (type, id),
    KEY tasks_list_status (type, status, id),
    KEY tasks_open (status, sent_time, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- A task's results lie together, since they are read together. They have no
-- foreign key: it would lock the task's row for each result that is recorded,
-- against the API that marks the task as sent. Results are recorded only of
-- tasks that were read in the same transaction.
-- +goose StatementBegin
CREATE TABLE task_results (
    id                 BIGINT NOT NULL AUTO_INCREMENT,
    task_id            BIGINT NOT NULL,
    endpoint           VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    state              VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    lost_from          VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NULL,
    attempt            INT NOT NULL,
    manager            CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    errnr              INT NOT NULL,
    errmsg             LONGTEXT NOT NULL,
    payload            LONGTEXT NULL,
    start_time         DATETIME(6) NOT NULL,
    last_modified_time DATETIME(6) NOT NULL,
    retry_time         DATETIME(6) NULL,
    PRIMARY KEY (task_id, endpoint),
    UNIQUE KEY task_results_id (id),
    KEY task_results_endpoint (endpoint, state, task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TABLE endpoints (
    name        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    manager     CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    host        VARCHAR(255) NOT NULL,
    pid         INT NOT NULL,
    version     VARCHAR(64) NOT NULL,
    start_time  DATETIME(6) NOT NULL,
    last_seen   DATETIME(6) NOT NULL,
    lease_until DATETIME(6) NOT NULL,
    PRIMARY KEY (name),
    KEY endpoints_last_seen (last_seen)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TABLE endpoint_task_types (
    task_type VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    endpoint  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (task_type, endpoint),
    KEY endpoint_task_types_endpoint (endpoint),
    CONSTRAINT endpoint_task_types_endpoint FOREIGN KEY (endpoint) REFERENCES endpoints (name) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- +goose Down
DROP TABLE endpoint_task_types;
DROP TABLE endpoints;
DROP TABLE task_results;
DROP TABLE tasks;
