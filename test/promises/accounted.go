package promises

import (
	"slices"
)

// Promise 5: every expected endpoint is accounted for, in every answer: either
// by its row or as missing.

// mentions counts how often an answer names each endpoint.
func (a *Answer) mentions() map[string]int {
	n := map[string]int{}
	for i := range a.Results {
		n[a.Results[i].Endpoint]++
	}
	for _, endpoint := range a.Summary.Missing {
		n[endpoint]++
	}
	return n
}

// posted calls each with every answer about a posted task.
func (w *world) posted(each func(a *Answer)) {
	for _, a := range w.all {
		if w.posts[a.key()] != nil {
			each(a)
		}
	}
}

// An answer names no endpoint twice.
func endpointTwice(w *world, report reportFunc) {
	for _, a := range w.all {
		mentions := a.mentions()
		for _, endpoint := range sorted(mentions) {
			if n := mentions[endpoint]; n > 1 {
				report("%v at %s names %s %d times, as row or missing", a.key(), clock(a.Time), endpoint, n)
			}
		}
	}
}

// An answer names every expected endpoint. The endpoints of a task for all are
// known when it is sent; before that, an answer names those that have received
// it. One that starts later expects nobody before.
func endpointNowhere(w *world, report reportFunc) {
	w.posted(func(a *Answer) {
		unsent := a.Task.Status == statusCreated && w.posts[a.key()][0].Endpoints == nil
		if unsent || a.Task.Status == statusScheduled || a.notStarted() {
			return
		}
		if w.posts[a.key()][0].Deliver > 0 { // for those that took it
			return
		}
		mentions := a.mentions()
		unopened := a.Summary.Unopened
		for _, endpoint := range w.addressed(a.key()) {
			if mentions[endpoint] > 0 {
				continue
			}
			if unopened--; unopened < 0 {
				report("%v at %s is %s, and %s has no row and is not missing", a.key(), clock(a.Time), a.Task.Status, endpoint)
			}
		}
	})
}

// An answer names no other endpoint.
func endpointUnexpected(w *world, report reportFunc) {
	w.posted(func(a *Answer) {
		addressed := w.addressed(a.key())
		for _, endpoint := range sorted(a.mentions()) {
			if !slices.Contains(addressed, endpoint) {
				report("%v at %s names %s, to which it is not addressed", a.key(), clock(a.Time), endpoint)
			}
		}
	})
}

// A task keeps the endpoints of its POST.
func endpointsChanged(w *world, report reportFunc) {
	w.posted(func(a *Answer) {
		want, got := w.posts[a.key()][0].Endpoints, a.Task.Endpoints
		if (want == nil) != (got == nil) || !slices.Equal(set(want), set(got)) {
			report("%v at %s is for %v, but was posted for %v", a.key(), clock(a.Time), got, want)
		}
	})
}

// At the end, with every endpoint alive, everything has ended.
func unfinishedAtRest(w *world, report reportFunc) {
	w.finalRows(func(p place, row *Result) {
		if !finished(row.State) {
			report("%v is still %s, attempt %d", p, row.State, row.Attempt)
		}
	})
	for _, key := range w.tasks {
		if a := w.final[key]; a != nil && (a.Task.Status == statusCreated || a.Task.Status == statusScheduled) {
			report("%v is still %s", key, a.Task.Status)
		}
	}
}

func set(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func sorted(m map[string]int) []string {
	list := make([]string, 0, len(m))
	for name := range m {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}
