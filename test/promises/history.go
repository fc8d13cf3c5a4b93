// Package promises checks what a tasker has done against the five promises of
// docs/guarantees.md. It knows nothing of how tasker works: it compares the
// answers that clients got, the journals that the handlers wrote, and the
// faults that were caused.
package promises

import (
	"encoding/json"
	"time"
)

// History is the record of one run of tasker under faults. All times are from
// one machine's clock.
type History struct {
	Seed   uint64    `json:"seed"`
	Begin  time.Time `json:"begin"`
	End    time.Time `json:"end"`
	Types  []Type    `json:"types"`
	Posts  []Post    `json:"posts"`
	Runs   []Entry   `json:"runs"`
	Faults []Fault   `json:"faults"`
	// Seen are answers to GET during the faults, by time. Final are the answers
	// after everything had settled, one per accepted task.
	Seen  []Answer `json:"seen"`
	Final []Answer `json:"final"`
	// Cancels are the cancellations that were answered.
	Cancels []Cancel `json:"cancels,omitempty"`
	// Holds are the pauses and drains that were answered.
	Holds []Hold `json:"holds,omitempty"`
	// Retries are the retries that were asked for.
	Retries []Retry `json:"retries,omitempty"`
	// Schedules are the schedules that clients tried to store.
	Schedules []Schedule `json:"schedules,omitempty"`
	// Endpoints are all endpoints; each is alive at the end.
	Endpoints []string `json:"endpoints"`
}

// Type is the configuration of a task type.
type Type struct {
	Name        string `json:"name"`
	MaxAttempts int    `json:"max_attempts"`
	// Outcome is how its handler ends if nothing interferes: "done", "failed",
	// "timed_out", or "flaky", which fails only its first attempt.
	Outcome string `json:"outcome"`
}

// Post is one task that a client tried to create, with all retries.
type Post struct {
	Type       string `json:"type"`
	Identifier string `json:"identifier"`
	// Endpoints are the listed endpoints; nil means all.
	Endpoints []string `json:"endpoints"`
	// Accepted is when the first 200 or 201 came; zero if none came.
	Accepted time.Time `json:"accepted"`
	TaskID   int64     `json:"task_id"` // from the answer
	// StartTime is when the task is to start, from the answer; zero if none came.
	StartTime time.Time `json:"start_time"`
	// Expires is when the task expires, from the answer; zero if it does not.
	Expires  time.Time `json:"expires"`
	Priority int       `json:"priority,omitempty"` // as it was asked for
	// Topic is what it is about, and Supersedes says that it replaces older tasks of that.
	Topic      string `json:"topic,omitempty"`
	Supersedes bool   `json:"supersedes,omitempty"`
	Deliver    int    `json:"deliver,omitempty"` // to how many endpoints of their own choice; 0 means all
	Tries      int    `json:"tries"`             // the number of POSTs sent
}

// Cancel is a cancellation of a task and its answer.
type Cancel struct {
	Type       string    `json:"type"`
	Identifier string    `json:"identifier"`
	Endpoints  []string  `json:"endpoints"` // those named; nil means all
	Asked      time.Time `json:"asked"`     // when the first request was sent
	Answered   time.Time `json:"answered"`
	// The sets of the answer. Refused is true if the task had ended.
	Stopped        []string `json:"stopped"`
	Stopping       []string `json:"stopping"`
	FinishedBefore []string `json:"finished_before"`
	Unreachable    []string `json:"unreachable"`
	Refused        bool     `json:"refused,omitempty"`
}

// Hold is the pause of a task, or of a type if Identifier is empty, or the drain of an
// endpoint, with its answer.
type Hold struct {
	Endpoint   string    `json:"endpoint,omitempty"`
	Type       string    `json:"type,omitempty"`
	Identifier string    `json:"identifier,omitempty"`
	Answered   time.Time `json:"answered"`
	// Until is when its end was first asked for, or the time at which it ended by itself.
	Until time.Time `json:"until"`
	// Running is that of the answer: endpoints or, of a drain, tasks as TYPE/IDENTIFIER.
	Running []string `json:"running"`
}

// Retry is a retry of a task and its answer.
type Retry struct {
	Type       string    `json:"type"`
	Identifier string    `json:"identifier"`
	Class      string    `json:"class"` // such as "failed"
	Asked      time.Time `json:"asked"` // when the first request was sent
	// Answered is zero if there was no answer: then a round may have begun all the same.
	Answered time.Time `json:"answered"`
	Round    int       `json:"round"`
	Retried  []string  `json:"retried"` // the endpoints of the answer
	// Refused is true if there was nothing to retry, or not now.
	Refused bool `json:"refused,omitempty"`
}

// Schedule is a schedule that a client tried to store, with what became of its slots. The
// tasks of those that have fired are among the posts.
type Schedule struct {
	Name    string      `json:"name"`
	Type    string      `json:"type"` // of its tasks
	Missed  string      `json:"missed"`
	Overlap string      `json:"overlap"`
	At      []time.Time `json:"at"`
	// Accepted is when it was answered that it is stored; zero if it was not.
	Accepted time.Time `json:"accepted"`
	Slots    []Slot    `json:"slots"` // at the end
}

