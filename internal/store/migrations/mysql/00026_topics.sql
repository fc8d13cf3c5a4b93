-- oldest: 11
-- +goose Up
-- A row for each topic that tasks of a type have: whoever starts one of them locks it,
-- so that they start one after the other.
-- +goose StatementBegin
CREATE TABLE topics (
    task_type VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    topic     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (task_type, topic)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
-- The tasks that have started with a topic, in the order of id. ended is 1 if somebody
-- saw that the task has ended: it may be 0 although it has.
-- +goose StatementBegin
CREATE TABLE topic_tasks (
    id        BIGINT NOT NULL AUTO_INCREMENT,
    task_id   BIGINT NOT NULL,
    task_type VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    topic     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    ended     TINYINT NOT NULL DEFAULT 0,
    PRIMARY KEY (id),
    UNIQUE KEY topic_tasks_task (task_id),
    KEY topic_tasks_open (task_type, topic, ended, task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
-- on_conflict is NULL if nothing was asked for. superseded says which newer task of the
-- topic replaced the task, as JSON.
-- +goose StatementBegin
ALTER TABLE tasks ADD COLUMN topic VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    ADD COLUMN on_conflict VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NULL,
    ADD COLUMN superseded TEXT NULL;
-- +goose StatementEnd
-- The newer task that replaced the one of the result: no attempt starts any more.
ALTER TABLE task_results ADD COLUMN superseded_by BIGINT NULL;

-- +goose Down
ALTER TABLE task_results DROP COLUMN superseded_by;
-- +goose StatementBegin
ALTER TABLE tasks DROP COLUMN superseded, DROP COLUMN on_conflict, DROP COLUMN topic;
-- +goose StatementEnd
DROP TABLE topic_tasks;
DROP TABLE topics;
