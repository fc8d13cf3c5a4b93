-- +goose Up
-- Finds the CREATED tasks that are due to be sent, those that are due longest
-- first.
CREATE INDEX tasks_due ON tasks (status, relay_time, id);

-- +goose Down
DROP INDEX tasks_due ON tasks;
