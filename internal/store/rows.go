package store

import (
	"bytes"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// timeForm is the form of times: a DATETIME(6) literal for MySQL, and sortable
// text for SQLite.
const timeForm = "2006-01-02 15:04:05.000000"

// dbTime is a time in the database: UTC with microseconds.
type dbTime struct{ time.Time }

// Value writes the time in timeForm.
func (t dbTime) Value() (driver.Value, error) { return t.UTC().Format(timeForm), nil }

// Scan reads a time from either driver.
func (t *dbTime) Scan(value any) error {
	switch v := value.(type) {
	case time.Time:
		t.Time = v.UTC()
		return nil
	case []byte:
		return t.parse(string(v))
	case string:
		return t.parse(v)
	}
	return fmt.Errorf("unexpected type %T of a time", value)
}

func (t *dbTime) parse(s string) (err error) {
	t.Time, err = time.Parse(timeForm, s)
	return err
}

// document is a value stored as JSON.
type document[T any] struct{ value T }

// GormDataType makes gorm treat it as a column.
func (document[T]) GormDataType() string { return "string" }

// Value returns the JSON.
func (d document[T]) Value() (driver.Value, error) { return d.text() }

// text returns the JSON. It is not for HTML, so "<" stays one byte.
func (d document[T]) text() (string, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(d.value); err != nil {
		return "", err
	}
	return strings.TrimSuffix(buf.String(), "\n"), nil
}

// Scan reads the JSON.
func (d *document[T]) Scan(value any) error {
	switch v := value.(type) {
	case []byte:
		return json.Unmarshal(v, &d.value)
	case string:
		return json.Unmarshal([]byte(v), &d.value)
	}
	return fmt.Errorf("unexpected type %T of a JSON document", value)
}

func timePointer(t *dbTime) *time.Time {
	if t == nil {
		return nil
	}
	return &t.Time
}

// names is a list of names stored as a JSON array; nil is NULL.
type names []string

// GormDataType makes gorm treat it as a column.
func (names) GormDataType() string { return "string" }

// Value returns the JSON array.
func (n names) Value() (driver.Value, error) {
	if n == nil {
		return nil, nil
	}
	b, err := json.Marshal([]string(n))
	return string(b), err
}

// Scan reads the JSON array.
func (n *names) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*n = nil
		return nil
	case []byte:
		return json.Unmarshal(v, (*[]string)(n))
	case string:
		return json.Unmarshal([]byte(v), (*[]string)(n))
	}
	return fmt.Errorf("unexpected type %T of a list of names", value)
}

// selection is how the endpoints of a task were chosen or, of a SCHEDULED task,
// will be.
type selection struct {
	Select []string       `json:"select,omitempty"`
	Chosen *int           `json:"chosen,omitempty"` // nil if none are chosen, or not yet
	Limit  tasker.Limit   `json:"limit,omitempty"`
	Seed   string         `json:"seed,omitempty"`
	Expect *tasker.Expect `json:"expect,omitempty"` // of a task accepted to start later
	Plan   string         `json:"plan,omitempty"`   // the same
}

type taskRow struct {
	ID               int64 `gorm:"primaryKey"`
	Type             string
	Identifier       string
	RequestHash      []byte
	Status           tasker.TaskStatus
	Payload          string
	PayloadSHA256    []byte `gorm:"column:payload_sha256"` // NULL of a task that an older API stored
	Endpoints        names
	Labels           *document[map[string]string] // a copy of what table task_labels has; NULL if it has none
	Selection        *document[selection]         // how the endpoints were chosen; NULL if they were not
	Expected         names
	Unserved         names
	RemovedEndpoints names
	Cancellation     *document[tasker.Cancellation]
	Rollout          *document[tasker.Rollout] // a copy of what table rollouts has, except the plan
	Hold             *document[tasker.Hold]    // a copy of what table holds has
	RelayTime        *dbTime                   // while CREATED: when the next attempt to send is due; while SCHEDULED: when to start it
	PublishAttempts  int                       // to send
	SentTo           *string                   // see [ledger.Unsent]
	Refusal          *string                   // why the broker refused it last; NULL if it did not
	NotAfter         *dbTime                   // when it expires; NULL for never
	ExpiresIn        *int64                    // microseconds from its start, if it was told so
	ExpireTime       *dbTime                   // when the reconciler looks whether it has expired; NULL if it need not
	Targets          *int                      // the number of its targets; NULL if an older program accepted it
	Places           *int                      // how many endpoints perform it; NULL if all do
	StartTime        dbTime
	AcceptedTime     *dbTime // of a task accepted to start later
	SentTime         *dbTime
	LastModifiedTime dbTime
	Errmsg           *string                       // why it could not start
	Retry            *document[tasker.RetryPolicy] // its own policy; NULL for that of its type
	CreatedBy        *string                       // see [tasker.Task]
	Priority         int
	Topic            *string
	OnConflict       *string // set if the topic is
	Superseded       *document[tasker.Supersession]
	UID              *string `gorm:"column:uid"` // of the signature; NULL if it has none, as the next two are; see signatures.go
	Signature        *document[tasker.Signature]
	SignatureProof   *document[signatureProof]
	Round            int     `gorm:"<-:update"` // 1 when it is stored; see [Rounds]
	RoundTime        *dbTime // when it began; NULL for the first one
}

