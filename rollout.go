package tasker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// Rollout says how far a task is on its way through its endpoints, which get it in
// waves, or through a window of so many at once. docs/rollouts.md has the rules.
type Rollout struct {
	// State is RUNNING, SOAKING, WAITING_APPROVAL, HALTED, PAUSED, DONE or CANCELED. It
	// is empty until the task starts.
	State string `json:"state,omitempty"`
	// Reason is why it is HALTED, or what the person said who brought it into State.
	Reason string `json:"reason,omitempty"`
	// Wave is the last wave that was opened, 0 before the first. With a window, it is the
	// number of endpoints that were opened.
	Wave  int        `json:"wave"`
	Since *time.Time `json:"since,omitempty"` // when it came into State
	Until *time.Time `json:"until,omitempty"` // when it leaves SOAKING
	By    string     `json:"by,omitempty"`    // who brought it into State; empty if nobody did
	// Settings are those of the POST, with their defaults.
	Settings json.RawMessage `json:"settings"`

	// The plan, once the task has started. Lists of tasks leave it out.
	Endpoints int `json:"endpoints,omitempty"` // how many there are
	// HaltsAt is the number of bad endpoints that halts the rollout. If it is more than
	// there are endpoints, nothing does.
	HaltsAt int `json:"halts_at,omitempty"`
	// MaxConcurrency is how many endpoints are open at once, and Ramp whether it begins at
	// 1. MaxConcurrency is 0 if there are waves.
	MaxConcurrency int  `json:"max_concurrency,omitempty"`
	Ramp           bool `json:"ramp,omitempty"`
	// BadAtMost is how many endpoints can be bad if a rollout with a window halts.
	BadAtMost int           `json:"bad_at_most,omitempty"`
	Waves     []RolloutWave `json:"waves,omitempty"` // none if there is a window

	// Bad are the endpoints that count as bad now, Forgiven those whose failure was
	// accepted when a halted rollout was resumed, and Skipped those that skip_silent left
	// out; sorted, the first 1,000 of each. Lists of tasks leave them out.
	Bad      []string `json:"bad,omitempty"`
	Forgiven []string `json:"forgiven,omitempty"`
	Skipped  []string `json:"skipped,omitempty"`
	// BadDigest is another one if other endpoints count as bad, also if they are not among
	// the first 1,000; see [EndpointsDigest]. It is empty where the lists are left out.
	BadDigest string `json:"bad_digest,omitempty"`
}

// EndpointsDigest returns a text that tells sets of endpoints apart. The names are sorted.
func EndpointsDigest(names []string) string {
	sum := sha256.Sum256([]byte(strings.Join(names, "\n")))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// RolloutExpect is how somebody saw a rollout who acts on it, so that two who act at the
// same moment do not both have their way. What is nil may be anything.
type RolloutExpect struct {
	// State is the state; empty if the rollout has not begun, or has ended.
	State *string    `json:"state,omitempty"`
	Since *time.Time `json:"since,omitempty"` // when it came into that state
	Wave  *int       `json:"wave,omitempty"`  // the last one that was opened
	// BadDigest is that of the endpoints that count as bad.
	BadDigest *string `json:"bad_digest,omitempty"`
}

// Expect returns what an act expects of a rollout that somebody has seen: that it did not
// come into another state since and, if it is HALTED, that nobody else would be forgiven.
func (r *Rollout) Expect() *RolloutExpect {
	e := &RolloutExpect{State: new(r.State), Since: r.Since}
	if r.State == "HALTED" {
		e.BadDigest = new(r.BadDigest)
	}
	return e
}

// RolloutWave is one wave of a [Rollout].
type RolloutWave struct {
	N     int `json:"n"`     // from 1
	Size  int `json:"size"`  // of this wave
	Until int `json:"until"` // with the waves before it
	// HaltsAt is the number of bad endpoints of this wave that halts the rollout, 0 if it
	// has no limit of its own.
	HaltsAt int `json:"halts_at,omitempty"`
	// BadAtMost is how many endpoints can be bad if the rollout halts in this wave.
	BadAtMost int  `json:"bad_at_most"`
	Approve   bool `json:"approve,omitempty"` // it waits for a person
}

// WaveState is how far a wave of a rollout is.
type WaveState string

// The states of waves.
const (
	WaveUnopened WaveState = "UNOPENED" // its endpoints do not have the task
	WaveOpen     WaveState = "OPEN"
	WaveEnded    WaveState = "ENDED" // its endpoints are no longer waited for
)

// RolloutProgress says what has become of the endpoints of a rollout.
type RolloutProgress struct {
	Total RolloutCounts  `json:"total"`
	Waves []WaveProgress `json:"waves"` // in their order; none if there is a window
}

// WaveProgress is how far a wave of a rollout is.
type WaveProgress struct {
	N     int       `json:"n"` // from 1
	State WaveState `json:"state"`
	RolloutCounts
}

// RolloutCounts are numbers of endpoints of a rollout. Each is in one of them; one that
// was removed is in none.
type RolloutCounts struct {
	Done       int `json:"done"`
	Bad        int `json:"bad"`        // count against the limits
	Ignored    int `json:"ignored"`    // unreached, where the rollout ignores that
	Forgiven   int `json:"forgiven"`   // were bad when a halted rollout was resumed
	Canceled   int `json:"canceled"`   // were canceled
	Unfinished int `json:"unfinished"` // have the task, or are to receive it
	Unopened   int `json:"unopened"`   // wait for their wave to open
}

// RolloutAct is what a person does to a rollout.
type RolloutAct struct {
	Type, Identifier string
	By, Reason       string
	// Wave is the wave up to which all are approved; 0 means the one that waits.
	Wave int
	// All promotes the rollout when it is resumed: it waits for no wave and no soak.
	All bool
	// Expect is how the person saw the rollout; nil if it may be in any state.
	Expect *RolloutExpect
}
