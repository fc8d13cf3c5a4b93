-- oldest: 11
-- +goose Up
-- How far tasks are that go through their endpoints in waves. version guards each
-- change of record. next_look is when to look at it again, NULL once it has ended;
-- relay_time when to send the task to endpoints whose wave is open, NULL if there are
-- none, and publish_attempts the latest attempt to do so.
CREATE TABLE rollouts (
    task_id          INTEGER PRIMARY KEY,
    version          INTEGER NOT NULL,
    state            TEXT NOT NULL,
    record           TEXT NOT NULL,
    plan             TEXT NOT NULL,
    settings         TEXT NOT NULL,
    skipped          TEXT NULL,
    next_look        TEXT NULL,
    relay_time       TEXT NULL,
    publish_attempts INTEGER NOT NULL
);
CREATE INDEX rollouts_look ON rollouts (next_look);
CREATE INDEX rollouts_relay ON rollouts (relay_time);
CREATE INDEX rollouts_state ON rollouts (state);
-- The endpoints of rollouts. stage is 0 before the wave is open, 1 until open_time, and
-- from then on the endpoint is a target of the task, too: 2 until the task is sent to it,
-- 3 afterwards. late and forgiven are marks of decisions.
CREATE TABLE rollout_targets (
    task_id   INTEGER NOT NULL,
    endpoint  TEXT NOT NULL,
    wave      INTEGER NOT NULL,
    stage     INTEGER NOT NULL DEFAULT 0,
    open_time TEXT NULL,
    late      INTEGER NOT NULL DEFAULT 0,
    forgiven  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task_id, endpoint)
) WITHOUT ROWID;
CREATE INDEX rollout_targets_wave ON rollout_targets (task_id, wave);
CREATE INDEX rollout_targets_stage ON rollout_targets (task_id, stage, open_time);
CREATE INDEX rollout_targets_endpoint ON rollout_targets (endpoint, stage, task_id);
-- A copy of the state, for those who read the task.
ALTER TABLE tasks ADD COLUMN rollout TEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN rollout;
DROP INDEX rollout_targets_endpoint;
DROP INDEX rollout_targets_stage;
DROP INDEX rollout_targets_wave;
DROP TABLE rollout_targets;
DROP INDEX rollouts_state;
DROP INDEX rollouts_relay;
DROP INDEX rollouts_look;
DROP TABLE rollouts;
