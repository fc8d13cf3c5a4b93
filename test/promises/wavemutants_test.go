package promises

func waveMutants() []mutant {
	return []mutant{
		{"run at an endpoint whose wave is not open", "work", true, func(m *mutation) {
			m.a.Task.Rollout = &Rollout{State: "RUNNING", Wave: 1, Waves: []Wave{{Until: 1}, {Until: len(m.a.Results)}}}
		}, "ran-before-its-wave"},
	}
}

// keepWaves makes rollouts of tasks in a history that it keeps: all waves are open, or
// the rollout was canceled and the task retried.
func keepWaves(h *History) {
	for i := range h.Final {
		a := &h.Final[i]
		n := len(a.Task.Endpoints)
		if n == 0 || a.Task.Rollout != nil {
			continue
		}
		a.Task.Rollout = &Rollout{State: "DONE", Wave: 2, Waves: []Wave{{Until: 1}, {Until: n}}}
		if a.Task.Round > 1 {
			a.Task.Rollout.State, a.Task.Rollout.Wave = "CANCELED", 1
		}
	}
}
