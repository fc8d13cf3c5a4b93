-- oldest: 11
-- +goose Up
-- The order of what waits at an endpoint: the result with the lowest start_order is the
-- next one, and of several the one with the lowest task_id. It is in microseconds: the
-- time from which the result waits, less ten minutes for each step of the priority, so
-- that what waits need not be touched to rise. It is 0 in results that a program
-- recorded which knows of no priority.
-- +goose StatementBegin
ALTER TABLE task_results ADD COLUMN priority TINYINT NOT NULL DEFAULT 0,
    ADD COLUMN start_order BIGINT NOT NULL DEFAULT 0;
-- +goose StatementEnd
-- The new index serves whatever the old one did: by endpoint and state.
-- +goose StatementBegin
ALTER TABLE task_results ADD KEY task_results_waiting (endpoint, state, start_order, task_id),
    DROP KEY task_results_endpoint;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
ALTER TABLE task_results ADD KEY task_results_endpoint (endpoint, state, task_id),
    DROP KEY task_results_waiting;
-- +goose StatementEnd
ALTER TABLE task_results DROP COLUMN priority, DROP COLUMN start_order;
