package rollout

import "github.com/taskerhq/tasker"

// Progress says what has become of the endpoints of a rollout, for people. It panics if
// the view does not have the counts of each wave of the plan.
func Progress(p Plan, s Settings, r Record, v View) tasker.RolloutProgress {
	v.check(p)
	progress := tasker.RolloutProgress{Total: sum(v.Waves).public(s), Waves: make([]tasker.WaveProgress, len(p.Waves))}
	for i, w := range p.Waves {
		progress.Waves[i] = tasker.WaveProgress{N: w.N, State: r.wave(w.N), RolloutCounts: v.Waves[i].public(s)}
	}
	return progress
}

// wave returns how far a wave is.
func (r Record) wave(n int) tasker.WaveState {
	switch {
	case n > r.Opened:
		return tasker.WaveUnopened
	case n <= r.Closed, r.State.Final():
		return tasker.WaveEnded
	}
	return tasker.WaveOpen
}

// public returns the counts in their form for people.
func (c Counts) public(s Settings) tasker.RolloutCounts {
	bad := c.bad(s)
	return tasker.RolloutCounts{
		Done: c.OK, Bad: bad, Ignored: c.Bad + c.Late + c.Unreached - bad, Forgiven: c.Forgiven, Canceled: c.Canceled,
		Unfinished: c.Unfinished, Unopened: c.Unopened,
	}
}
