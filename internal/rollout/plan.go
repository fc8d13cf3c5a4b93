package rollout

import (
	"sort"

	"github.com/taskerhq/tasker"
)

// Plan is a rollout resolved for a number of endpoints. Its JSON form is part of
// the answer to the POST.
type Plan struct {
	N int `json:"endpoints"`
	// HaltsAt is the number of bad endpoints that halts the rollout. If it is
	// more than N, nothing does.
	HaltsAt int `json:"halts_at"`
	// Window is how many endpoints are open at once, and Ramp whether it begins
	// at 1. Window is 0 if the rollout has waves.
	Window int  `json:"max_concurrency,omitempty"`
	Ramp   bool `json:"ramp,omitempty"`
	// BadAtMost is how many endpoints can be bad if a rollout with a window
	// halts: those tolerated, and a whole window.
	BadAtMost int `json:"bad_at_most,omitempty"`
	// Waves is empty, not nil, if the rollout has a window.
	Waves []Wave `json:"waves"`
}

// Wave is one wave of a plan.
type Wave struct {
	N     int `json:"n"`     // from 1
	Size  int `json:"size"`  // of this wave
	Until int `json:"until"` // with the waves before it
	// HaltsAt is the number of bad endpoints of this wave that halts the
	// rollout, 0 if it has no limit of its own.
	HaltsAt int `json:"halts_at,omitempty"`
	// BadAtMost is how many endpoints can be bad if the rollout halts in this
	// wave and was never resumed: those tolerated, the whole wave, and those
	// that the waves before left unfinished. LOST endpoints that return, and
	// run on after their wave, may add to it.
	BadAtMost int  `json:"bad_at_most"`
	Approve   bool `json:"approve,omitempty"` // it waits for a person
}

// Plan resolves the settings for n endpoints. It returns an error if a list of
// batches ends before all of them.
func (s Settings) Plan(n int) (Plan, error) {
	p := Plan{N: n, HaltsAt: s.MaxFailures.down(n) + 1, Waves: []Wave{}}
	if s.windowed() {
		p.Window, p.Ramp = min(s.MaxConcurrency.up(n), n), s.Ramp
		p.BadAtMost = min(n, p.HaltsAt-1+p.Window)
		return p, nil
	}
	borders := s.borders(n)
	if len(borders) > 0 && borders[len(borders)-1] < n {
		f := of("batch").entry(len(borders) - 1)
		return Plan{}, tasker.FieldErrorf(f.pointer, `invalid %s %v: the waves end before the last of %d endpoints: end them with "100%%"`,
			f.name, s.Borders[len(borders)-1], n)
	}
	before, approve, unfinished := 0, false, 0
	for i, border := range borders {
		// An approval asked for before an entry without endpoints goes to the
		// next that has some.
		approve = approve || s.Approve.before(i+1)
		if border <= before {
			continue
		}
		w := Wave{N: len(p.Waves) + 1, Size: border - before, Until: border, Approve: approve}
		w.HaltsAt = s.waveHaltsAt(w)
		w.BadAtMost = w.Until
		if s.Unreached == CountUnreached { // otherwise any unreached one may be late to fail
			w.BadAtMost = min(w.Until, p.HaltsAt-1+w.Size+unfinished)
		}
		unfinished += w.Size - s.proceedAt(w.Size)
		p.Waves = append(p.Waves, w)
		before, approve = border, false
	}
	return p, nil
}

// borders returns how many of n endpoints have been tried after each entry of
// the batch. They do not fall.
func (s Settings) borders(n int) []int {
	var borders []int
	reached := 0
	for _, b := range s.Borders {
		reached = max(reached, min(b.up(n), n))
		borders = append(borders, reached)
	}
	if s.Borders == nil {
		for reached < n {
			reached = min(reached+s.Every.up(n), n)
			borders = append(borders, reached)
		}
	}
	return borders
}

// waveHaltsAt returns the number of bad endpoints in a wave that halts, 0 if it
// has no limit.
func (s Settings) waveHaltsAt(w Wave) int {
	switch {
	case s.WaveMaxFailures != nil:
		return s.WaveMaxFailures.down(w.Size) + 1
	case w.N == 1:
		return 1
	}
	return 0
}

// proceedAt returns how many of n endpoints must be settled to end their wave.
func (s Settings) proceedAt(n int) int { return Amount{Value: s.ProceedAt, Percent: true}.up(n) }

// Steps returns how many times the rollout opens something: the number of waves,
// or of endpoints if it has a window.
func (p Plan) Steps() int {
	if p.Window > 0 {
		return p.N
	}
	return len(p.Waves)
}

// WaveAt returns the wave of the i-th endpoint in the rollout's order, both
// from 0 and 1: position 0 is in wave 1. With a window each endpoint is a wave
// of its own, and waves open several at a time.
func (p Plan) WaveAt(i int) int {
	if p.Window > 0 {
		return i + 1
	}
	return 1 + sort.Search(len(p.Waves), func(w int) bool { return p.Waves[w].Until > i })
}
