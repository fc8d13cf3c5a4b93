package client

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/nodeset"
)

// The types of this file are the JSON of the HTTP API, together with those of
// package tasker that they contain. The server encodes them, and a test compares
// them with openapi.yaml, which says what each field means.

// NewTask is a task to be created.
type NewTask struct {
	// Identifier names the task within its type; empty lets the API choose one,
	// but then a request cannot be repeated safely.
	Identifier string `json:"identifier,omitempty"`
	// Payload is anything that can be encoded as JSON; nil means null.
	Payload any `json:"payload,omitempty"`
	// Endpoints are those that perform the task; empty means all of the type,
	// unless Select chooses among them.
	Endpoints []string `json:"endpoints,omitempty"`
	// Select are selectors: the task is for the endpoints of the type that any of
	// them chooses when it is accepted.
	Select []string `json:"select,omitempty"`
	// All says that the task is for all endpoints of the type.
	All bool `json:"all,omitempty"`
	// Limit takes only some of the endpoints, such as "10" or "10%"; another Seed
	// takes others.
	Limit tasker.Limit `json:"limit,omitempty"`
	Seed  string       `json:"seed,omitempty"`
	// Deliver is how many of the endpoints perform the task, those which take it first; 0
	// means all.
	Deliver tasker.Places `json:"deliver,omitempty"`
	// Expect is how many endpoints there must be.
	Expect *Expect `json:"expect,omitempty"`
	// Plan is that of a [Plan]: the task is refused if it would be for others now.
	Plan string `json:"plan,omitempty"`
	// StartTime is when the task starts, or In is the duration until then, such as
	// "1h30m": nil and empty mean at once, as does a time that has passed. Endpoints
	// are chosen, and counted, when it starts.
	StartTime *time.Time `json:"start_time,omitempty"`
	In        string     `json:"in,omitempty"`
	// Expires is when the task expires: a time in the form of RFC 3339, or a duration
	// after its start, such as "1h"; empty means as its type says.
	Expires string `json:"expires,omitempty"`
	// Retry is the task's own retry policy, in any form that openapi.yaml has; nil means
	// that of its type.
	Retry any `json:"retry,omitempty"`
	// Rollout takes the task through its endpoints in waves, or through a window; nil
	// means all at once. The endpoints are frozen.
	Rollout *NewRollout `json:"rollout,omitempty"`
	// Priority orders what waits at an endpoint, from 0 to [tasker.MaxPriority], which
	// comes first; nil means that of its type.
	Priority *int `json:"priority,omitempty"`
	// Topic is what the task is about; OnConflict says what happens if an older task of
	// the topic and the type has not ended when this one starts, by default that it is
	// refused.
	Topic      string            `json:"topic,omitempty"`
	OnConflict tasker.OnConflict `json:"on_conflict,omitempty"`
	// Signature is the task's by the person who wants it done; nil if it is not signed. A
	// signed task needs an Identifier.
	Signature *NewSignature `json:"signature,omitempty"`
	// Labels, such as ticket: CHG-7, are for finding the task; at most
	// [tasker.MaxTaskLabels].
	Labels map[string]string `json:"labels,omitempty"`
}

// NewSignature is the signature of a new task: see "Signed tasks" in docs/protocol.md.
type NewSignature struct {
	UID     string `json:"uid"`    // a ULID, new for each task
	Issued  int64  `json:"issued"` // seconds since 1970, as they were signed
	Expires int64  `json:"expires"`
	SSHSig  string `json:"sshsig"` // as ssh-keygen -Y sign writes it
}

// Expect bounds the number of endpoints of a task; nil is no bound.
type Expect = tasker.Expect

// Reschedule is when a SCHEDULED task is to start instead: one of both.
type Reschedule struct {
	StartTime *time.Time `json:"start_time,omitempty"`
	In        string     `json:"in,omitempty"`
}

// Plan is whom a task would be for.
type Plan struct {
	Type      string   `json:"type"`
	Plan      string   `json:"plan"` // digest, for [NewTask]
	Count     int      `json:"count"`
	Endpoints []string `json:"endpoints"` // sorted
	// All reports that it is also for those that register for the type later.
	All bool `json:"all"`
	// Select are the selectors in their canonical form, and Chosen is how many
	// endpoints there are before the limit.
	Select []string `json:"select,omitempty"`
	Chosen int      `json:"chosen"`
	// Lacking are those that are chosen only since they lack a label.
	Lacking []LackingEndpoint `json:"lacking"`
	// Silent are those that are not alive, or not registered.
	Silent   []string `json:"silent"`
	Warnings []string `json:"warnings"` // for people: labels that no endpoint has, too few endpoints
	// Deliver is how many of the endpoints would perform the task; 0 means all.
	Deliver tasker.Places `json:"deliver,omitempty"`
	// Exists reports that the task exists already: nothing would be done.
	Exists bool `json:"exists"`
	// StartTime is when the task would start, if later: the endpoints are chosen anew
	// then.
	StartTime *time.Time `json:"start_time,omitempty"`
	// Rollout is the rollout that it would have.
	Rollout *tasker.Rollout `json:"rollout,omitempty"`
}

