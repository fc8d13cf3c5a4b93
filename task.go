package tasker

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// Task is one POST: what to do, and where. Its JSON form is the HTTP contract.
// All times are UTC with microseconds.
type Task struct {
	ID         int64           `json:"id"`         // assigned by the database
	Identifier string          `json:"identifier"` // the customer's, unique within the type
	Type       string          `json:"type"`
	Status     TaskStatus      `json:"status"`
	Payload    json.RawMessage `json:"payload"` // any JSON value, kept byte for byte; null if there was none
	// Endpoints are those that the customer listed, or that were chosen when the
	// task started, sorted; nil if the task is for every endpoint of its type, or
	// they are not chosen yet.
	Endpoints []string `json:"endpoints"`
	// Select are the selectors that chose the endpoints, in their canonical form,
	// sorted; nil if there were none.
	Select []string `json:"select,omitempty"`
	// Chosen is how many endpoints there were to choose before the Limit; nil if
	// none were chosen, or not yet.
	Chosen *int `json:"chosen,omitempty"`
	// Limit is how many of them were taken, and Seed decided which.
	Limit Limit  `json:"limit,omitempty"`
	Seed  string `json:"seed,omitempty"`
	// Deliver is how many of the endpoints perform the task, those which take it first; 0
	// means that all do.
	Deliver Places `json:"deliver,omitempty"`
	// Expect and Plan are what the choice of a task that was accepted to start later
	// must comply with when it starts.
	Expect *Expect `json:"expect,omitempty"`
	Plan   string  `json:"plan,omitempty"`
	// Labels are the customer's own, such as ticket: CHG-7, by which tasks are found.
	Labels map[string]string `json:"labels,omitempty"`
	// Unserved are listed endpoints that had no queue when the task was sent.
	// They stay expected, and leave the list once they have received the task.
	Unserved []string `json:"unserved,omitempty"`
	// RemovedEndpoints are endpoints, sorted, that an administrator removed
	// before they finished the task, or whose place in it was passed on to another
	// one since they were lost: it no longer expects them.
	RemovedEndpoints []string `json:"removed_endpoints,omitempty"`
	// Cancel says who canceled the task; nil if nobody did.
	Cancel *Cancellation `json:"cancel,omitempty"`
	// Retry is the task's own retry policy; nil if it has that of its type.
	Retry *RetryPolicy `json:"retry,omitempty"`
	// Rollout says how far the task is on its way through its endpoints; nil if it is for
	// all of them at once.
	Rollout *Rollout `json:"rollout,omitempty"`
	// CreatedBy is the principal that created the task, "token" for the one with the token
	// of api.token_file, or "schedule:" and the name of a schedule; empty if no token was
	// needed, or an earlier release created it.
	CreatedBy string `json:"created_by,omitempty"`
	// Priority orders what waits at an endpoint, from 0 to [MaxPriority], which comes
	// first; see [PriorityAge].
	Priority int `json:"priority,omitempty"`
	// Topic is what the task is about, empty if it has none; see [OnConflict], which is
	// empty then.
	Topic      string     `json:"topic,omitempty"`
	OnConflict OnConflict `json:"on_conflict,omitempty"`
	// Superseded says which newer task of its topic has replaced it; nil if none has.
	Superseded *Supersession `json:"superseded,omitempty"`
	// Signature is the task's by the person who wants it done; nil if nobody signed it.
	Signature *Signature `json:"signature,omitempty"`
	// Hold says who paused the task; nil if it is not paused. A task of a type that is
	// paused, or at an endpoint that is drained, has none for that.
	Hold *Hold `json:"hold,omitempty"`
	// Round counts how often the task was begun, from 2 on: 0 means that it was not
	// retried.
	Round int `json:"round,omitempty"`

	// StartTime is when the task starts: when it was accepted, or the later time
	// that was asked for.
	StartTime time.Time `json:"start_time"`
	// AcceptedTime is when a task that was to start later was accepted; nil for
	// others.
	AcceptedTime *time.Time `json:"accepted_time,omitempty"`
	SentTime     *time.Time `json:"sent_time,omitempty"` // when the broker had confirmed it
	// RoundTime is when its Round began; nil in the first one.
	RoundTime *time.Time `json:"round_time,omitempty"`
	// Expires is when the task expires, nil for never: an endpoint that gets to it
	// later does not run it.
	Expires *time.Time `json:"expires,omitempty"`
	// LastModifiedTime is when the status last changed, or the start time of a
	// SCHEDULED task.
	LastModifiedTime time.Time `json:"last_modified_time"`
	// Errmsg is why the task FAILED without any result; empty for others.
	Errmsg string `json:"errmsg,omitempty"`
	// Start is when the task is to start, as its POST says it, and Expiry when it
	// expires. Only a new task has them. Expiry and Priority may be the default of its
	// type; AskedExpiry and AskedPriority are false then.
	Start         Start  `json:"-"`
	Expiry        Expiry `json:"-"`
	AskedExpiry   bool   `json:"-"`
	AskedPriority bool   `json:"-"`
	// Expected are the endpoints that must finish the task: those listed, or
	// those registered for the type when it started, and those that joined since;
	// without RemovedEndpoints. A SCHEDULED task has none. Unopened are how many others
	// must do so, once their wave of the rollout opens. Of a task with Deliver they are the
	// endpoints that took a place, Untaken is how many places nobody has taken yet, and
	// Closed how many nobody can take any more.
	Expected []string `json:"-"`
	Unopened int      `json:"-"`
	Untaken  int      `json:"-"`
	Closed   int      `json:"-"`
	// PayloadSize is the length of the payload in bytes if a read left it out.
	PayloadSize int64 `json:"-"`
	// PayloadSHA256 is the SHA-256 of the payload, in hexadecimal, that was stored
	// with it. Only what an endpoint runs has it, and not if an older API stored
	// the task.
	PayloadSHA256 string `json:"-"`
}

