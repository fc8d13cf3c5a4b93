package model

import (
	"maps"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
)

// heal ends all faults: every endpoint has a manager, nothing crashes, and
// nothing stops until all is quiet. Then every accepted task must have ended
// correctly.
func (w *world) heal(t tb) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logf("all faults end")
	w.resumeAll()
	for _, m := range w.managers {
		m.paused = false
	}
	const rounds = 60
	for range rounds {
		w.clock.advance(3 * time.Second)
		w.round()
		w.check()
		w.report(t)
		if w.quiet() {
			w.judgeEnd()
			w.report(t)
			return
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.before.tasks)) {
		w.violate(1, "task %d is still %+v, with results %v", id, w.before.tasks[id], w.before.outcomes(id))
	}
	for _, m := range w.managers {
		if !m.gone {
			w.violate(1, "manager %s of %v knows of %v, active %v", m.id, m.endpoints, m.waiting, m.active)
		}
	}
	w.report(t)
}

// round lets every process do everything it can.
func (w *world) round() {
	for _, name := range endpoints {
		if !slices.ContainsFunc(w.managers, func(m *manager) bool {
			return !m.gone && m.phase != ending && slices.Contains(m.endpoints, name)
		}) {
			w.spawn(name)
		}
	}
	for _, m := range w.live() {
		w.serveAll(m)
	}
	for _, a := range w.apis {
		for len(a.jobs) > 0 {
			a.jobs = w.advanceOne(calm, a.jobs)
		}
	}
	for _, r := range w.starters {
		w.startDue(r, 10)
		for len(r.jobs) > 0 {
			r.jobs = w.advanceOne(calm, r.jobs)
		}
	}
	w.continueRollouts()
	for _, r := range w.relays {
		w.claim(r, 10)
		w.claimWaves(r)
		for len(r.jobs) > 0 {
			r.jobs = w.advanceOne(calm, r.jobs)
		}
	}
	for _, r := range w.reconcilers {
		w.markLost(r)
		w.lookAtOverdue(r)
		w.expire(r)
		w.releasePlaces(r)
		w.advanceRollouts(calm)
		w.sweep(r)
		w.aggregate(r)
	}
}

// serveAll is a healthy manager: it sends a heartbeat and does everything it
// can. It looks into the database only if it has a reason to.
func (w *world) serveAll(m *manager) {
	for !m.gone && m.phase != serving {
		refused := m.refused
		w.step(calm, m)
		if m.refused > refused {
			return // wait for the lease
		}
	}
	if m.gone {
		return
	}
	w.heartbeat(calm, m)
	for m.phase == serving && len(m.retries) > 0 {
		w.repeat(calm, m)
	}
	for m.phase == serving && len(m.unsubscribed()) > 0 {
		w.subscribe(m)
	}
	for m.phase == serving && m.toCatchUp() != "" {
		w.catchUp(calm, m)
	}
	for _, name := range m.endpoints {
		w.take(calm, m, name, 10)
	}
	for len(m.found) > 0 || w.deliverable(m) {
		w.receive(calm, m)
	}
	m.toAck = nil
	for _, name := range m.endpoints {
		w.lookForWork(func(int, string) int { return slices.Index(m.endpoints, name) }, m)
	}
	for _, name := range m.endpoints {
		w.stopCanceled(func(int, string) int { return slices.Index(m.endpoints, name) }, m)
	}
	for len(m.looked) > 0 {
		m.enqueue()
	}
	for len(m.early) > 0 {
		w.startEarly(calm, m)
	}
	for len(m.waiting) > 0 {
		w.startSome(calm, m)
	}
	for len(m.running) > 0 {
		w.handlerEnds(calm, m)
	}
	for len(m.results) > 0 {
		w.finishSome(calm, m)
	}
}

// quiet reports whether every task has ended, except those for which no
// endpoint was registered.
func (w *world) quiet() bool {
	for id := range w.tasks {
		t := w.before.tasks[id]
		unserved := t.status == tasker.Incomplete && t.places == 0 && len(t.expected) == 0 && len(w.before.outcomes(id)) == 0
		if !t.status.Final() && !unserved {
			return false
		}
	}
	for _, name := range endpoints {
		if len(w.queues[name].messages) > 0 {
			return false
		}
	}
	for _, r := range w.before.rollouts {
		if !r.state.Final() {
			return false
		}
	}
	return true
}

// judgeEnd checks that every endpoint is accounted for.
func (w *world) judgeEnd() {
	for id := range w.tasks {
		t := w.before.tasks[id]
		for _, name := range t.expected {
			r, ok := w.before.results[tasker.ResultKey{TaskID: id, Endpoint: name}]
			if !ok || !r.state.Finished() {
				w.violate(1, "task %d expects %s, but its result is %+v", id, name, r)
			}
		}
	}
	for r, f := range w.taken {
		row := w.before.results[r.ResultKey]
		again := r.attempt <= w.earlier[r.ResultKey] // it was retried since, and may have ended without a run
		if row.attempt == r.attempt && !again && f.State.Finished() && row.state != tasker.Rejected && !same(row, f) {
			w.violate(3, "attempt %d of %v ended as %+v, but the result is %+v", r.attempt, r.ResultKey, f, row)
		}
	}
}
