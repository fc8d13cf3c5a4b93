package promises

import "time"

func cancelMutants() []mutant {
	canceled := func(m *mutation, asked time.Time, set func(c *Cancel)) {
		c := Cancel{
			Type: m.a.Task.Type, Identifier: m.a.Task.Identifier, Asked: asked, Answered: asked.Add(time.Millisecond),
			Endpoints: []string{m.row.Endpoint},
		}
		set(&c)
		m.h.Cancels = append(m.h.Cancels, c)
	}
	stopped := func(m *mutation) func(c *Cancel) {
		return func(c *Cancel) { c.Stopped = []string{m.row.Endpoint} }
	}
	return []mutant{
		{"run starts after it was stopped", "once", true, func(m *mutation) {
			m.row.Payload = nil
			m.set(stateCanceled, errnrCanceled)
			m.end().Outcome = ranStopped
			canceled(m, m.start().Time.Add(-time.Second), stopped(m))
		}, "run-after-cancel"},
		{"stopped, but DONE", "once", true, func(m *mutation) {
			canceled(m, m.h.End.Add(-time.Minute), stopped(m))
		}, "cancel-contradicted"},
		{"had finished, but CANCELED", "once", true, func(m *mutation) {
			m.row.Payload = nil
			m.set(stateCanceled, errnrCanceled)
			canceled(m, m.end().Time, func(c *Cancel) { c.FinishedBefore = []string{m.row.Endpoint} })
		}, "cancel-contradicted"},
		{"CANCELED, and nobody did it", "once", true, func(m *mutation) {
			m.dropRuns(1)
			m.row.Payload, m.row.Attempt = nil, 0
			m.set(stateCanceled, errnrCanceled)
		}, "canceled-by-nobody"},
		{"task CANCELED, and no row", "once", true, func(m *mutation) { m.a.Task.Status = statusCanceled }, "status-not-of-rows"},
		{"CANCELING, and all have finished", "once", true, func(m *mutation) { m.a.Task.Status = statusCanceling }, "status-not-of-rows"},
	}
}
