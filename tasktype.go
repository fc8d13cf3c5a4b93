package tasker

import (
	"encoding/json"
	"errors"
	"reflect"
	"time"
)

// The defaults and bounds of a [TaskType].
const (
	DefaultConcurrency = 4
	MaxConcurrency     = 1024
	DefaultTimeout     = time.Hour
	DefaultRetention   = 30 * 24 * time.Hour
)

// Forever is the retention of tasks that are never deleted.
const Forever time.Duration = -1

// TaskType is how the tasks of one type are described, run and kept. The zero
// value of a setting stands for its default.
type TaskType struct {
	Name        string
	Handler     string        // the handler's name in the catalog; empty means Name
	Description string        // one sentence
	Usage       string        // for people who write payloads
	Concurrency int           // tasks that an endpoint runs at once; 0 means DefaultConcurrency
	Timeout     time.Duration // limit of one attempt; 0 means DefaultTimeout
	Retry       RetryPolicy
	Retention   time.Duration     // how long a task is kept after its end; 0 means DefaultRetention
	Expires     time.Duration     // after its start a task expires, unless it says when itself; 0 means never
	Priority    int               // of a task that does not say its own, from 0 to MaxPriority
	Approval    string            // who may approve waves of its rollouts: ApprovalOther, or empty for everybody with the right
	MaxPayload  int64             // bytes; 0 means whatever fits a request
	Schema      json.RawMessage   // JSON Schema of payloads, as written; nil accepts any payload
	Example     json.RawMessage   // a payload to start from; may be nil
	Labels      map[string]string // labels that a manager needs to perform the type
	// SignedBy says whose signatures of a task count where signatures are verified, by
	// principals of the allowed signers or patterns, such as "alice", or "bob at db*" with
	// endpoints; nil means those of all allowed signers.
	SignedBy []string
	Settings map[string]any // the handler's own

	// Payloads is Schema, compiled. Nil accepts any payload.
	Payloads PayloadValidator
}

// ApprovalOther is the Approval of a type whose rollouts are not approved by who created
// the task.
const ApprovalOther = "other"

// PayloadValidator checks payloads against a schema.
type PayloadValidator interface {
	// Validate returns nil, or an error that tells people what is wrong with
	// the payload and where.
	Validate(payload json.RawMessage) error
}

// WithDefaults returns the types with defaults in place of zero values.
func WithDefaults(types []TaskType) []TaskType {
	filled := make([]TaskType, len(types))
	for i, t := range types {
		filled[i] = t.WithDefaults()
	}
	return filled
}

// WithDefaults returns t with defaults in place of zero values.
func (t TaskType) WithDefaults() TaskType {
	if t.Handler == "" {
		t.Handler = t.Name
	}
	if t.Concurrency == 0 {
		t.Concurrency = DefaultConcurrency
	}
	if t.Timeout == 0 {
		t.Timeout = DefaultTimeout
	}
	if t.Retention == 0 {
		t.Retention = DefaultRetention
	}
	return t
}

// Validate returns an error for every rule that t breaks. Fill in its defaults
// first.
func (t TaskType) Validate() error {
	if err := ValidateTaskType(t.Name); err != nil {
		return err
	}
	var errs []error
	invalid := func(format string, args ...any) {
		errs = append(errs, Errorf(Invalid, "task type %q: "+format, append([]any{t.Name}, args...)...))
	}
	if t.Concurrency < 1 || t.Concurrency > MaxConcurrency {
		invalid("invalid concurrency %d: must be 1-%d", t.Concurrency, MaxConcurrency)
	}
	if t.Timeout <= 0 {
		invalid("invalid timeout %v: must be positive", t.Timeout)
	}
	if t.Retention <= 0 && t.Retention != Forever {
		invalid("invalid retention %v: must be positive or Forever", t.Retention)
	}
	if t.Expires < 0 {
		invalid("invalid expires %v: must not be negative", t.Expires)
	}
	if err := ValidatePriority(t.Priority); err != nil {
		invalid("%v", err)
	}
	if t.Approval != "" && t.Approval != ApprovalOther {
		invalid("invalid approval %q: must be %s, or empty", t.Approval, ApprovalOther)
	}
	if t.MaxPayload < 0 {
		invalid("invalid max_payload %d: must not be negative", t.MaxPayload)
	}
	for _, delay := range t.Retry.Delays {
		if delay < 0 {
			invalid("invalid retry pause %v: must not be negative", delay)
		}
	}
	return errors.Join(errs...)
}

// Equal reports whether two types have the same settings. It compares the text
// of their schemas, not the compiled ones.
func (t TaskType) Equal(other TaskType) bool {
	t.Payloads, other.Payloads = nil, nil
	return reflect.DeepEqual(t, other)
}

// ValidateTaskTypes validates each type, its defaults filled in, and refuses a
// name that is listed twice.
func ValidateTaskTypes(types []TaskType) error {
	var errs []error
	seen := make(map[string]bool, len(types))
	for _, t := range WithDefaults(types) {
		if err := t.Validate(); err != nil {
			errs = append(errs, err)
		} else if seen[t.Name] {
			errs = append(errs, Errorf(Invalid, "task type %q is listed twice", t.Name))
		}
		seen[t.Name] = true
	}
	return errors.Join(errs...)
}
