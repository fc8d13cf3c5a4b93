package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// Tasks creates and reads tasks.
type Tasks struct{ *DB }

// relayGrace is how long the relay leaves a new task to the API process that
// accepted it and that is sending it. Longer attempts renew their claim.
const relayGrace = 15 * time.Second

// CreateTask stores a new task as CREATED, together with its targets: the listed
// endpoints or, if none are listed, those that are registered for its type and
// were seen within [Config].SeenWithin. It uses the Type, Identifier, Payload,
// Endpoints, Labels, Select, Limit, Seed, Deliver, Chosen, Start, Expiry, Retry, Topic, OnConflict
// and Signature of t, and the Settings of its Rollout; Endpoints is nil, or sorted without
// duplicates. A task with Deliver has no targets, but places: see [Inbox.TakeTasks]. A task
// with a rollout that starts now has Endpoints, and those of its first wave become targets; the error is
// [tasker.Invalid] if the rollout cannot have them.
// If the Status of t is SCHEDULED, so is the stored one, also if its time to start
// has passed meanwhile: see [Schedule]. It has no targets, and keeps Expect and Plan.
// If the same task exists, CreateTask returns that one and created is false.
// The same identifier with another body is a [tasker.Conflict], and so is the signature of
// another task, and a task that would start now if an older one of its Topic has not ended, unless it supersedes that.
func (s Tasks) CreateTask(ctx context.Context, t tasker.Task) (stored tasker.Task, created bool, err error) {
	creations, err := s.CreateTasks(ctx, []tasker.Task{t})
	if err != nil {
		return tasker.Task{}, false, err
	}
	return creations[0].Task, creations[0].Created, creations[0].Err
}

// SameTask returns the stored task that [Tasks.CreateTask] would return for t, if
// there is one, and its [tasker.Conflict].
func (s Tasks) SameTask(ctx context.Context, t tasker.Task) (stored tasker.Task, found bool, err error) {
	n, err := prepareTask(t)
	if err != nil {
		return tasker.Task{}, false, err
	}
	if err := s.clockKnown(ctx); err != nil {
		return tasker.Task{}, false, err
	}
	n.creation = &ledger.Creation{}
	left, err := s.resolve(ctx, []*newTask{n})
	if err != nil {
		return tasker.Task{}, false, s.fail("read the task with that identifier", err)
	}
	return n.creation.Task, len(left) == 0 && n.creation.Err == nil, n.creation.Err
}

// requestHash returns the same hash for requests that mean the same: white
// space and the order of members do not matter. What decoding would lose,
// unpaired surrogates and duplicate members, is hashed as it was sent; then
// order matters. Of chosen endpoints the way of choosing counts, not the choice, and
// of the time to start and the rollout what was asked for. A signature does not count: who
// repeats a POST may have to sign it anew.
func requestHash(t tasker.Task) ([]byte, error) {
	var payload any
	if t.Payload != nil {
		dec := json.NewDecoder(bytes.NewReader(t.Payload))
		dec.UseNumber()
		if err := dec.Decode(&payload); err != nil {
			return nil, tasker.WrapError(tasker.Malformed, err, "the payload is not valid JSON")
		}
	}
	request := []any{payload, t.Endpoints}
	if t.Chosen != nil {
		request[1] = nil
	}
	if t.Select != nil || t.Limit != "" {
		request = []any{payload, nil, t.Select, t.Limit, t.Seed}
	}
	if !t.Start.IsZero() {
		request = append(request, "start", t.Start.String())
	}
	if t.AskedExpiry {
		request = append(request, "expires", t.Expiry.String())
	}
	if t.Retry != nil {
		request = append(request, "retry", t.Retry.String())
	}
	if t.AskedPriority {
		request = append(request, "priority", t.Priority)
	}
	if len(t.Labels) > 0 {
		request = append(request, "labels", t.Labels)
	}
	if t.Rollout != nil {
		request = append(request, "rollout", t.Rollout.Settings)
	}
	if t.Topic != "" {
		request = append(request, "topic", t.Topic, cmp.Or(t.OnConflict, tasker.ConflictRefuse))
	}
	if t.Deliver != 0 {
		request = append(request, "deliver", int(t.Deliver))
	}
	canonical, err := json.Marshal(request)
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
