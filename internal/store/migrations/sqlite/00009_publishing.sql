-- +goose Up
-- The same as on MySQL.
ALTER TABLE tasks ADD COLUMN publish_attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN sent_to TEXT NULL;
ALTER TABLE tasks ADD COLUMN refusal TEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN publish_attempts;
ALTER TABLE tasks DROP COLUMN sent_to;
ALTER TABLE tasks DROP COLUMN refusal;
