-- oldest: 11
-- +goose Up
-- Tasks for so many endpoints of their own choice. tasks.places is how many; NULL says that
-- the task is for all of its endpoints. A row of task_places is a task that still has places
-- which nobody has taken; the lowest start_order is taken first. If it is listed, only
-- candidates may take one.
ALTER TABLE tasks ADD COLUMN places INT NULL;
-- +goose StatementBegin
CREATE TABLE task_places (
    task_id     BIGINT NOT NULL,
    task_type   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    start_order BIGINT NOT NULL,
    untaken     INT NOT NULL,
    listed      TINYINT NOT NULL,
    PRIMARY KEY (task_id),
    KEY task_places_waiting (task_type, start_order, task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TABLE place_candidates (
    task_id  BIGINT NOT NULL,
    endpoint VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (task_id, endpoint)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd
-- The places that were taken and, as far as was looked, not used: the endpoint has no result
-- of the task yet.
-- +goose StatementBegin
CREATE TABLE place_claims (
    task_id  BIGINT NOT NULL,
    endpoint VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (task_id, endpoint),
    KEY place_claims_endpoint (endpoint, task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- +goose StatementEnd

-- +goose Down
DROP TABLE place_claims;
DROP TABLE place_candidates;
DROP TABLE task_places;
ALTER TABLE tasks DROP COLUMN places;
