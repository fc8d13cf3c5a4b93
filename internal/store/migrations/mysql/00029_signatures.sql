-- oldest: 11
-- +goose Up
-- Tasks signed by people. signature has what is shown of the signature, as JSON, uid its uid,
-- and signature_proof what endpoints verify besides: the targets and the signature itself.
-- All are NULL if the task is not signed.
ALTER TABLE tasks ADD COLUMN signature_proof TEXT NULL;

-- +goose Down
ALTER TABLE tasks DROP COLUMN signature_proof;
