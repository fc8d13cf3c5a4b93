package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// phase is a manager's stage of life.
type phase int

const (
	acquiring phase = iota // leases
	returning              // results back from LOST
	adopting               // results left RUNNING by another manager
	serving
	ending // store what is left, and end
)

// operation is a call of the store that a manager repeats until it gets the
// answer.
type operation struct {
	what string
	call func() error
	// seen tells the model what the call did, absorb tells the manager. If the
	// answer is lost, only seen is called.
	seen   func()
	absorb func()
}

// manager is a manager process with its memory, which a crash erases.
type manager struct {
	id        string
	endpoints []string
	phase     phase
	next      int // the endpoint to acquire or adopt
	refused   int // how often another manager held it
	gone      bool
	busy      bool        // in a call
	paused    bool        // does nothing, without knowing
	retries   []operation // to repeat, since their answers were lost
	lastBeat  time.Time

	subscribed map[string]bool // to the endpoint's queue
	caughtUp   map[string]bool // since it subscribed
	found      []message       // by catch-up
	unacked    []message
	toAck      []message // recorded

	looked  []ledger.Work             // read, but not enqueued yet
	waiting map[tasker.ResultKey]int  // known to wait, with their attempts
	active  map[tasker.ResultKey]bool // starting, running, or being stored
	early   map[tasker.ResultKey]int  // recorded as RUNNING ahead of a slot, with their attempts
	running map[tasker.ResultKey]int  // running handlers, with their attempts
	results []ledger.End              // ends of handlers
	sent    []ledger.End              // ends passed to the store
}

func (w *world) spawn(names ...string) {
	w.made++
	m := &manager{
		id: fmt.Sprintf("01M%023d", w.made), endpoints: names, lastBeat: w.store.Now(),
		subscribed: map[string]bool{}, caughtUp: map[string]bool{},
		waiting: map[tasker.ResultKey]int{}, active: map[tasker.ResultKey]bool{}, running: map[tasker.ResultKey]int{},
		early: map[tasker.ResultKey]int{},
	}
	w.logf("manager %s starts, for %v", m.id, names)
	w.managers = append(w.managers, m)
}

// crash erases a manager's memory. The broker redelivers unacknowledged
// messages.
func (w *world) crash(m *manager) {
	w.logf("manager %s ended", m.id)
	m.gone = true
	for _, message := range slices.Concat(m.unacked, m.toAck) {
		if q := w.queues[message.incoming.Endpoint]; q.bound {
			q.messages = append(q.messages, message)
		}
	}
}

// perform makes a call, whose answer may be lost.
func (w *world) perform(c chance, m *manager, op operation) {
	var err error
	m.busy = true
	w.call(func() { err = op.call() })
	m.busy = false
	if w.failed(op.what, err) {
		m.retries = append(m.retries, op)
		return
	}
	op.seen()
	if c.oneIn(10, "answer lost") {
		w.logf("  manager %s: answer to %s lost", m.id, op.what)
		m.retries = append(m.retries, op)
		return
	}
	op.absorb()
}

func (w *world) repeat(c chance, m *manager) {
	op := m.retries[0]
	m.retries = m.retries[1:]
	w.logf("manager %s: repeat %s", m.id, op.what)
	w.perform(c, m, op)
}

// stepPause pauses a manager for longer than its lease while another takes its
// endpoints, or resumes one.
func (w *world) stepPause(c chance) {
	for _, m := range w.managers {
		if m.paused && !m.gone {
			if c(2, "wakes") == 0 {
				w.logf("manager %s resumes", m.id)
				m.paused = false
			}
			return
		}
	}
	if live := w.live(); len(live) > 0 && len(live) < maxManagers {
		m := pick(c, live, "pauses")
		if len(m.endpoints) == 0 {
			return
		}
		w.logf("manager %s pauses", m.id)
		m.paused = true
		w.spawn(m.endpoints...)
		w.clock.advance(leaseTime)
	}
}

// stepManager lets a manager take one or a few steps.
func (w *world) stepManager(c chance) {
	live := w.live()
	if len(live) == 0 {
		return
	}
	m := pick(c, live, "manager")
	if c.oneIn(40, "crash") {
		w.crash(m)
		return
	}
	for range 1 + c(6, "more") {
		// With concurrent steps, another one may have it by now.
		if m.gone || m.busy || m.paused {
			return
		}
		w.step(c, m)
	}
}

func (w *world) step(c chance, m *manager) {
	if len(m.retries) > 0 && c(3, "retries") < 2 {
		w.repeat(c, m)
		return
	}
	switch m.phase {
	case acquiring:
		if len(m.retries) == 0 {
			w.acquire(c, m)
		}
	case returning:
		if len(m.retries) == 0 {
			w.returnFromLost(c, m, func() { m.phase = adopting })
		}
	case adopting:
		if len(m.retries) == 0 {
			w.adopt(c, m)
		}
	case serving:
		w.serve(c, m)
	case ending:
		w.end(c, m)
	}
}

