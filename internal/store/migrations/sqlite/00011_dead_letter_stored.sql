-- +goose Up
-- When a dead letter was stored, by the database's clock, for its retention:
-- dead_time is what the message said of itself.
ALTER TABLE dead_letters ADD COLUMN stored_time TEXT NULL;

-- +goose Down
ALTER TABLE dead_letters DROP COLUMN stored_time;