// TableName returns the table of tasks.
func (taskRow) TableName() string { return "tasks" }

func (r *taskRow) task() tasker.Task {
	t := tasker.Task{
		ID: r.ID, Identifier: r.Identifier, Type: r.Type, Status: r.Status,
		Payload: json.RawMessage(r.Payload), Endpoints: r.Endpoints, Unserved: r.Unserved, RemovedEndpoints: r.RemovedEndpoints,
		StartTime: r.StartTime.Time, AcceptedTime: timePointer(r.AcceptedTime), SentTime: timePointer(r.SentTime),
		Expires:          timePointer(r.NotAfter),
		LastModifiedTime: r.LastModifiedTime.Time, Expected: r.Expected, Round: later(r.Round), RoundTime: timePointer(r.RoundTime),
		Priority: r.Priority, Signature: r.signature(),
	}
	if r.Places != nil {
		t.Deliver = tasker.Places(*r.Places)
		if len(t.Endpoints) == 0 { // any endpoint of the type
			t.Endpoints = nil
		}
	}
	if r.Cancellation != nil {
		t.Cancel = &r.Cancellation.value
	}
	if r.Labels != nil {
		t.Labels = r.Labels.value
	}
	if r.Rollout != nil {
		t.Rollout = new(r.Rollout.value)
	}
	if r.Hold != nil && !r.Status.Final() {
		t.Hold = &r.Hold.value
	}
	if r.Topic != nil && r.OnConflict != nil {
		t.Topic, t.OnConflict = *r.Topic, tasker.OnConflict(*r.OnConflict)
	}
	if r.Superseded != nil {
		t.Superseded = &r.Superseded.value
	}
	if r.CreatedBy != nil {
		t.CreatedBy = *r.CreatedBy
	}
	if r.Errmsg != nil {
		t.Errmsg = *r.Errmsg
	}
	if r.Retry != nil {
		t.Retry = &r.Retry.value
	}
	if r.Selection != nil {
		s := r.Selection.value
		t.Select, t.Chosen, t.Limit, t.Seed, t.Expect, t.Plan = s.Select, s.Chosen, s.Limit, s.Seed, s.Expect, s.Plan
	}
	if r.Targets != nil {
		t.Expected = nil // its targets tell
		return t
	}
	// With listed endpoints, Expected is stored only if some were removed.
	if t.Endpoints != nil && t.Expected == nil {
		t.Expected = slices.Clone(t.Endpoints)
	}
	slices.Sort(t.Expected)
	return t
}

// later returns a round as it is shown: 0 for the first one.
func later(round int) int {
	if round <= 1 {
		return 0
	}
	return round
}

// work is task with what an endpoint needs to check the payload.
func (r *taskRow) work() tasker.Task {
	t := r.task()
	t.PayloadSHA256 = hex.EncodeToString(r.PayloadSHA256)
	return t
}

