package protocol

import (
	"cmp"
	"time"

	"github.com/taskerhq/tasker"
)

// Register registers the endpoint and takes its lease for a manager.
type Register struct {
	Scope
	Manager   string   `json:"manager"`
	TaskTypes []string `json:"task_types"`
	Host      string   `json:"host,omitempty"`
	PID       int      `json:"pid,omitempty"`
	Version   string   `json:"version,omitempty"`
	// Protocol is the newest version of task messages that the manager reads.
	Protocol int               `json:"protocol,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	// LeaseMS is the length of the lease that the manager wishes. The server
	// grants that or a longer one.
	LeaseMS int64 `json:"lease_ms,omitempty"`
}

// Validate returns what is wrong with the request.
func (r *Register) Validate() error {
	if err := validManager(r.Manager); err != nil {
		return err
	}
	if len(r.TaskTypes) == 0 {
		return tasker.FieldErrorf("/task_types", "no task types: name those that the endpoint performs")
	}
	if r.PID < 0 {
		return tasker.FieldErrorf("/pid", "invalid pid: must not be negative")
	}
	return cmp.Or(
		validTypes(r.TaskTypes), validText("/host", r.Host, maxHost), validText("/version", r.Version, maxVersion),
		validNumber("/pid", r.PID),
	)
}

// Granted is the lease that the server granted.
type Granted struct {
	// LeaseMS is its length from the arrival of the request.
	LeaseMS int64 `json:"lease_ms"`
	// HeartbeatMS is the time between two heartbeats that the server wants. It
	// grows with the fleet.
	HeartbeatMS int64 `json:"heartbeat_ms"`
}

// Registered answers [Register].
type Registered struct {
	Granted
	// Holder is the endpoint as the manager registered it that has its lease. It
	// is nil if the lease is the caller's now.
	Holder *tasker.Endpoint `json:"holder,omitempty"`
}

// Heartbeat renews the endpoint's lease.
type Heartbeat struct {
	Scope
	Manager string `json:"manager"`
	LeaseMS int64  `json:"lease_ms,omitempty"` // as in Register
}

// Validate returns what is wrong with the request.
func (r *Heartbeat) Validate() error { return validManager(r.Manager) }

// Held answers [Heartbeat].
type Held struct {
	Granted
	// Held is false if another manager has taken over the endpoint, or it was
	// removed.
	Held bool `json:"held"`
	// Canceled is true if a result of the endpoint runs that was told to stop: see
	// the operation canceled. It is also told without a heartbeat, if a hint comes.
	Canceled bool `json:"canceled,omitempty"`
	// Waiting is true if results of the endpoint are RECEIVED, and a task was retried of
	// late: those of it are among them, and no message tells.
	Waiting bool `json:"waiting,omitempty"`
}

// Release ends the endpoint's lease.
type Release struct {
	Scope
	Manager string `json:"manager"`
}

// Validate returns what is wrong with the request.
func (r *Release) Validate() error { return validManager(r.Manager) }

// Forget removes the endpoint, unless it has an unfinished attempt.
type Forget struct {
	Scope
	Manager string `json:"manager"`
}

// Validate returns what is wrong with the request.
func (r *Forget) Validate() error { return validManager(r.Manager) }

// Forgotten answers [Forget].
type Forgotten struct {
	Kept bool `json:"kept"`
}

// Return takes back the endpoint's LOST results.
type Return struct {
	Scope
}

// Validate returns nil.
func (*Return) Validate() error { return nil }

// Returned answers [Return].
type Returned struct {
	Results int `json:"results"`
}

// Holds asks what keeps attempts from starting at the endpoint.
type Holds struct {
	Scope
}

// Validate returns nil.
func (*Holds) Validate() error { return nil }

// HoldList answers [Holds].
type HoldList struct {
	Holds []Hold `json:"holds"`
}

// Hold keeps attempts from starting at the endpoint: all of them, those of a task type
// if TaskType is set, or those of one task if TaskID is.
type Hold struct {
	TaskType string     `json:"task_type,omitempty"`
	TaskID   int64      `json:"task_id,omitempty"`
	Until    *time.Time `json:"until,omitempty"` // when it ends by itself; absent if it does not
}

// Empty is an answer without content.
type Empty struct{}
