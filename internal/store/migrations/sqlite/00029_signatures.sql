-- oldest: 11
-- +goose Up
-- The same as on MySQL.
ALTER TABLE tasks ADD COLUMN signature_proof TEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN signature_proof;
