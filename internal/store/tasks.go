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

// relayGrace is how long after its creation the relay leaves a task to the
// API that took it, whose first attempt to send it begins then. An attempt that
// lasts longer is renewed.
const relayGrace = 15 * time.Second

// CreateTask stores a new task as CREATED, from its Type, Identifier, Payload
// and Endpoints (nil, or sorted and unique). Where the same task exists
// already it gives that one and created is false; the same identifier with
// another body is a [tasker.Conflict].
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
			continue // it was purged in between: its identifier is free
		case err != nil:
			return tasker.Task{}, false, s.fail("read the task of that identifier", err)
		case !bytes.Equal(existing.RequestHash, hash):
			return tasker.Task{}, false, tasker.Errorf(tasker.Conflict,
				"identifier %q of task type %q is taken by a task with another payload or other endpoints: choose another identifier", t.Identifier, t.Type)
		}
		return existing.task(), false, nil
	}
}

// insertTask stores a task as CREATED.
func (s Tasks) insertTask(ctx context.Context, t tasker.Task, payload string, hash []byte) (tasker.Task, error) {
	var row taskRow
	err := s.withRetry(ctx, func() error {
		now := dbTime{s.Now()}
		row = taskRow{
			Type: t.Type, Identifier: t.Identifier, RequestHash: hash, Status: tasker.Created,
			Payload: payload, Endpoints: t.Endpoints, RelayTime: &dbTime{now.Add(relayGrace)}, PublishAttempts: 1,
			StartTime: now, LastModifiedTime: now,
		}
		return s.conn(ctx).Create(&row).Error
	})
	return row.task(), err
}

// requestHash is the same for two requests that mean the same: members of
// objects may stand in any order, and white space does not count. What decoding
// does not keep apart, unpaired surrogates and members that are there twice, is
// hashed as it was sent: then order does count.
func requestHash(t tasker.Task) ([]byte, error) {
	var payload any
	if t.Payload != nil {
		dec := json.NewDecoder(bytes.NewReader(t.Payload))
		dec.UseNumber()
		if err := dec.Decode(&payload); err != nil {
			return nil, tasker.WrapError(tasker.Malformed, err, "the payload is not JSON")
		}
	}
	canonical, err := json.Marshal([]any{payload, t.Endpoints})
	if err != nil {
		return nil, fmt.Errorf("hash the request: %w", err)
	}
	if _, duplicate := jsonx.Duplicate(t.Payload); duplicate || jsonx.HasUnpairedSurrogate(t.Payload) {
		sent := bytes.NewBuffer(canonical)
		if err := json.Compact(sent, t.Payload); err != nil {
			return nil, tasker.WrapError(tasker.Malformed, err, "the payload is not JSON")
		}
		canonical = sent.Bytes()
	}
	sum := sha256.Sum256(canonical)
	return sum[:], nil
}
