package promises

import "slices"

// Topics: of the tasks of a type with a topic an endpoint runs the newest.

// newer reports whether a task is known to replace another one of its topic at an
// endpoint: it began after that was accepted. Of two that came at nearly the same time
// nobody knows which is the newer.
func (w *world) newer(p, than *Post, endpoint string) bool {
	key := task{p.Type, p.Identifier}
	return p.Supersedes && p.Topic != "" && p.Topic == than.Topic && p.Type == than.Type && p.Identifier != than.Identifier &&
		!p.Accepted.IsZero() && !than.Accepted.IsZero() && p.StartTime.After(than.Accepted.Add(grace)) &&
		slices.Contains(w.addressed(key), endpoint)
}

// No run starts after a newer task of the topic was accepted, unless the older one is
// retried there, or its process was paused between counting the attempt and starting it.
func ranSuperseded(w *world, report reportFunc) {
	for _, r := range w.runs {
		for _, post := range w.posts[r.task] {
			if r.start == nil || post.Topic == "" {
				continue
			}
			for i := range w.Posts {
				by := &w.Posts[i]
				if !w.newer(by, &post, r.endpoint) || !r.start.Time.After(by.Accepted.Add(grace)) ||
					w.retriedBetween(r.place, by.StartTime, r.start.Time) ||
					w.struck(r.endpoint, r.pid, by.StartTime, r.start.Time, FaultPause) {
					continue
				}
				report("%v: attempt %d started at %s, but the newer task %s of topic %s was accepted at %s", r.place, r.attempt,
					clock(r.start.Time), by.Identifier, by.Topic, clock(by.Accepted))
			}
		}
	}
}

// Only a task with a topic that another one may have replaced at the endpoint is
// SUPERSEDED there.
func supersededByNobody(w *world, report reportFunc) {
	w.rows(func(a *Answer, p place, row *Result) {
		if row.State != stateSuperseded || slices.ContainsFunc(w.posts[p.task], func(post Post) bool { return w.replaced(&post, p) }) {
			return
		}
		report("%v at %s is SUPERSEDED, and no other task of its topic replaces it", p, clock(a.Time))
	})
}

// replaced reports whether another task may have replaced one at a place. A rollout is
// replaced as a whole.
func (w *world) replaced(post *Post, p place) bool {
	return slices.ContainsFunc(w.Posts, func(by Post) bool {
		rollout := w.final[p.task] != nil && w.final[p.task].Task.Rollout != nil
		return post.Topic != "" && by.Supersedes && by.Topic == post.Topic && by.Type == post.Type && by.Identifier != post.Identifier &&
			(rollout || slices.Contains(w.addressed(task{by.Type, by.Identifier}), p.endpoint))
	})
}