// LackingEndpoint is an endpoint that lacks the label with a key.
type LackingEndpoint struct {
	Endpoint string `json:"endpoint"`
	Key      string `json:"key"`
}

// TaskAnswer is a task with the results of all endpoints.
type TaskAnswer struct {
	Task    tasker.Task         `json:"task"`
	Results []tasker.TaskResult `json:"taskResponseList"` // sorted by endpoint
	Summary tasker.Summary      `json:"summary"`
	// ResultsLeftOut is how many results the snapshot of a task for more than 1,000
	// endpoints leaves out: all of them, which [Client.Results] returns. It is nil if
	// Results is complete.
	ResultsLeftOut *int `json:"results_left_out,omitempty"`
}

// TaskView is a task without its payload.
type TaskView struct {
	ID               int64             `json:"id"`
	Identifier       string            `json:"identifier"`
	Type             string            `json:"type"`
	Status           tasker.TaskStatus `json:"status"`
	Endpoints        []string          `json:"endpoints"`
	Labels           map[string]string `json:"labels,omitempty"`
	Select           []string          `json:"select,omitempty"`
	Chosen           *int              `json:"chosen,omitempty"`
	Deliver          tasker.Places     `json:"deliver,omitempty"` // how many endpoints perform it; 0 means all
	Unserved         []string          `json:"unserved,omitempty"`
	RemovedEndpoints []string          `json:"removed_endpoints,omitempty"`
	// Cancel says who canceled the task; nil if nobody did.
	Cancel *tasker.Cancellation `json:"cancel,omitempty"`
	// Retry is the task's own retry policy; nil if it has that of its type.
	Retry *tasker.RetryPolicy `json:"retry,omitempty"`
	// Rollout is how far it is on its way through its endpoints, without the plan.
	Rollout    *tasker.Rollout   `json:"rollout,omitempty"`
	CreatedBy  string            `json:"created_by,omitempty"` // as in [tasker.Task]
	Priority   int               `json:"priority,omitempty"`   // from 0 to 9, which comes first
	Topic      string            `json:"topic,omitempty"`
	OnConflict tasker.OnConflict `json:"on_conflict,omitempty"`
	// Superseded says which newer task of its topic has replaced it; nil if none has.
	Superseded *tasker.Supersession `json:"superseded,omitempty"`
	// Signature is the task's by the person who wants it done; nil if nobody signed it.
	Signature *tasker.Signature `json:"signature,omitempty"`
	Hold      *tasker.Hold      `json:"hold,omitempty"` // who paused it; nil if nobody did
	// Round is that of a task that was retried, from 2 on, and RoundTime when it began.
	Round            int        `json:"round,omitempty"`
	RoundTime        *time.Time `json:"round_time,omitempty"`
	StartTime        time.Time  `json:"start_time"`
	AcceptedTime     *time.Time `json:"accepted_time,omitempty"`
	Expires          *time.Time `json:"expires,omitempty"`
	SentTime         *time.Time `json:"sent_time,omitempty"`
	LastModifiedTime time.Time  `json:"last_modified_time"`
	Errmsg           string     `json:"errmsg,omitempty"`
}

// TaskPage is one page of tasks, each a [tasker.Task] or a [TaskView].
type TaskPage[T tasker.Task | TaskView] struct {
	Tasks []T     `json:"tasks"`
	Next  *string `json:"next"` // cursor of the next page; nil on the last one
}

// TaskSummary is a task without its payload, and the numbers of its results.
type TaskSummary struct {
	Task TaskView `json:"task"`
	// Summary names the first of the missing endpoints only; the others are
	// Expected - Received - Unopened - Untaken - len(Missing).
	Summary tasker.Summary `json:"summary"`
}

// ResultPage is one page of the results of a task, by endpoint.
type ResultPage struct {
	Results []tasker.TaskResult `json:"results"`
	Next    *string             `json:"next"` // cursor of the next page; nil on the last one
}

// MissingPage is one page of the endpoints that have not received a task, by name.
type MissingPage struct {
	Endpoints []string `json:"endpoints"`
	Next      *string  `json:"next"` // cursor of the next page; nil on the last one
}

