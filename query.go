package tasker

import "time"

// TaskQuery asks for one page of the tasks of a type, newest first, which means
// by descending ID.
type TaskQuery struct {
	Type string
	// Status selects tasks by stored status; empty means any.
	Status TaskStatus
	// Before is the ID of a task: the page has older ones only. 0 means from
	// the newest.
	Before int64
	// Limit is the maximum number of tasks to return, at least 1.
	Limit int
	// MaxBytes limits the size of a page: the payloads, unless left out, and
	// the lists of endpoints. A page has at least one task, however large. 0
	// means no limit.
	MaxBytes int64
	// WithoutPayload leaves the payloads nil.
	WithoutPayload bool
}

// TaskSearch asks for one page of the tasks of all types, newest first, which means
// by descending ID. What is empty does not limit it, except Types.
type TaskSearch struct {
	Types    []string      // one of these; at least one
	Statuses []TaskStatus  // one of these, as they are stored
	Endpoint string        // is for this endpoint
	Topic    string        // has this topic
	Prefix   string        // has an identifier that begins so
	Labels   []LabelFilter // has all of these
	// CreatedBy is the principal that created it; see [Task].
	CreatedBy string
	// Since and Until say when its status changed last: at Since or later, and before
	// Until. CreatedSince and CreatedUntil say when it was accepted, likewise.
	Since, Until               time.Time
	CreatedSince, CreatedUntil time.Time
	// Text is in its payload, in the form in which it was sent, or in an error of one
	// of its results; upper and lower case differ.
	Text string
	// Before is the ID of a task: the page has older ones only. 0 means from the
	// newest.
	Before int64
	Limit  int // the maximum number of tasks to return, at least 1
	// MaxBytes limits the size of the lists of endpoints of a page, which has at least
	// one task if any was found. 0 means no limit.
	MaxBytes int64
}

// TaskCounts are how many tasks a search selects, by status.
type TaskCounts struct {
	Statuses []StatusCount `json:"statuses"` // those asked for, in the order of [TaskStatuses]
	Total    int           `json:"total"`
	AtLeast  bool          `json:"at_least"` // not all were looked at: there may be more
}

// StatusCount is how many tasks have a status.
type StatusCount struct {
	Status  TaskStatus `json:"status"`
	Count   int        `json:"count"`
	AtLeast bool       `json:"at_least"` // not all were looked at: there may be more
}

// RolloutQuery asks for one page of the tasks with a rollout, newest first, which means
// by descending ID.
type RolloutQuery struct {
	States []string // the rollout is in one of these; at least one
	Types  []string // the task is of one of these; empty means of any
	// Before is the ID of a task: the page has older ones only. 0 means from the
	// newest.
	Before int64
	// Limit is the maximum number of tasks to return, at least 1.
	Limit int
	// MaxBytes limits the size of the lists of endpoints of a page, which has at least
	// one task if there is any. 0 means no limit.
	MaxBytes int64
}

// ResultQuery asks for one page of the results of a task, by endpoint.
type ResultQuery struct {
	TaskID int64
	// State selects results by state; empty means any.
	State ResultState
	// After is the name of an endpoint: the page has greater names only. Empty
	// means from the first.
	After string
	// Limit is the maximum number of results to return, at least 1.
	Limit int
	// MaxBytes limits the size of a page: the payloads and the messages. A page
	// has at least one result, however large. 0 means no limit.
	MaxBytes int64
}

// EndpointQuery asks for one page of the registered endpoints, by name.
type EndpointQuery struct {
	// TaskType selects the endpoints that perform a type; empty means any.
	TaskType string
	// After is the name of an endpoint: the page has greater names only. Empty
	// means from the first.
	After string
	// Limit is the maximum number of endpoints to return, at least 1.
	Limit int
	// Names selects endpoints by name; nil means any.
	Names []string
	// Recent selects those that were seen recently enough for a task without
	// listed endpoints to be for them.
	Recent bool
	// Brief leaves out what no selector looks at: only Name, TaskTypes, Labels,
	// Version, LastSeen and Alive are set.
	Brief bool
}

// DeadLetterQuery asks for one page of the dead letters, newest first, which
// means by descending ID.
type DeadLetterQuery struct {
	// Before is the ID of a letter: the page has older ones only. 0 means from
	// the newest.
	Before int64
	// Limit is the maximum number of letters to return, at least 1.
	Limit int
}
