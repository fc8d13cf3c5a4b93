-- +goose Up
-- When the current attempt began; the step of it that is to run, and the boot
-- of the machine in which it asked for a reboot, to go on after it. Added at the
-- end, so that no row is written anew.
-- +goose StatementBegin
ALTER TABLE task_results ADD COLUMN attempt_time DATETIME(6) NULL, ADD COLUMN step INT NOT NULL DEFAULT 0,
    ADD COLUMN awaits_reboot VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL;
-- +goose StatementEnd
ALTER TABLE endpoints ADD COLUMN labels LONGTEXT NULL;

-- Finds the tasks that changed last.
CREATE INDEX tasks_changed ON tasks (last_modified_time, id);

-- What attempts told while they ran, and how those ended after which another
-- one followed. An attempt has a row where there is something to say: the
-- state is NULL until it ends so, and for ever where its result says how.
-- +goose StatementBegin
CREATE TABLE attempts (
    task_id      BIGINT NOT NULL,
    endpoint     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    attempt      INT NOT NULL,
    state        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NULL,
    errnr        INT NOT NULL DEFAULT 0,
    errmsg       LONGTEXT NULL,
    start_time   DATETIME(6) NULL,
    end_time     DATETIME(6) NULL,
    progress     LONGTEXT NULL,
    partial      LONGTEXT NULL,
    log_lines    BIGINT NOT NULL DEFAULT 0,
    log_bytes    BIGINT NOT NULL DEFAULT 0,
    log_left_out BIGINT NOT NULL DEFAULT 0,
    log_complete TINYINT(1) NOT NULL DEFAULT 0,
    PRIMARY KEY (task_id, endpoint, attempt)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- Pieces of the attempts' logs: content is a JSON array of lines. The first
-- line's number makes a piece that is stored again the same one.
-- +goose StatementBegin
CREATE TABLE log_chunks (
    id         BIGINT NOT NULL AUTO_INCREMENT,
    task_id    BIGINT NOT NULL,
    endpoint   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    attempt    INT NOT NULL,
    first_line BIGINT NOT NULL,
    last_line  BIGINT NOT NULL,
    content    LONGTEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY log_chunks_line (task_id, endpoint, attempt, first_line),
    KEY log_chunks_task (task_id, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- +goose Down
DROP TABLE log_chunks;
DROP TABLE attempts;
DROP INDEX tasks_changed ON tasks;
ALTER TABLE endpoints DROP COLUMN labels;
ALTER TABLE task_results DROP COLUMN attempt_time, DROP COLUMN step, DROP COLUMN awaits_reboot;
