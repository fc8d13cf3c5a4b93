// Package promises holds what a tasker has done against the five promises of
// docs/guarantees.md. It knows nothing of how tasker works: it reads what the
// clients were answered, what the handlers themselves wrote down, and which
// faults were caused, and finds what cannot be if the promises hold.
package promises

import (
	"encoding/json"
	"time"
)

// History is what was recorded of one run of tasker under faults. All times
// are of one machine's clock.
type History struct {
	Seed   uint64    `json:"seed"`
	Begin  time.Time `json:"begin"`
	End    time.Time `json:"end"`
	Types  []Type    `json:"types"`
	Posts  []Post    `json:"posts"`
	Runs   []Entry   `json:"runs"`
	Faults []Fault   `json:"faults"`
	// Seen are answers to GET while faults went on, in the order of their
	// times; Final are the answers when all was healed and at rest, one for
	// each accepted task.
	Seen  []Answer `json:"seen"`
	Final []Answer `json:"final"`
	// Endpoints are all endpoints, each alive at the end.
	Endpoints []string `json:"endpoints"`
}

// Type is what a task type's configuration promises.
type Type struct {
	Name        string `json:"name"`
	MaxAttempts int    `json:"max_attempts"`
	// Outcome is how its handler ends when nobody disturbs it: "done",
	// "failed", "timed_out", or "flaky", which fails its first attempt and
	// ends the second well.
	Outcome string `json:"outcome"`
}

// Post is one task that a client tried to create, for as long as it took to
// get an answer.
type Post struct {
	Type       string `json:"type"`
	Identifier string `json:"identifier"`
	// Endpoints are those that it lists; nil means all.
	Endpoints []string `json:"endpoints"`
	// Accepted is when the first answer of 200 or 201 came; zero where none did.
	Accepted time.Time `json:"accepted"`
	TaskID   int64     `json:"task_id"` // of the answer
	Tries    int       `json:"tries"`   // the same POST may have been sent again
}

// Entry is a line that a handler wrote down itself, synced to disk before it
// went on: the start of a run, or its end.
type Entry struct {
	Event      string    `json:"event"` // "start" or "end"
	TaskID     int64     `json:"task_id"`
	Identifier string    `json:"identifier"`
	Type       string    `json:"type"`
	Endpoint   string    `json:"endpoint"`
	Attempt    int       `json:"attempt"`
	PID        int       `json:"pid"` // of the manager
	Time       time.Time `json:"time"`
	// Run names the run, among all. A handler that ends well returns
	// {"run": "<Run>"}, so that its result can be recognized.
	Run string `json:"run"`
	// Outcome, of an end, is what the handler is about to return: "done" or
	// "failed", or "stopped" where its context had ended.
	Outcome string `json:"outcome,omitempty"`
}

// Fault is something that was done to the system.
type Fault struct {
	Kind string    `json:"kind"` // one of the Fault constants
	Time time.Time `json:"time"`
	// Until is when it was over: the process ran again, the connection was
	// restored; zero where that has no meaning.
	Until time.Time `json:"until"`
	// Target is whom it struck: "api1", "console3", "broker", "database".
	Target string `json:"target"`
	PID    int    `json:"pid"` // of the process that was struck, 0 where there is none
	// Endpoints are those that a manager that was struck served; nil where it
	// is the one that Target names.
	Endpoints []string `json:"endpoints,omitempty"`
}

// The kinds of faults.
const (
	FaultKill  = "kill"  // kill -9; Until is when its successor started
	FaultStop  = "stop"  // asked to end (TERM)
	FaultPause = "pause" // SIGSTOP until SIGCONT
	// FaultTakeover is when another manager took the name of one that was cut
	// off for longer than its lease, until that one learned of it.
	FaultTakeover = "takeover"
	FaultRestart  = "restart" // of a server, with its data
	FaultWipe     = "wipe"    // of the broker's data directory
	FaultCut      = "cut"     // of connections
	FaultSlow     = "slow"    // connections with latency
	FaultAlarm    = "alarm"   // the broker blocks publishers
)

// Answer is an answer of GET /{type}/{identifier}.
type Answer struct {
	Time time.Time `json:"time"` // when the request was sent
	// Answered is when the answer had been read. Two answers about a task
	// have an order only where one was read before the other was asked for.
	Answered time.Time `json:"answered"`
	Task     struct {
		ID         int64    `json:"id"`
		Identifier string   `json:"identifier"`
		Type       string   `json:"type"`
		Status     string   `json:"status"`
		Endpoints  []string `json:"endpoints"`
	} `json:"task"`
	Results []Result `json:"taskResponseList"`
	Summary struct {
		Expected int      `json:"expected"`
		Received int      `json:"received"`
		Finished int      `json:"finished"`
		Failed   int      `json:"failed"`
		Lost     int      `json:"lost"`
		Missing  []string `json:"missing"`
	} `json:"summary"`
}

// Result is one endpoint's part of an [Answer].
type Result struct {
	Endpoint string          `json:"endpoint"`
	Status   int             `json:"status"`
	State    string          `json:"state"`
	Attempt  int             `json:"attempt"`
	Errnr    int             `json:"errnr"`
	Errmsg   *string         `json:"errmsg"`
	Payload  json.RawMessage `json:"payload"`
}

// Violation is something that cannot be if the promises hold.
type Violation struct {
	// Promise is the number of the promise that is broken, 1 to 5.
	Promise int `json:"promise"`
	// Rule names the check that found it, such as "two-runs-of-one-attempt".
	Rule string `json:"rule"`
	// Detail is for people: the task, the endpoint, and what contradicts what.
	Detail string `json:"detail"`
}