// Addressed reports whether a task is for an endpoint. A task without listed
// endpoints is for all except the removed ones.
func (t *Task) Addressed(endpoint string) bool {
	return !t.Removed(endpoint) && (t.Endpoints == nil || slices.Contains(t.Endpoints, endpoint))
}

// StillUnserved returns the Unserved endpoints without an outcome: the others
// have received the task since.
func (t *Task) StillUnserved(outcomes []Outcome) []string {
	if len(t.Unserved) == 0 {
		return nil
	}
	received := make(map[string]bool, len(outcomes))
	for _, o := range outcomes {
		received[o.Endpoint] = true
	}
	var left []string
	for _, name := range t.Unserved {
		if !received[name] {
			left = append(left, name)
		}
	}
	return left
}

// Overdue reports whether the time in which every endpoint should have received the
// task has passed. It counts from when the task was sent, or its latest round began.
func (t *Task) Overdue(now time.Time, waitForEndpoints time.Duration) bool {
	begun := t.SentTime
	if t.RoundTime != nil {
		begun = t.RoundTime
	}
	return begun != nil && !now.Before(begun.Add(waitForEndpoints))
}

// Removed reports whether an endpoint was removed before it finished the task.
func (t *Task) Removed(endpoint string) bool {
	return slices.Contains(t.RemovedEndpoints, endpoint)
}

// Targets returns the listed endpoints that were not removed. It is nil for a
// task without listed endpoints, and empty if all of them were removed.
func (t *Task) Targets() []string {
	if t.Endpoints == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(t.Endpoints), t.Removed)
}

// TaskResult is one endpoint's record of one task. There is at most one per
// task and endpoint.
type TaskResult struct {
	ID       int64
	TaskID   int64
	Endpoint string
	State    ResultState
	// Attempt counts the runs that have begun, 0 before the first. It is
	// incremented before the handler starts, so that a crash cannot hide a run.
	Attempt int
	Errnr   int             // 0 for success, positive for the handler's own, negative for one of the Errnr constants
	Errmsg  string          // why, for people; empty if Errnr is 0
	Payload json.RawMessage // what the handler returned; nil if nothing
	// StartTime is when the endpoint recorded the task, LastModifiedTime when
	// the state last changed.
	StartTime        time.Time
	LastModifiedTime time.Time
	// RetryTime is when the next attempt is due, if RETRYING.
	RetryTime *time.Time
	// Progress is the last progress of the current attempt; nil if none was
	// reported, or a list leaves it out.
	Progress *Progress
	// CancelRequested is true if the endpoint was told to stop the task. It may
	// finish it all the same.
	CancelRequested bool
	// Held says why a result that waits does not start, such as "endpoint drained by
	// ann"; empty if nothing holds it, or a read leaves it out.
	Held string
	// Position is the place of a result that waits for a slot among those of its type at
	// its endpoint: 1 is the next. It is 0 if the result does not wait, if more than some
	// thousands wait before it, or if a read leaves it out.
	Position int
	// Round is the round of the task in which the endpoint runs it, from 2 on; 0 is the
	// first.
	Round int
	// PayloadSize is the length of the payload in bytes if a read left it out.
	PayloadSize int64
}

// resultJSON is the form of a [TaskResult] in the HTTP contract: status is 0
// while the result is unfinished and 1 when it is finished, and errmsg is null if
// there is none.
type resultJSON struct {
	ID               int64           `json:"id"`
	TaskID           int64           `json:"task_id"`
	Endpoint         string          `json:"endpoint"`
	Status           int             `json:"status"`
	State            ResultState     `json:"state"`
	Attempt          int             `json:"attempt"`
	Errnr            int             `json:"errnr"`
	Errmsg           *string         `json:"errmsg"`
	Payload          json.RawMessage `json:"payload"`
	StartTime        time.Time       `json:"start_time"`
	LastModifiedTime time.Time       `json:"last_modified_time"`
	RetryTime        *time.Time      `json:"retry_time,omitempty"`
	Progress         *Progress       `json:"progress,omitempty"`
	CancelRequested  bool            `json:"cancel_requested,omitempty"`
	Held             string          `json:"held,omitempty"`
	Position         int             `json:"position,omitempty"`
	Round            int             `json:"round,omitempty"`
	PayloadSize      int64           `json:"payload_size,omitempty"`
}