// Slot is one slot of a [Schedule].
type Slot struct {
	Time       time.Time `json:"time"`
	Outcome    string    `json:"outcome"` // such as "FIRED"
	Reason     string    `json:"reason"`
	Identifier string    `json:"identifier"` // of its task
}

// Entry is a journal entry of a handler, synced before the handler continued:
// the start or the end of a run.
type Entry struct {
	Event      string    `json:"event"` // "start" or "end"
	TaskID     int64     `json:"task_id"`
	Identifier string    `json:"identifier"`
	Type       string    `json:"type"`
	Endpoint   string    `json:"endpoint"`
	Attempt    int       `json:"attempt"`
	PID        int       `json:"pid"` // of the manager
	Time       time.Time `json:"time"`
	// Run is a unique name of the run. A handler that succeeds returns {"run":
	// "<Run>"}, so that its result can be recognized.
	Run string `json:"run"`
	// Outcome, of an end, is what the handler is about to return: "done" or
	// "failed", or "stopped" if its context had ended.
	Outcome string `json:"outcome,omitempty"`
}

// Fault is a fault that was caused.
type Fault struct {
	Kind string    `json:"kind"` // one of the Fault constants
	Time time.Time `json:"time"`
	// Until is when it was over: the process ran again, the connection was
	// restored; zero if that does not apply.
	Until time.Time `json:"until"`
	// Target is "api1", "console3", "broker" or "database", for example.
	Target string `json:"target"`
	PID    int    `json:"pid"` // of the process, or 0
	// Endpoints are those that the manager served; nil if only the one in
	// Target.
	Endpoints []string `json:"endpoints,omitempty"`
}

// The kinds of faults.
const (
	FaultKill  = "kill"  // kill -9; Until is the start of its successor
	FaultStop  = "stop"  // TERM
	FaultPause = "pause" // SIGSTOP until SIGCONT
	// FaultTakeover is when another manager took the name of one that was cut
	// off for longer than its lease, until that one noticed.
	FaultTakeover = "takeover"
	FaultRestart  = "restart" // of a server, keeping its data
	FaultWipe     = "wipe"    // of the broker's data directory
	FaultCut      = "cut"     // of connections
	FaultSlow     = "slow"    // connections with latency
	FaultAlarm    = "alarm"   // the broker blocks publishers
)

// Answer is an answer of GET /{type}/{identifier}.
type Answer struct {
	Time time.Time `json:"time"` // when the request was sent
	// Answered is when the answer had been read. Two answers about a task are
	// ordered only if one was read before the other was requested.
	Answered time.Time `json:"answered"`
	Task     struct {
		ID         int64    `json:"id"`
		Identifier string   `json:"identifier"`
		Type       string   `json:"type"`
		Status     string   `json:"status"`
		Errmsg     string   `json:"errmsg"`
		Endpoints  []string `json:"endpoints"`
		// AcceptedTime is nil unless the task was to start later, and SentTime until it
		// was sent.
		AcceptedTime *time.Time `json:"accepted_time"`
		SentTime     *time.Time `json:"sent_time"`
		Round        int        `json:"round"` // 0 in the first one
		// Rollout is nil unless the task goes through its endpoints in waves.
		Rollout *Rollout `json:"rollout"`
	} `json:"task"`
	Results []Result `json:"taskResponseList"`
	Summary struct {
		Expected int      `json:"expected"`
		Received int      `json:"received"`
		Finished int      `json:"finished"`
		Failed   int      `json:"failed"`
		Canceled int      `json:"canceled"`
		Unopened int      `json:"unopened"` // wait for their wave
		Untaken  int      `json:"untaken"`  // places that nobody has taken
		Held     int      `json:"held"`
		Lost     int      `json:"lost"`
		Missing  []string `json:"missing"`
	} `json:"summary"`
}

// Rollout says how far a task is.
type Rollout struct {
	State string `json:"state"`
	Wave  int    `json:"wave"` // the last one that is open
	Waves []Wave `json:"waves"`
}

// Wave is a wave of a [Rollout].
type Wave struct {
	Until int `json:"until"` // the endpoints of this one and of those before it
}

// Result is one endpoint's part of an [Answer].
type Result struct {
	Endpoint string          `json:"endpoint"`
	Status   int             `json:"status"`
	State    string          `json:"state"`
	Attempt  int             `json:"attempt"`
	Round    int             `json:"round"` // 0 in the first one
	Errnr    int             `json:"errnr"`
	Errmsg   *string         `json:"errmsg"`
	Payload  json.RawMessage `json:"payload"`
}

// passedOn reports whether the task no longer expects the endpoint, which was lost: its
// place went to another one. The endpoint is not counted.
func (r *Result) passedOn() bool { return r.State == stateCanceled && r.Errnr == errnrRemoved }

// Violation is a contradiction to a promise.
type Violation struct {
	// Promise is the number of the broken promise, 1 to 5.
	Promise int `json:"promise"`
	// Rule is the name of the rule, such as "second-start".
	Rule string `json:"rule"`
	// Detail is for people: the task, the endpoint, and the contradiction.
	Detail string `json:"detail"`
}
