-- oldest: 11
-- +goose Up
-- Schedules, and what became of each of their slots. definition is what somebody asked
-- for; version counts changes of it, revision any change, which guards them.
-- next_time is the next slot, queued_time the one that waits, due_time when to look at
-- the schedule. pause says who paused it.
-- +goose StatementBegin
CREATE TABLE schedules (
    id             BIGINT NOT NULL AUTO_INCREMENT,
    name           VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    definition     LONGTEXT NOT NULL,
    version        BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    pause          TEXT NULL,
    next_time      DATETIME(6) NULL,
    queued_time    DATETIME(6) NULL,
    due_time       DATETIME(6) NULL,
    failures_since DATETIME(6) NOT NULL,
    created_time   DATETIME(6) NOT NULL,
    created_by     VARCHAR(255) NOT NULL,
    changed_time   DATETIME(6) NOT NULL,
    changed_by     VARCHAR(255) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY schedules_name (name),
    KEY schedules_due (due_time, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TABLE schedule_slots (
    schedule_id   BIGINT NOT NULL,
    slot_time     DATETIME(6) NOT NULL,
    outcome       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    reason        TEXT NOT NULL,
    type          VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    identifier    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    task_id       BIGINT NULL,
    requested_by  VARCHAR(255) NOT NULL,
    recorded_time DATETIME(6) NOT NULL,
    PRIMARY KEY (schedule_id, slot_time)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- +goose Down
DROP TABLE schedule_slots;
DROP TABLE schedules;