func (w *world) acquire(c chance, m *manager) {
	name := m.endpoints[m.next]
	var holder *tasker.Endpoint
	var now time.Time
	w.perform(c, m, operation{
		what: "AcquireEndpoint",
		call: func() (err error) {
			now = w.store.Now()
			holder, err = w.store.Endpoints.AcquireEndpoint(w.ctx, tasker.Endpoint{
				Name: name, Manager: m.id, TaskTypes: []string{taskType}, Host: "host", PID: 1, Version: "1",
			}, leaseTime)
			return err
		},
		seen: func() {
			other := w.holder[name] != "" && w.holder[name] != m.id
			if held := other && w.leaseUntil[name].After(now); w.alone && held != (holder != nil) {
				w.violate(2, "manager %s acquires %s, which %s holds until %v: %+v", m.id, name, w.holder[name], w.leaseUntil[name], holder)
			}
			if holder == nil {
				w.logf("manager %s holds %s", m.id, name)
				w.holder[name], w.lastSeen[name], w.leaseUntil[name] = m.id, now, now.Add(leaseTime)
			}
		},
		absorb: func() {
			if holder != nil {
				if m.refused++; m.refused == 5 {
					m.phase, m.endpoints = ending, m.endpoints[:m.next]
				}
				return
			}
			if m.next++; m.next == len(m.endpoints) {
				m.phase, m.next = returning, 0
			}
		},
	})
}

func (w *world) returnFromLost(c chance, m *manager, then func()) {
	var n int
	w.perform(c, m, operation{
		what:   "ReturnFromLost",
		call:   func() (err error) { n, err = w.store.Endpoints.ReturnFromLost(w.ctx, m.endpoints); return err },
		seen:   func() { w.logf("manager %s: %d results back from LOST", m.id, n) },
		absorb: then,
	})
}

// adopt ends the attempts that an earlier manager of the endpoint left.
func (w *world) adopt(c chance, m *manager) {
	if len(m.results) > 0 {
		w.finish(c, m, slices.Clone(m.results), func(stored []bool) {
			m.results = nil
			if !slices.Contains(stored, true) {
				m.phase = ending // as the real manager does
			}
		})
		return
	}
	if m.next == len(m.endpoints) {
		m.phase = serving
		return
	}
	name := m.endpoints[m.next]
	var work []ledger.Work
	w.perform(c, m, operation{
		what: "InterruptedWork",
		call: func() (err error) { work, err = w.store.Attempts.InterruptedWork(w.ctx, m.id, name, 2); return err },
		seen: func() {},
		absorb: func() {
			if len(work) == 0 {
				m.next++
			}
			for _, one := range work {
				w.logf("manager %s: attempt %d of task %d at %s was interrupted, and canceled: %q", m.id, one.Attempt, one.Task.ID,
					one.Endpoint, one.Canceled)
				if one.Canceled != "" {
					m.results = append(m.results, canceledEnd(one))
					continue
				}
				m.results = append(m.results, attemptEnd(one.Key(), one.Attempt, tasker.ResultFailed, tasker.ErrnrInterrupted, nil))
			}
		},
	})
}

// attemptEnd returns the end of an attempt; a failed one is retried if the
// policy allows.
func attemptEnd(key tasker.ResultKey, attempt int, state tasker.ResultState, errnr int, payload []byte) ledger.End {
	f := ledger.End{ResultKey: key, Attempt: attempt, State: state, Errnr: errnr, Payload: payload}
	if errnr != 0 {
		f.Errmsg = "why"
	}
	if state == tasker.ResultFailed && attempt < maxAttempts {
		f.State, f.RetryDelay = tasker.Retrying, retryDelay
	}
	return f
}

func (w *world) heartbeat(c chance, m *manager) {
	var held bool
	var now time.Time
	w.perform(c, m, operation{
		what: "Heartbeat",
		call: func() (err error) {
			now = w.store.Now()
			held, err = w.store.Endpoints.Heartbeat(w.ctx, m.id, m.endpoints, leaseTime)
			return err
		},
		seen: func() {
			all := true
			for _, name := range m.endpoints {
				if w.holder[name] != m.id {
					all = false
					continue
				}
				w.lastSeen[name], w.leaseUntil[name] = now, now.Add(leaseTime)
			}
			if w.alone && held != all {
				w.violate(2, "heartbeat of manager %s: held %v, want %v", m.id, held, all)
			}
			w.logf("heartbeat of manager %s: held %v", m.id, held)
		},
		absorb: func() {
			silent := now.Sub(m.lastBeat)
			if !held {
				m.phase = ending
				return
			}
			m.lastBeat = now
			if silent > leaseTime {
				w.returnFromLost(calm, m, func() {})
			}
		},
	})
}

// end stores what is left and releases the endpoints.
func (w *world) end(c chance, m *manager) {
	switch {
	case len(m.retries) > 0:
		w.repeat(c, m)
	case len(m.results) > 0:
		w.finishSome(c, m)
	case len(m.running) > 0 && c(2, "wait for handlers") == 1:
		w.handlerEnds(c, m)
	case len(m.endpoints) == 0:
		w.crash(m)
	default:
		var now time.Time
		w.perform(c, m, operation{
			what: "ReleaseEndpoints",
			call: func() error { now = w.store.Now(); return w.store.Endpoints.ReleaseEndpoints(w.ctx, m.id, m.endpoints) },
			seen: func() {
				for _, name := range m.endpoints {
					if w.holder[name] == m.id {
						w.leaseUntil[name] = now
					}
				}
			},
			absorb: func() { w.crash(m) },
		})
	}
}
