package promises

import "time"

func holdMutants() []mutant {
	held := func(m *mutation, set func(h *Hold)) {
		start := m.start().Time
		h := Hold{Answered: start.Add(-time.Second), Until: start.Add(time.Second)}
		set(&h)
		m.h.Holds = append(m.h.Holds, h)
	}
	return []mutant{
		{"run starts while its task is paused", "once", true, func(m *mutation) {
			held(m, func(h *Hold) { h.Type, h.Identifier = m.a.Task.Type, m.a.Task.Identifier })
		}, "run-while-held"},
		{"run starts while its endpoint is drained", "once", true, func(m *mutation) {
			held(m, func(h *Hold) { h.Endpoint, h.Running = m.row.Endpoint, []string{"once/another"} })
		}, "run-while-held"},
	}
}

// keepHolds adds holds to a history that it keeps: one that ended before a run started,
// one that was answered after that, and one whose answer says that it was running.
func keepHolds(h *History) {
	for _, r := range h.Runs {
		if r.Event != "start" {
			continue
		}
		of := Hold{Type: r.Type, Identifier: r.Identifier}
		before, after, during := of, of, of
		during.Running = h.Endpoints // others may start at the same moment
		before.Answered, before.Until = r.Time.Add(-time.Hour), r.Time.Add(-time.Hour)
		after.Answered, after.Until = r.Time, r.Time
		during.Answered, during.Until = r.Time.Add(-time.Nanosecond), r.Time.Add(time.Nanosecond)
		h.Holds = append(h.Holds, before, after, during)
	}
}
