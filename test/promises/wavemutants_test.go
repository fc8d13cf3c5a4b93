package promises

func waveMutants() []mutant {
	return []mutant{
		{"run at an endpoint whose wave is not open", "work", true, func(m *mutation) {
			m.a.Task.Rollout = &Rollout{State: "RUNNING", Wave: 1, Waves: []Wave{{Until: 1}, {Until: len(m.a.Results)}}}
		}, "ran-before-its-wave"},
	}
}

// keepWaves makes rollouts of tasks in a history that it keeps: all waves are open.
func keepWaves(h *History) {
	for i := range h.Final {
		a := &h.Final[i]
		if n := len(a.Task.Endpoints); n > 0 && a.Task.Rollout == nil {
			a.Task.Rollout = &Rollout{State: "DONE", Wave: 2, Waves: []Wave{{Until: 1}, {Until: n}}}
		}
	}
}
