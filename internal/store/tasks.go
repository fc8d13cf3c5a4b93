package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// Tasks creates and reads tasks.
type Tasks struct{ *DB }

// relayGrace is how long the relay leaves a new task to the API process that
// accepted it and that is sending it. Longer attempts renew their claim.
const relayGrace = 15 * time.Second

// CreateTask stores a new task as CREATED, together with its targets: the listed
// endpoints or, if none are listed, those that are registered for its type and
// were seen within [Config].SeenWithin. It uses the Type, Identifier, Payload and
// Endpoints of t; Endpoints is nil, or sorted without duplicates.
// If the same task exists, CreateTask returns that one and created is false.
// The same identifier with another body is a [tasker.Conflict].
func (s Tasks) CreateTask(ctx context.Context, t tasker.Task) (stored tasker.Task, created bool, err error) {
	hash, err := requestHash(t)
	if err != nil {
		return tasker.Task{}, false, err
	}
	payload := string(t.Payload)
	if t.Payload == nil {
		payload = "null"
	}
	const tries = 3
	for try := 1; ; try++ {
		stored, err = s.insertTask(ctx, t, payload, hash)
		if err == nil {
			return stored, true, nil
		}
		if !errors.Is(err, gorm.ErrDuplicatedKey) {
			return tasker.Task{}, false, s.fail("store the task", err)
		}
		var existing taskRow
		err = s.conn(ctx).Where("type = ? AND identifier = ?", t.Type, t.Identifier).Take(&existing).Error
		switch {
		case errors.Is(err, gorm.ErrRecordNotFound) && try < tries:
			continue // purged meanwhile: the identifier is free
		case err != nil:
			return tasker.Task{}, false, s.fail("read the task with that identifier", err)
		case !bytes.Equal(existing.RequestHash, hash):
			return tasker.Task{}, false, tasker.Errorf(tasker.Conflict,
				"identifier %q of task type %q is taken by a task with another payload or other endpoints: "+
					"choose another identifier", t.Identifier, t.Type)
		}
		return existing.task(), false, nil
	}
}

// insertTask stores a task as CREATED, with its targets.
func (s Tasks) insertTask(ctx context.Context, t tasker.Task, payload string, hash []byte) (tasker.Task, error) {
	var row taskRow
	sum := sha256.Sum256([]byte(payload))
	err := s.withRetry(ctx, func() error {
		return s.conn(ctx).Transaction(func(tx *gorm.DB) error {
			now := dbTime{s.Now()}
			row = taskRow{
				Type: t.Type, Identifier: t.Identifier, RequestHash: hash, Status: tasker.Created,
				Payload: payload, PayloadSHA256: sum[:], Endpoints: t.Endpoints, Targets: new(len(t.Endpoints)),
				RelayTime: &dbTime{now.Add(relayGrace)}, PublishAttempts: 1,
				AcceptedTime: now, LastModifiedTime: now,
			}
			if err := tx.Create(&row).Error; err != nil {
				return err
			}
			if t.Endpoints != nil {
				return targetListed(tx, row.ID, t.Endpoints)
			}
			return s.targetRegistered(tx, []int64{row.ID})
		})
	})
	return row.task(), err
}

// requestHash returns the same hash for requests that mean the same: white
// space and the order of members do not matter. What decoding would lose,
// unpaired surrogates and duplicate members, is hashed as it was sent; then
// order matters.
func requestHash(t tasker.Task) ([]byte, error) {
	var payload any
	if t.Payload != nil {
		dec := json.NewDecoder(bytes.NewReader(t.Payload))
		dec.UseNumber()
		if err := dec.Decode(&payload); err != nil {
			return nil, tasker.WrapError(tasker.Malformed, err, "the payload is not valid JSON")
		}
	}
	canonical, err := json.Marshal([]any{payload, t.Endpoints})
	if err != nil {
		return nil, fmt.Errorf("hash the request: %w", err)
	}
	if _, duplicate := jsonx.Duplicate(t.Payload); duplicate || jsonx.HasUnpairedSurrogate(t.Payload) {
		sent := bytes.NewBuffer(canonical)
		if err := json.Compact(sent, t.Payload); err != nil {
			return nil, tasker.WrapError(tasker.Malformed, err, "the payload is not valid JSON")
		}
		canonical = sent.Bytes()
	}
	sum := sha256.Sum256(canonical)
	return sum[:], nil
}