// MarshalJSON encodes the result as in the HTTP contract.
func (r TaskResult) MarshalJSON() ([]byte, error) {
	view := resultJSON{
		ID: r.ID, TaskID: r.TaskID, Endpoint: r.Endpoint, State: r.State, Attempt: r.Attempt,
		Errnr: r.Errnr, Payload: r.Payload, StartTime: r.StartTime,
		LastModifiedTime: r.LastModifiedTime, RetryTime: r.RetryTime, Progress: r.Progress,
		CancelRequested: r.CancelRequested, Held: r.Held, Position: r.Position, Round: r.Round, PayloadSize: r.PayloadSize,
	}
	if r.State.Finished() {
		view.Status = 1
	}
	if r.Errmsg != "" {
		view.Errmsg = &r.Errmsg
	}
	// Not Marshal, which would write "<" in a payload as "\u003c".
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(view); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// UnmarshalJSON decodes a result of the HTTP contract.
func (r *TaskResult) UnmarshalJSON(data []byte) error {
	var view resultJSON
	if err := json.Unmarshal(data, &view); err != nil {
		return err
	}
	*r = TaskResult{
		ID: view.ID, TaskID: view.TaskID, Endpoint: view.Endpoint, State: view.State, Attempt: view.Attempt,
		Errnr: view.Errnr, Payload: view.Payload, StartTime: view.StartTime,
		LastModifiedTime: view.LastModifiedTime, RetryTime: view.RetryTime, Progress: view.Progress,
		CancelRequested: view.CancelRequested, Held: view.Held, Position: view.Position, Round: view.Round,
		PayloadSize: view.PayloadSize,
	}
	if view.Errmsg != nil {
		r.Errmsg = *view.Errmsg
	}
	return nil
}

// The error numbers of tasker itself. A handler's own are positive.
const (
	ErrnrHandler     = 1  // a handler failed without a number of its own
	ErrnrTimedOut    = -1 // the time limit of the run passed; state TIMED_OUT
	ErrnrCanceled    = -2 // somebody canceled the task; state CANCELED
	ErrnrLost        = -3 // the endpoint stopped heartbeating; state LOST
	ErrnrExpired     = -4 // the task, or its signature, expired before it ran; state EXPIRED
	ErrnrRejected    = -5 // the endpoint cannot, or may not, perform the task; state REJECTED
	ErrnrInterrupted = -6 // the manager ended while the handler ran; state FAILED
	ErrnrBadResult   = -7 // the handler's result is not JSON or too large; state FAILED
	ErrnrRemoved     = -8 // the endpoint was removed before it finished, or its place passed on; state CANCELED
	ErrnrSuperseded  = -9 // a newer task of its topic replaced the task; state SUPERSEDED
)

// Endpoint is a named place that performs tasks, usually a server. It is served
// by at most one live manager.
type Endpoint struct {
	Name      string   `json:"name"`
	TaskTypes []string `json:"task_types"` // sorted
	// Labels come from its manager's configuration, such as role: web; task
	// types may require some.
	Labels  map[string]string `json:"labels,omitempty"`
	Manager string            `json:"manager"` // id of the manager that serves it, or did last
	Host    string            `json:"host"`
	PID     int               `json:"pid"`
	Version string            `json:"version"`
	// Protocol is the newest version of task messages that the manager reads.
	Protocol  int       `json:"protocol"`
	StartTime time.Time `json:"start_time"` // when that manager registered
	LastSeen  time.Time `json:"last_seen"`  // its latest heartbeat
	// LeaseUntil is when another manager may take over, unless a heartbeat
	// renews the lease.
	LeaseUntil time.Time `json:"lease_until"`
	// Alive is true if the lease was running when this was read.
	Alive bool `json:"alive"`
	// Drain says who drained the endpoint: it starts nothing. Nil if nobody did.
	Drain *Hold `json:"drain,omitempty"`
}

// EndpointToken describes a token with which an endpoint identifies itself at
// the gateway. The token itself is not stored, only its hash.
type EndpointToken struct {
	ID          int64     `json:"id"`
	Endpoint    string    `json:"endpoint"`
	CreatedTime time.Time `json:"created_time"`
	// ValidUntil is set once another token has replaced this one.
	ValidUntil *time.Time `json:"valid_until,omitempty"`
	// LastUsed is the day, in UTC, on which it was last used, such as
	// "2026-05-06"; empty if it never was.
	LastUsed string `json:"last_used,omitempty"`
}

// Removal is the removal of an endpoint under way: its registration is gone,
// its open tasks and queues follow.
type Removal struct {
	Endpoint  string
	TaskTypes []string  // those it was registered for, sorted
	Time      time.Time // when it was removed
}
