package rollout

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// The values of [Settings.Unreached].
const (
	CountUnreached  = "count"  // unreached endpoints are bad
	IgnoreUnreached = "ignore" // they are neither bad nor waited for
)

// The values of [Settings.OnHalt].
const (
	FinishRunning = "finish" // what runs when the rollout halts finishes
	CancelRunning = "cancel" // it is canceled
)

// The values of [Settings.OrderBy].
const (
	OrderSeed  = "seed"   // by a hash of the seed and the name
	OrderName  = "name"   // by name
	OrderLabel = "label:" // followed by a label's key; see [Settings.Order]
)

// Settings are the object "rollout" of a POST. Make them with [Decode], which
// fills in the defaults and checks all rules.
type Settings struct {
	// Borders are "batch" as a list: how many endpoints have been tried, or will
	// be, when the wave ends. Every is "batch" as a single value: the size of
	// each wave. MaxConcurrency is how many endpoints are open at once. One of
	// the three is set.
	Borders        []Amount
	Every          Amount
	MaxConcurrency Amount
	Ramp           bool // MaxConcurrency begins at 1 and doubles on success

	Pause           time.Duration // the soak between two waves
	MaxFailures     Amount        // tolerated in the whole rollout; 0 by default
	WaveMaxFailures *Amount       // tolerated in each wave; nil: none in the first, any number in others
	Unreached       string        // CountUnreached or IgnoreUnreached
	WaveTimeout     time.Duration // ends a wave; 0: never
	ProceedAt       int           // the percentage of a wave that must be settled to end it; 100 by default
	OnHalt          string        // FinishRunning or CancelRunning
	Approve         Approve
	Splay           time.Duration // each endpoint of a wave begins at random within it; 0: all at once
	SkipSilent      time.Duration // endpoints not seen for so long are left out; 0: none

	// OrderBy is "order": OrderSeed, OrderName, or OrderLabel with a key. Seed is
	// any text. If it is empty, the caller fills in one that is stored and shown,
	// such as the task's identifier: otherwise all rollouts begin with the same
	// endpoint.
	OrderBy string
	Seed    string
}

// Approve is which waves wait for a person.
type Approve struct {
	All   bool  // all but the first
	Waves []int // entries of Borders, or waves of the size Every, counted from 1
}

// before reports whether a person must approve the entry of Borders, or the wave
// of the size Every.
func (a Approve) before(entry int) bool {
	return a.All && entry > 1 || slices.Contains(a.Waves, entry)
}

// LabelKey returns the key of the label that orders the endpoints, if one does.
func (s Settings) LabelKey() (key string, ok bool) { return strings.CutPrefix(s.OrderBy, OrderLabel) }

// UsesSeed reports whether Seed decides anything.
func (s Settings) UsesSeed() bool { return s.OrderBy != OrderName || s.Splay > 0 }

// windowed reports whether the rollout has a window in place of waves.
func (s Settings) windowed() bool { return s.MaxConcurrency.Value > 0 }

// settingsJSON is the form of [Settings] in JSON.
type settingsJSON struct {
	Batch           any     `json:"batch,omitempty"`
	MaxConcurrency  *Amount `json:"max_concurrency,omitempty"`
	Ramp            bool    `json:"ramp,omitempty"`
	Pause           string  `json:"pause,omitempty"`
	MaxFailures     Amount  `json:"max_failures"`
	WaveMaxFailures *Amount `json:"wave_max_failures,omitempty"`
	Unreached       string  `json:"unreached"`
	WaveTimeout     string  `json:"wave_timeout,omitempty"`
	ProceedAt       *Amount `json:"proceed_at,omitempty"`
	OnHalt          string  `json:"on_halt"`
	Approve         any     `json:"approve,omitempty"`
	Splay           string  `json:"splay,omitempty"`
	SkipSilent      string  `json:"skip_silent,omitempty"`
	Order           string  `json:"order"`
	Seed            string  `json:"seed,omitempty"`
}

// MarshalJSON encodes the settings with their defaults. [Decode] reads them back.
func (s Settings) MarshalJSON() ([]byte, error) {
	out := settingsJSON{
		MaxFailures: s.MaxFailures, WaveMaxFailures: s.WaveMaxFailures,
		Unreached: s.Unreached, OnHalt: s.OnHalt, Order: s.OrderBy, Seed: s.Seed,
	}
	if s.SkipSilent > 0 {
		out.SkipSilent = s.SkipSilent.String()
	}
	if s.windowed() {
		out.MaxConcurrency, out.Ramp = &s.MaxConcurrency, s.Ramp
		return json.Marshal(out)
	}
	out.Batch, out.Approve = s.Every, s.Approve.All
	if s.Borders != nil {
		out.Batch = s.Borders
	}
	if len(s.Approve.Waves) > 0 {
		out.Approve = s.Approve.Waves
	}
	out.Pause = s.Pause.String()
	if s.WaveTimeout > 0 {
		out.WaveTimeout = s.WaveTimeout.String()
	}
	if s.Splay > 0 {
		out.Splay = s.Splay.String()
	}
	out.ProceedAt = &Amount{Value: s.ProceedAt, Percent: true}
	return json.Marshal(out)
}

// UnmarshalJSON is [Decode].
func (s *Settings) UnmarshalJSON(text []byte) error {
	decoded, err := Decode(text)
	if err == nil {
		*s = decoded
	}
	return err
}
