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

// relayGrace is how long after its creation the relay leaves a task to the
// API that took it, whose first attempt to send it begins then. An attempt that
// lasts longer is renewed.
const relayGrace = 15 * time.Second

// CreateTask stores a new task as CREATED, from its Type, Identifier, Payload
// and Endpoints (nil, or sorted and unique). Where the same task exists
// already it gives that one and created is false; the same identifier with
// another body is a [tasker.Conflict].
func (s *Store) CreateTask(ctx context.Context, t tasker.Task) (stored tasker.Task, created bool, err error) {
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
		err = s.db.WithContext(ctx).Where("type = ? AND identifier = ?", t.Type, t.Identifier).Take(&existing).Error
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
func (s *Store) insertTask(ctx context.Context, t tasker.Task, payload string, hash []byte) (tasker.Task, error) {
	var row taskRow
	err := s.again(ctx, func() error {
		now := dbTime{s.Now()}
		row = taskRow{
			Type: t.Type, Identifier: t.Identifier, RequestHash: hash, Status: tasker.Created,
			Payload: payload, Endpoints: t.Endpoints, RelayTime: &dbTime{now.Add(relayGrace)}, PublishAttempts: 1,
			StartTime: now, LastModifiedTime: now,
		}
		return s.db.WithContext(ctx).Create(&row).Error
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

// MarkSent moves a CREATED task to SENT, once the broker has confirmed it for
// every queue, and gives it as it is then. A task without listed endpoints
// expects from now on those that are registered for its type and were seen
// within the time seenWithin. unserved are listed endpoints that had no queue.
//
// Endpoints register before they bind their queue, so each that got a copy is
// among the expected ones. Where the task is not CREATED any more, somebody
// else moved it on, and it is given as it is.
func (s *Store) MarkSent(ctx context.Context, task tasker.Task, unserved []string, seenWithin time.Duration) (tasker.Task, error) {
	var now dbTime
	var expected names
	var moved int64
	err := s.again(ctx, func() error {
		if task.Endpoints == nil {
			var err error
			if expected, err = s.registered(ctx, task.Type, seenWithin); err != nil {
				return err
			}
		}
		now = dbTime{s.Now()}
		set := map[string]any{
			"status": tasker.Sent, "sent_time": now, "last_modified_time": now, "relay_time": nil, "unserved": names(unserved),
			"sent_to": nil, "refusal": nil,
		}
		if task.Endpoints == nil {
			set["expected"] = expected
		}
		update := s.db.WithContext(ctx).Model(&taskRow{}).
			Where("id = ? AND status IN ?", task.ID, tasker.TaskStatusesBefore(tasker.Sent)).Updates(set)
		moved = update.RowsAffected
		return update.Error
	})
	if err != nil {
		return task, s.fail("mark the task as sent", err)
	}
	if moved == 0 {
		return s.FindTask(ctx, task.Type, task.Identifier)
	}
	task.Status, task.SentTime, task.LastModifiedTime, task.Unserved = tasker.Sent, &now.Time, now.Time, unserved
	return task, nil
}

// registered returns the endpoints that are registered for a type and were seen
// within a time. It is a statement of its own, and not an aggregate in the one
// that stores the list: servers cut such a list at a length that is theirs to
// set, MariaDB without saying so.
func (s *Store) registered(ctx context.Context, taskType string, seenWithin time.Duration) (names, error) {
	list := names{} // nil would be NULL
	err := s.db.WithContext(ctx).Table("endpoint_task_types r").Joins("JOIN endpoints e ON e.name = r.endpoint").
		Where("r.task_type = ? AND e.last_seen >= ?", taskType, s.at(s.Now().Add(-seenWithin))).
		Order("r.endpoint").Pluck("r.endpoint", &list).Error
	return list, err
}

// TaskName returns the type and the identifier of the task of an id, or
// [tasker.NotFound].
func (s *Store) TaskName(ctx context.Context, id int64) (taskType, identifier string, err error) {
	var row taskRow
	err = s.db.WithContext(ctx).Select("type", "identifier").Where("id = ?", id).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return "", "", tasker.Errorf(tasker.NotFound, "task %d not found: it never existed, or it was deleted", id)
	}
	return row.Type, row.Identifier, s.fail("read the task", err)
}