type resultRow struct {
	ID       int64 `gorm:"->"` // assigned by the database
	TaskID   int64 `gorm:"primaryKey"`
	Endpoint string
	State    tasker.ResultState
	// While LOST: the previous state, errnr and errmsg.
	LostFrom         *tasker.ResultState
	LostErrnr        *int
	LostErrmsg       *string
	Attempt          int
	Manager          string // the one that wrote the row or began the latest attempt
	Errnr            int
	Errmsg           string
	Payload          *string
	StartTime        dbTime
	LastModifiedTime dbTime
	RetryTime        *dbTime
	NotAfter         *dbTime // that of its task; NULL if an older program recorded it
	AttemptTime      *dbTime // when the current attempt began
	// Step is the step of the attempt that runs next. AwaitsReboot is the boot
	// in which the attempt asked for a reboot.
	Step         int
	AwaitsReboot *string
	CancelID     *int64 // of the cancellation that told it to stop
	SupersededBy *int64 // the newer task of its topic that superseded it: no attempt starts
	// Round is the round of the task in which the endpoint runs it, and EarlierAttempts
	// is how many attempts it had begun before.
	Round           int `gorm:"<-:update"`
	EarlierAttempts int
	// Priority is that of its task, and StartOrder its place among what waits at the
	// endpoint: see [ledger.StartOrder]. Both are 0 if an older program recorded it.
	Priority   int
	StartOrder int64
}

// TableName returns the table of results.
func (resultRow) TableName() string { return "task_results" }

func (r *resultRow) key() tasker.ResultKey {
	return tasker.ResultKey{TaskID: r.TaskID, Endpoint: r.Endpoint}
}

func (r *resultRow) result() tasker.TaskResult {
	t := tasker.TaskResult{
		ID: r.ID, TaskID: r.TaskID, Endpoint: r.Endpoint, State: r.State, Attempt: r.Attempt,
		Errnr: r.Errnr, Errmsg: r.Errmsg, StartTime: r.StartTime.Time,
		LastModifiedTime: r.LastModifiedTime.Time, RetryTime: timePointer(r.RetryTime), CancelRequested: r.CancelID != nil,
		Round: later(r.Round),
	}
	if r.Payload != nil {
		t.Payload = readable([]byte(*r.Payload))
	}
	return t
}

// maxReadable is the deepest nesting of a stored result that is returned as
// JSON. Managers store nothing deeper than [tasker.MaxDepth], but older ones
// did, and JSON nested about 10,000 levels deep cannot be encoded again.
const maxReadable = 1000

// readable returns a stored result, as text if it is nested too deep.
func readable(stored []byte) json.RawMessage {
	shallow, _ := jsonx.Shallow(stored, maxReadable)
	return shallow
}

type endpointRow struct {
	Name       string `gorm:"primaryKey"`
	Manager    string
	Host       string
	PID        int `gorm:"column:pid"`
	Version    string
	StartTime  dbTime
	LastSeen   dbTime
	LeaseUntil dbTime
	Labels     *document[map[string]string]
	// Protocol is what ProtocolManager reads: see [tasker.Endpoint].
	Protocol        int
	ProtocolManager *string
	Gate            int // 1 while starts have to look for holds; see gate.go
	// GatedBy is the manager that registered through a program which knows the gate.
	GatedBy *string
}

// TableName returns the table of endpoints.
func (endpointRow) TableName() string { return "endpoints" }

func (r *endpointRow) endpoint(now time.Time) tasker.Endpoint {
	e := tasker.Endpoint{
		Name: r.Name, TaskTypes: []string{}, Manager: r.Manager, Host: r.Host, PID: r.PID, Version: r.Version,
		StartTime: r.StartTime.Time, LastSeen: r.LastSeen.Time, LeaseUntil: r.LeaseUntil.Time,
		// A heartbeat in the future is from before the database's clock was set
		// back: its lease does not count.
		Alive: r.LeaseUntil.After(now) && !r.LastSeen.After(now.Add(clockError)),
	}
	e.Protocol = 1
	if r.ProtocolManager != nil && *r.ProtocolManager == r.Manager {
		e.Protocol = r.Protocol
	}
	if r.Labels != nil {
		e.Labels = r.Labels.value
	}
	return e
}

type endpointTypeRow struct {
	TaskType string `gorm:"primaryKey"`
	Endpoint string `gorm:"primaryKey"`
}

// TableName returns the table of the types of endpoints.
func (endpointTypeRow) TableName() string { return "endpoint_task_types" }
