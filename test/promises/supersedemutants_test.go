package promises

import "time"

// topical gives the task of a mutation a topic, and adds a newer task of it for the same
// endpoint, which was accepted at a time and ran there.
func (m *mutation) topical(accepted time.Time, change func(newer *Post)) {
	older := postOf(m.h, m.a.key())
	older.Topic = "nightly"
	if before := accepted.Add(-time.Minute); older.Accepted.After(before) || older.StartTime.After(before) {
		older.Accepted, older.StartTime = before, before
	}
	m.other("newer", 20_000, accepted, 0)
	for i := range m.h.Final { // it may have moved
		if a := &m.h.Final[i]; a.key() == m.a.key() {
			m.a = a
		}
	}
	newer := postOf(m.h, task{m.a.Task.Type, "newer"})
	newer.Topic, newer.Supersedes, newer.StartTime = "nightly", true, accepted
	change(newer)
}

func supersedeMutants() []mutant {
	unchanged := func(*Post) {}
	superseded := func(m *mutation) {
		m.dropRuns(1)
		m.row.Payload, m.row.Attempt = nil, 0
		m.set(stateSuperseded, errnrSuperseded)
	}
	return []mutant{
		{"run starts after a newer task of its topic was accepted", "once", true, func(m *mutation) {
			m.topical(m.start().Time.Add(-grace-time.Millisecond), unchanged)
		}, "ran-superseded"},
		{"SUPERSEDED without a topic", "once", true, superseded, "superseded-by-nobody"},
		{"SUPERSEDED by a task of another topic", "once", true, func(m *mutation) {
			m.topical(m.h.End.Add(-time.Minute), func(newer *Post) { newer.Topic = "weekly" })
			superseded(m)
		}, "superseded-by-nobody"},
		{"SUPERSEDED by a task that replaces none", "once", true, func(m *mutation) {
			m.topical(m.h.End.Add(-time.Minute), func(newer *Post) { newer.Supersedes = false })
			superseded(m)
		}, "superseded-by-nobody"},
	}
}

// keepTopics gives tasks of a history that it keeps topics: a newer one that was accepted
// after the run, one for other endpoints, one that was refused, and one that nobody knows
// to be the newer.
func keepTopics(h *History) {
	for i := range min(len(h.Runs), 20) {
		r := h.Runs[i]
		post := postOf(h, task{r.Type, r.Identifier})
		if post == nil || post.Topic != "" {
			continue
		}
		post.Topic = "of " + post.Identifier
		of := Post{
			Type: post.Type, Identifier: post.Identifier + "-after", Topic: post.Topic, Supersedes: true, Endpoints: []string{r.Endpoint},
			Accepted: h.End, StartTime: h.End,
		}
		elsewhere, refused, unknown := of, of, of
		elsewhere.Identifier, elsewhere.Endpoints = post.Identifier+"-elsewhere", []string{"e0"}
		elsewhere.Expires = h.End
		elsewhere.StartTime, elsewhere.Accepted = post.StartTime.Add(2*grace), post.StartTime.Add(2*grace)
		refused.Identifier, refused.Accepted, refused.StartTime = post.Identifier+"-refused", time.Time{}, time.Time{}
		unknown.Identifier, unknown.StartTime, unknown.Accepted = post.Identifier+"-unknown", post.Accepted, post.Accepted
		for _, p := range []Post{of, elsewhere, refused, unknown} {
			h.Posts = append(h.Posts, p)
			if p.Accepted.IsZero() {
				continue
			}
			a := Answer{Time: h.End, Answered: h.End}
			a.Task.ID, a.Task.Type, a.Task.Identifier, a.Task.Endpoints = 30_000+int64(len(h.Posts)), p.Type, p.Identifier, p.Endpoints
			a.Task.Status, a.Summary.Missing, a.Summary.Expected = statusIncomplete, nil, 0
			for _, endpoint := range p.Endpoints {
				why := "why"
				row := Result{Endpoint: endpoint, Status: 1, State: stateSuperseded, Errnr: errnrSuperseded, Errmsg: &why}
				if !p.Expires.IsZero() {
					row.State, row.Errnr = stateExpired, errnrExpired
				}
				a.Results = append(a.Results, row)
			}
			a.recount()
			h.Final = append(h.Final, a)
		}
	}
}