// TaskGroups is a task without its payload, and its results in groups: those that
// are alike but for the endpoint's name, times and the like, once. Every expected
// endpoint is in one of Groups, Other and Missing.
type TaskGroups struct {
	Task     TaskView `json:"task"`
	Expected int      `json:"expected"`
	Received int      `json:"received"`
	// Groups begin with failures, and then with the largest.
	Groups []ResultGroup `json:"groups"`
	// Other has results of further groups, by state. It is empty unless there are
	// too many.
	Other   []OtherResults `json:"other"`
	Missing EndpointSet    `json:"missing"` // expected, without a result
}

// ResultGroup is a group of results that are alike.
type ResultGroup struct {
	Hash     string             `json:"hash"` // the same for results that are alike, also of other tasks
	State    tasker.ResultState `json:"state"`
	Errnr    int                `json:"errnr"`
	Errmsg   *string            `json:"errmsg"`   // of Endpoint, shortened to 4 KiB; nil if it has none
	Endpoint string             `json:"endpoint"` // the first by name: an example
	EndpointSet
}

// OtherResults are results of one state that are in no group.
type OtherResults struct {
	State tasker.ResultState `json:"state"`
	EndpointSet
}

// EndpointSet is a set of endpoints, however many, in few words.
type EndpointSet struct {
	Count int `json:"count"`
	// Names has items such as web[01-03,05], sorted.
	Names []string `json:"names"`
}

// Endpoints returns the names of the endpoints, sorted. It is an error if there are
// not Count.
func (s EndpointSet) Endpoints() ([]string, error) {
	names, err := nodeset.Unfold(strings.Join(s.Names, ","), s.Count)
	if err == nil && len(names) != s.Count {
		err = fmt.Errorf("invalid set of endpoints: has %d names, not %d as its count says", len(names), s.Count)
	}
	return names, err
}

// ResultAnswer is one endpoint's result with all its attempts.
type ResultAnswer struct {
	Result   tasker.TaskResult `json:"result"`
	Attempts []tasker.Attempt  `json:"attempts"` // oldest first
}

// LogAnswer is part of an attempt's log.
type LogAnswer struct {
	Attempt int              `json:"attempt"` // 0 if none has begun
	Lines   []tasker.LogLine `json:"lines"`
	Next    int64            `json:"next"` // offset of what follows
	Totals  tasker.LogTotals `json:"totals"`
}

// TaskTypeInfo describes a task type. Times are in seconds.
type TaskTypeInfo struct {
	Name        string          `json:"name"`
	Handler     string          `json:"handler"`
	Description string          `json:"description"`
	Usage       string          `json:"usage"`
	Schema      json.RawMessage `json:"schema"`  // null if every payload is valid
	Example     json.RawMessage `json:"example"` // null if there is none
	// ConfigObjects is a payload with empty values to fill in; null if unknown.
	ConfigObjects json.RawMessage   `json:"config_objects"`
	Concurrency   int               `json:"concurrency"`
	Timeout       float64           `json:"timeout"`
	Retry         []float64         `json:"retry"`
	RetryJitter   bool              `json:"retry_jitter"` // each pause is a random part of that in Retry
	MaxPayload    int64             `json:"max_payload"`  // in bytes
	Labels        map[string]string `json:"labels"`
	Retention     *int64            `json:"retention"` // nil if tasks are kept for ever
	// Expires is how long after its start a task expires; nil for never.
	Expires *float64 `json:"expires,omitempty"`
	// Priority is that of a task that does not say its own.
	Priority int `json:"priority,omitempty"`
	// Approval is "other" if waves of rollouts are not approved by who created the task.
	Approval string `json:"approval,omitempty"`
	// Hold says who paused the type; nil if nobody did.
	Hold *tasker.Hold `json:"hold,omitempty"`
}

// TaskTypeList is the list of all task types.
type TaskTypeList struct {
	TaskTypes []TaskTypeInfo `json:"task_types"`
}

// TaskTypeAnswer is a task type with the first of its endpoints.
type TaskTypeAnswer struct {
	TaskTypeInfo
	Endpoints []ServingEndpoint `json:"endpoints"`
	Next      *string           `json:"next"` // path of the other endpoints; nil if these are all
}

// ServingEndpoint is an endpoint that performs a task type.
type ServingEndpoint struct {
	Name  string `json:"name"`
	Alive bool   `json:"alive"`
}

// EndpointPage is one page of endpoints.
type EndpointPage struct {
	Endpoints []tasker.Endpoint `json:"endpoints"`
	Next      *string           `json:"next"` // cursor of the next page; nil on the last one
}

// RemovedEndpoint is the result of removing an endpoint.
type RemovedEndpoint struct {
	Name      string    `json:"name"`
	TaskTypes []string  `json:"task_types"`
	Time      time.Time `json:"removed_time"`
	OpenTasks int       `json:"open_tasks"` // those that no longer expect it
	// QueuesPending reports that its queues are deleted later.
	QueuesPending bool `json:"queues_pending"`
}

