package promises

import (
	"fmt"
	"time"
)

func retryMutants() []mutant {
	retried := func(m *mutation, asked time.Time, set func(r *Retry)) {
		r := Retry{
			Type: m.a.Task.Type, Identifier: m.a.Task.Identifier, Class: retryFailed, Asked: asked, Answered: asked.Add(time.Millisecond),
			Round: 2, Retried: []string{m.row.Endpoint},
		}
		set(&r)
		m.h.Retries = append(m.h.Retries, r)
	}
	early := func(m *mutation) time.Time { return m.start().Time.Add(-time.Second) }
	return []mutant{
		{"another round, and nobody asked", "once", true, func(m *mutation) { m.a.Task.Round = 2 }, "round-without-retry"},
		{"more rounds than were asked for", "once", true, func(m *mutation) {
			retried(m, early(m), func(*Retry) {})
			m.a.Task.Round, m.row.Round = 3, 2
		}, "round-without-retry"},
		{"another round, and the retry was refused", "once", true, func(m *mutation) {
			retried(m, early(m), func(r *Retry) { r.Refused = true })
			m.a.Task.Round = 2
		}, "round-without-retry"},
		{"back to an earlier round", "once", true, func(m *mutation) {
			retried(m, early(m), func(r *Retry) { r.Retried = nil })
			m.seen(time.Second, func(a *Answer) { a.Task.Round = 2 })
			m.a.Task.Round = 0
		}, "round-without-retry"},
		{"retried, and it stays as it was", "bad", true, func(m *mutation) {
			retried(m, m.h.End.Add(-time.Minute), func(*Retry) {})
			m.a.Task.Round = 2
		}, "retry-without-effect"},
		{"one attempt more than two rounds allow", "bad", true, func(m *mutation) {
			retried(m, m.end().Time.Add(time.Millisecond), func(*Retry) {})
			for attempt := m.row.Attempt + 1; attempt <= 5; attempt++ {
				m.again(time.Duration(attempt)*10*time.Second, func(e *Entry) { e.Attempt, e.Run = attempt, fmt.Sprint("again", attempt) })
			}
			m.row.Attempt, m.row.Round, m.a.Task.Round = 5, 2, 2
		}, "attempt-not-allowed"},
		{"a row changed, of an endpoint that was not retried", "once", true, func(m *mutation) {
			retried(m, m.h.End.Add(-time.Minute), func(r *Retry) { r.Class, r.Retried = "all", []string{m.a.Results[1].Endpoint} })
			m.seen(2*time.Minute, func(a *Answer) {
				row := a.row(m.row.Endpoint)
				row.Payload = nil
			})
			m.a.Task.Round = 2
		}, "final-row-changed"},
	}
}
