package promises

// opened returns to how many endpoints the waves go that an answer says are open.
func (r *Rollout) opened() int {
	if r.Wave < 1 || r.Wave > len(r.Waves) {
		return 0
	}
	return r.Waves[r.Wave-1].Until
}

func (r *Rollout) over() bool { return r.State == "DONE" || r.State == "CANCELED" }

// A task with a rollout has run at no more endpoints, when an answer was asked for, than
// those whose waves the answer says are open. A rollout that is over holds nothing: what
// is retried after it starts everywhere at once.
func ranBeforeItsWave(w *world, report reportFunc) {
	for _, a := range w.all {
		rollout := a.Task.Rollout
		if rollout == nil || len(rollout.Waves) == 0 || rollout.over() && a.Task.Round > 1 {
			continue
		}
		begun := map[string]bool{}
		for _, r := range w.runs {
			if r.task == a.key() && r.start != nil && r.start.Time.Before(a.Time) {
				begun[r.endpoint] = true
			}
		}
		if open := rollout.opened(); len(begun) > open {
			report("%v at %s: wave %d is open, that is %d endpoints, but it has run at %d: %v", a.key(), clock(a.Time), rollout.Wave, open,
				len(begun), sorted(counted(begun)))
		}
	}
}

func counted(set map[string]bool) map[string]int {
	n := map[string]int{}
	for name := range set {
		n[name] = 1
	}
	return n
}
