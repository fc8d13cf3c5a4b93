-- +goose Up
-- When a dead letter was stored, by the database's clock, for its retention:
-- dead_time is what the message said of itself.
-- +goose StatementBegin
ALTER TABLE dead_letters ADD COLUMN stored_time DATETIME(6) NULL;
-- +goose StatementEnd

-- +goose Down
ALTER TABLE dead_letters DROP COLUMN stored_time;
