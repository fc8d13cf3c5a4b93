-- oldest: 11
-- +goose Up
-- The same as on MySQL.
ALTER TABLE task_results ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task_results ADD COLUMN start_order INTEGER NOT NULL DEFAULT 0;
CREATE INDEX task_results_waiting ON task_results (endpoint, state, start_order, task_id);
DROP INDEX task_results_endpoint;

-- +goose Down
CREATE INDEX task_results_endpoint ON task_results (endpoint, state, task_id);
DROP INDEX task_results_waiting;
ALTER TABLE task_results DROP COLUMN start_order;
ALTER TABLE task_results DROP COLUMN priority;
