-- +goose Up
-- The same as on MySQL.
CREATE INDEX tasks_due ON tasks (status, relay_time, id);

-- +goose Down
DROP INDEX tasks_due;
