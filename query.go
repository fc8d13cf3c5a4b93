package tasker

// TaskQuery asks for one page of the tasks of a type, newest first: the
// greatest ID comes first.
type TaskQuery struct {
	Type string
	// Status selects the tasks stored with that status; empty means any.
	Status TaskStatus
	// Before is a task's ID: the page holds older ones only. 0 means from the
	// newest.
	Before int64
	// Limit is the greatest number of tasks to return, at least 1.
	Limit int
	// MaxBytes bounds what is read of a page: the payloads, where they are
	// wanted, and the lists of endpoints. A page has at least one task, however
	// large it is. 0 means no bound.
	MaxBytes int64
	// WithoutPayload leaves the payloads out: they are nil.
	WithoutPayload bool
}

// EndpointQuery asks for one page of the registered endpoints, by name.
type EndpointQuery struct {
	// TaskType selects the endpoints that perform that type; empty means any.
	TaskType string
	// After is an endpoint's name: the page holds greater ones only. Empty
	// means from the first.
	After string
	// Limit is the greatest number of endpoints to give, at least 1.
	Limit int
}

// DeadLetterQuery asks for one page of the dead letters, newest first: the
// greatest ID comes first.
type DeadLetterQuery struct {
	// Before is a letter's ID: the page holds older ones only. 0 means from
	// the newest.
	Before int64
	// Limit is the greatest number of letters to give, at least 1.
	Limit int
}
