package protocol

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Receive records messages that reached the endpoint.
type Receive struct {
	Scope
	Manager  string    `json:"manager"`
	Messages []Message `json:"messages"`
}

// Message is a [ledger.Incoming].
type Message struct {
	TaskID     int64  `json:"task_id"`
	Type       string `json:"type"`
	Identifier string `json:"identifier"`
	// PayloadSHA256 is that of the message; absent if it has none.
	PayloadSHA256 string             `json:"payload_sha256,omitempty"`
	State         tasker.ResultState `json:"state"`
	Errnr         int                `json:"errnr,omitempty"`
	Errmsg        string             `json:"errmsg,omitempty"`
}

// Validate returns what is wrong with the request.
func (r *Receive) Validate() error {
	if err := validManager(r.Manager); err != nil {
		return err
	}
	if err := validCount("messages", len(r.Messages)); err != nil {
		return err
	}
	for i, m := range r.Messages {
		if err := validNumber(fmt.Sprintf("/messages/%d/errnr", i), m.Errnr); err != nil {
			return err
		}
		if !slices.Contains(tasker.InitialResultStates(), m.State) {
			return tasker.FieldErrorf(fmt.Sprintf("/messages/%d/state", i), "invalid state %q: must be one of %v",
				m.State, tasker.InitialResultStates())
		}
	}
	return nil
}

// Recordings answers [Receive]: one for each message, in order.
type Recordings struct {
	Recordings []Recording `json:"recordings"`
}

// outcomes are the names of a [ledger.Outcome].
var outcomes = []string{ledger.Recorded: "recorded", ledger.Duplicate: "duplicate", ledger.Refused: "refused", ledger.NotOwner: "not_owner"}

// Recording is a [ledger.Recording].
type Recording struct {
	Outcome string             `json:"outcome"`
	Reason  string             `json:"reason,omitempty"`
	Task    *Task              `json:"task,omitempty"`
	State   tasker.ResultState `json:"state,omitempty"`
	Attempt int                `json:"attempt,omitempty"`
	Earlier int                `json:"earlier,omitempty"`
	Own     bool               `json:"own,omitempty"`
	// StartOrder is that of the [Work].
	StartOrder int64 `json:"start_order,omitempty"`
}

// RecordingOf returns a recording as it is sent.
func RecordingOf(r ledger.Recording) Recording {
	sent := Recording{
		Outcome: outcomes[r.Outcome], Reason: r.Reason, State: r.State, Attempt: r.Attempt, Earlier: r.Earlier, Own: r.Own,
		StartOrder: r.StartOrder,
	}
	if r.Outcome == ledger.Recorded || r.Outcome == ledger.Duplicate {
		sent.Task = TaskOf(&r.Task)
	}
	return sent
}

// Recording returns what was sent.
func (r *Recording) Recording() (ledger.Recording, error) {
	at := slices.Index(outcomes, r.Outcome)
	if at < 0 {
		return ledger.Recording{}, fmt.Errorf("unknown outcome %q", r.Outcome)
	}
	got := ledger.Recording{
		Outcome: ledger.Outcome(at), Reason: r.Reason, State: r.State, Attempt: r.Attempt, Earlier: r.Earlier, Own: r.Own,
		StartOrder: r.StartOrder,
	}
	if got.Outcome == ledger.Recorded || got.Outcome == ledger.Duplicate {
		if r.Task == nil {
			return ledger.Recording{}, fmt.Errorf("no task with outcome %q", r.Outcome)
		}
		got.Task = r.Task.Task()
	}
	return got, nil
}

// Task is what an endpoint learns of a task: nothing of other endpoints.
type Task struct {
	ID         int64             `json:"id"`
	Type       string            `json:"type"`
	Identifier string            `json:"identifier"`
	Status     tasker.TaskStatus `json:"status,omitempty"`
	// PayloadSHA256 is the SHA-256 of the payload that was accepted.
	PayloadSHA256 string `json:"payload_sha256,omitempty"`
	// Payload is the JSON text. It is absent if it is large; then read it by
	// itself, when it is needed.
	Payload     string `json:"payload,omitempty"`
	PayloadSize int64  `json:"payload_size,omitempty"`
	// Retry is the task's own retry policy; absent if it has that of its type.
	Retry *tasker.RetryPolicy `json:"retry,omitempty"`
	// Signature is absent if nobody signed the task. The endpoint verifies it, if it
	// verifies any.
	Signature        *Signature `json:"signature,omitempty"`
	StartTime        time.Time  `json:"start_time,omitzero"`
	SentTime         *time.Time `json:"sent_time,omitempty"`
	LastModifiedTime time.Time  `json:"last_modified_time,omitzero"`
}