// IssuedToken is a new token of an endpoint.
type IssuedToken struct {
	tasker.EndpointToken
	// Token is the token itself, which nobody can ask for again.
	Token string `json:"token"`
}

// TokenPage is one page of the tokens of endpoints, oldest first.
type TokenPage struct {
	Tokens []tasker.EndpointToken `json:"tokens"`
	Next   *string                `json:"next"` // cursor of the next page; nil on the last one
}

// DeadLetter is a message that was no task to the endpoint it reached, or that
// the broker gave up.
type DeadLetter struct {
	ID     int64  `json:"id"`
	Reason string `json:"reason"` // empty if unknown
	Queue  string `json:"queue"`  // empty if unknown
	// TaskType and Endpoint are parsed from the queue's name; both are empty if
	// that is not possible, and Endpoint for the queue that all endpoints share.
	TaskType  string    `json:"task_type,omitempty"`
	Endpoint  string    `json:"endpoint,omitempty"`
	MessageID string    `json:"message_id"`
	Time      time.Time `json:"time"`
	Size      int64     `json:"size"` // of the whole body, in bytes
	// Body is set if the body is UTF-8; otherwise BodyBase64 is.
	Body       *string `json:"body,omitempty"`
	BodyBase64 []byte  `json:"body_base64,omitempty"`
	// Truncated reports that this is only the beginning of the body.
	Truncated bool `json:"truncated,omitempty"`
}

// DeadLetterPage is one page of dead letters.
type DeadLetterPage struct {
	DeadLetters []DeadLetter `json:"dead_letters"`
	Next        *string      `json:"next"` // cursor of the next page; nil on the last one
}

// Health is the state of the API process.
type Health struct {
	Status  string `json:"status"` // alive
	Version string `json:"version"`
}

// Readiness is the state of what the API depends on.
type Readiness struct {
	Status string `json:"status"` // ready, or not ready
	Checks Checks `json:"checks"`
}

// Checks are the checks of a [Readiness].
type Checks struct {
	Database Check `json:"database"`
	Broker   Check `json:"broker"`
}

// Check is the state of one dependency.
type Check struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// TaskEvent is a change of a task's status or summary.
type TaskEvent struct {
	Task    TaskView       `json:"task"`
	Summary tasker.Summary `json:"summary"`
}

// ProgressEvent is the progress of an attempt.
type ProgressEvent struct {
	Endpoint string           `json:"endpoint"`
	Attempt  int              `json:"attempt"`
	Progress *tasker.Progress `json:"progress"`
}

// LogEvent is a part of the log of an attempt.
type LogEvent struct {
	Endpoint string           `json:"endpoint"`
	Attempt  int              `json:"attempt"`
	Lines    []tasker.LogLine `json:"lines"`
}

// EndEvent is the last event of a task.
type EndEvent struct {
	Status   tasker.TaskStatus `json:"status"`
	Deleted  bool              `json:"deleted"`  // the task was deleted
	Complete bool              `json:"complete"` // the logs were sent to their ends
}

// TaskSnapshot is the first event of all tasks.
type TaskSnapshot struct {
	Tasks     []TaskView `json:"tasks"`     // newest first
	Truncated bool       `json:"truncated"` // there are more
}

// ResultHint is a change of a result, among the events of all tasks.
type ResultHint struct {
	TaskID     int64              `json:"task_id"`
	Type       string             `json:"type"`
	Identifier string             `json:"identifier"`
	Endpoint   string             `json:"endpoint"`
	Attempt    int                `json:"attempt"`
	State      tasker.ResultState `json:"state"`
	Errnr      int                `json:"errnr"`
}

// ProgressHint is the progress of an attempt, among the events of all tasks.
type ProgressHint struct {
	TaskID     int64            `json:"task_id"`
	Type       string           `json:"type"`
	Identifier string           `json:"identifier"`
	Endpoint   string           `json:"endpoint"`
	Attempt    int              `json:"attempt"`
	Progress   *tasker.Progress `json:"progress"`
}

// LeftOutEvent reports that changes of results were omitted.
type LeftOutEvent struct {
	Changes int `json:"changes"`
}

// Problem is the body of every error (RFC 9457). As an error it wraps a
// [tasker.Error] with its code: [tasker.CodeOf] finds it.
type Problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail"`
	Instance  string       `json:"instance"`
	Code      tasker.Code  `json:"code"`
	RequestID string       `json:"request_id"` // of the API's log
	Errors    []FieldError `json:"errors,omitempty"`
}

// FieldError is one broken rule. Field is a JSON pointer into the body, or
// "?name" for a query parameter.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// Unwrap returns the same error as the API saw it.
func (p *Problem) Unwrap() error {
	e := tasker.Errorf(p.Code, "%s", p.Detail)
	if len(p.Errors) > 0 {
		e.Field = p.Errors[0].Field
	}
	return e
}
