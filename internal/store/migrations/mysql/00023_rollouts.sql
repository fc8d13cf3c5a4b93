-- oldest: 11
-- +goose Up
-- How far tasks are that go through their endpoints in waves. version guards each
-- change of record. next_look is when to look at it again, NULL once it has ended;
-- relay_time when to send the task to endpoints whose wave is open, NULL if there are
-- none, and publish_attempts the latest attempt to do so.
-- +goose StatementBegin
CREATE TABLE rollouts (
    task_id          BIGINT NOT NULL,
    version          BIGINT NOT NULL,
    state            VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    record           LONGTEXT NOT NULL,
    plan             LONGTEXT NOT NULL,
    settings         LONGTEXT NOT NULL,
    skipped          LONGTEXT NULL,
    next_look        DATETIME(6) NULL,
    relay_time       DATETIME(6) NULL,
    publish_attempts INT NOT NULL,
    PRIMARY KEY (task_id),
    KEY rollouts_look (next_look),
    KEY rollouts_relay (relay_time),
    KEY rollouts_state (state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
-- The endpoints of rollouts. stage is 0 before the wave is open, 1 until open_time, and
-- from then on the endpoint is a target of the task, too: 2 until the task is sent to it,
-- 3 afterwards. late and forgiven are marks of decisions.
-- +goose StatementBegin
CREATE TABLE rollout_targets (
    task_id   BIGINT NOT NULL,
    endpoint  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    wave      INT NOT NULL,
    stage     TINYINT NOT NULL DEFAULT 0,
    open_time DATETIME(6) NULL,
    late      TINYINT NOT NULL DEFAULT 0,
    forgiven  TINYINT NOT NULL DEFAULT 0,
    PRIMARY KEY (task_id, endpoint),
    KEY rollout_targets_wave (task_id, wave),
    KEY rollout_targets_stage (task_id, stage, open_time),
    KEY rollout_targets_endpoint (endpoint, stage, task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
-- A copy of the state, for those who read the task.
ALTER TABLE tasks ADD COLUMN rollout LONGTEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN rollout;
DROP TABLE rollout_targets;
DROP TABLE rollouts;