// Signature is a [tasker.Signature].
type Signature struct {
	UID     string `json:"uid"`
	Issued  int64  `json:"issued"`
	Expires int64  `json:"expires"`
	Targets string `json:"targets"`
	SSHSig  string `json:"sshsig"`
}

// TaskOf returns a task as it is sent.
func TaskOf(t *tasker.Task) *Task {
	sent := &Task{
		ID: t.ID, Type: t.Type, Identifier: t.Identifier, Status: t.Status, Payload: string(t.Payload),
		PayloadSize: t.PayloadSize, PayloadSHA256: t.PayloadSHA256, Retry: t.Retry,
		StartTime: t.StartTime, SentTime: t.SentTime, LastModifiedTime: t.LastModifiedTime,
	}
	if s := t.Signature; s != nil {
		sent.Signature = &Signature{UID: s.UID, Issued: s.Issued, Expires: s.Expires, Targets: s.Targets, SSHSig: s.SSHSig}
	}
	return sent
}

// Task returns what was sent.
func (t *Task) Task() tasker.Task {
	task := tasker.Task{
		ID: t.ID, Type: t.Type, Identifier: t.Identifier, Status: t.Status, Payload: rawText(t.Payload),
		PayloadSize: t.PayloadSize, PayloadSHA256: t.PayloadSHA256, Retry: t.Retry,
		StartTime: t.StartTime, SentTime: t.SentTime, LastModifiedTime: t.LastModifiedTime,
	}
	if s := t.Signature; s != nil {
		task.Signature = &tasker.Signature{UID: s.UID, Issued: s.Issued, Expires: s.Expires, Targets: s.Targets, SSHSig: s.SSHSig}
	}
	return task
}

func rawText(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// Unreceived asks for tasks that expect the endpoint and have no result of it.
type Unreceived struct {
	Scope
	TaskTypes []string  `json:"task_types"`
	Since     time.Time `json:"since,omitzero"`
	After     *Position `json:"after,omitempty"`
	Limit     int       `json:"limit"`
}

// Validate returns what is wrong with the request.
func (r *Unreceived) Validate() error {
	if err := validTypes(r.TaskTypes); err != nil {
		return err
	}
	return validLimit(r.Limit)
}

// Position is a [ledger.SentPosition]. It is absent for the zero one.
type Position struct {
	SentTime time.Time `json:"sent_time,omitzero"`
	ID       int64     `json:"id"`
}

// PositionOf returns a position as it is sent.
func PositionOf(p ledger.SentPosition) *Position {
	if p == (ledger.SentPosition{}) {
		return nil
	}
	return &Position{SentTime: p.SentTime, ID: p.ID}
}

// Position returns what was sent.
func (p *Position) Position() ledger.SentPosition {
	if p == nil {
		return ledger.SentPosition{}
	}
	return ledger.SentPosition{SentTime: p.SentTime, ID: p.ID}
}

// Take takes a place in tasks of a type that are for so many endpoints of their own choice.
type Take struct {
	Scope
	Manager  string `json:"manager"`
	TaskType string `json:"task_type"`
	Limit    int    `json:"limit"` // how many tasks
}

// Validate returns what is wrong with the request.
func (r *Take) Validate() error {
	if err := validManager(r.Manager); err != nil {
		return err
	}
	if err := validType("/task_type", r.TaskType); err != nil {
		return err
	}
	if r.Limit < 1 || r.Limit > MaxItems {
		return tasker.FieldErrorf("/limit", "invalid limit: must be 1 to %d, not %d", MaxItems, r.Limit)
	}
	return nil
}

// Tasks answers [Unreceived] and [Take].
type Tasks struct {
	Tasks []*Task   `json:"tasks"`
	Next  *Position `json:"next,omitempty"` // absent after the last page
}

// Payload asks for the payload of a task that the endpoint has a result of.
type Payload struct {
	Scope
	TaskID int64 `json:"task_id"`
}

// Validate returns what is wrong with the request.
func (r *Payload) Validate() error { return validTaskID("/task_id", r.TaskID) }

// PayloadText answers [Payload].
type PayloadText struct {
	Payload string `json:"payload"`
}
