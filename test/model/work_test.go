package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// serve lets a manager that serves its endpoints do one of the things that it
// could do now.
func (w *world) serve(c chance, m *manager) {
	doable := []func(){
		func() { w.lookForWork(c, m) },
		func() { w.heartbeat(c, m) },
	}
	add := func(possible bool, do func()) {
		if possible {
			doable = append(doable, do, do)
		}
	}
	add(len(m.unsubscribed()) > 0, func() { w.subscribe(m) })
	add(m.toCatchUp() != "", func() { w.catchUp(c, m) })
	add(len(m.found) > 0 || w.deliverable(m), func() { w.receive(c, m) })
	add(len(m.toAck) > 0, func() { m.toAck = nil })
	add(len(m.looked) > 0, m.enqueue)
	add(len(m.waiting) > 0, func() { w.startSome(c, m) })
	add(len(m.running) > 0, func() { w.handlerEnds(c, m) })
	add(len(m.results) > 0 || len(m.sent) > 0, func() { w.finishSome(c, m) })
	if c.oneIn(30, "stop") {
		w.logf("manager %s is told to stop", m.id)
		m.phase = ending
		return
	}
	pick(c, doable, "manager does")()
}

func (m *manager) unsubscribed() []string {
	return slices.DeleteFunc(slices.Clone(m.endpoints), func(name string) bool { return m.subscribed[name] })
}

// subscribe declares a queue and consumes from it. What was unacknowledged
// comes again.
func (w *world) subscribe(m *manager) {
	name := m.unsubscribed()[0]
	w.logf("manager %s subscribes to %s", m.id, name)
	q := w.queues[name]
	for _, list := range []*[]message{&m.unacked, &m.toAck} {
		*list = slices.DeleteFunc(*list, func(message message) bool {
			if message.arrival.Endpoint != name {
				return false
			}
			if q.bound {
				q.messages = append(q.messages, message)
			}
			return true
		})
	}
	q.bound = true
	m.subscribed[name], m.caughtUp[name] = true, false
}

func (m *manager) toCatchUp() string {
	for _, name := range m.endpoints {
		if m.subscribed[name] && !m.caughtUp[name] {
			return name
		}
	}
	return ""
}

func (w *world) catchUp(c chance, m *manager) {
	name := m.toCatchUp()
	m.caughtUp[name] = true
	var tasks []tasker.Task
	w.perform(c, m, operation{
		what: "UnreceivedTasks",
		call: func() error {
			tasks = nil
			for after := (ledger.SentPosition{}); ; {
				page, next, err := w.store.UnreceivedTasks(w.ctx, name, []string{taskType}, time.Time{}, after, 2)
				tasks = append(tasks, page...)
				if err != nil || next == (ledger.SentPosition{}) {
					return err
				}
				after = next
			}
		},
		seen: func() { w.logf("manager %s: %s has not received %d tasks", m.id, name, len(tasks)) },
		absorb: func() {
			for _, task := range tasks {
				m.found = append(m.found, message{arrival: ledger.Incoming{
					ResultKey:  tasker.ResultKey{TaskID: task.ID, Endpoint: name},
					Identifier: task.Identifier, Type: task.Type,
				}})
			}
		},
	})
}

func (w *world) deliverable(m *manager) bool {
	return slices.ContainsFunc(m.endpoints, func(name string) bool {
		return m.subscribed[name] && len(w.queues[name].messages) > 0
	})
}

// receive records a batch of what came in.
func (w *world) receive(c chance, m *manager) {
	limit := 1 + c(4, "batch")
	var batch []message
	n := min(limit, len(m.found))
	batch, m.found = slices.Clone(m.found[:n]), m.found[n:]
	delivered := len(batch) // from here on
	for _, name := range m.endpoints {
		q := w.queues[name]
		if n := min(limit-len(batch), len(q.messages)); m.subscribed[name] {
			batch, q.messages = append(batch, q.messages[:n]...), q.messages[n:]
		}
	}
	m.unacked = append(m.unacked, batch[delivered:]...)
	arrivals := make([]ledger.Incoming, len(batch))
	for i := range batch {
		arrivals[i] = batch[i].arrival
		switch state := c(8, "record as"); state {
		default:
			arrivals[i].State = tasker.Running
		case 1, 2, 3:
			arrivals[i].State = tasker.Received
		case 7:
			arrivals[i].State, arrivals[i].Errnr, arrivals[i].Errmsg = tasker.Rejected, tasker.ErrnrRejected, "no handler"
		}
	}
	var admissions []ledger.Recording
	w.perform(c, m, operation{
		what: "ReceiveResults",
		call: func() (err error) {
			admissions, err = w.store.ReceiveResults(w.ctx, m.id, arrivals)
			return err
		},
		seen: func() {
			for i, a := range arrivals {
				w.logf("manager %s: task %d at %s as %s: verdict %d %s%s",
					m.id, a.TaskID, a.Endpoint, a.State, admissions[i].Outcome, admissions[i].Reason, admissions[i].State)
				w.judgeAdmission(m, batch[i], a, admissions[i])
			}
		},
		absorb: func() {
			for i, a := range arrivals {
				m.admitted(w, a, admissions[i])
				if i >= delivered {
					m.settle(batch[i], admissions[i].Outcome)
				}
			}
		},
	})
}

// judgeAdmission holds a verdict against what the model knows.
func (w *world) judgeAdmission(m *manager, from message, a ledger.Incoming, admission ledger.Recording) {
	holds := w.holder[a.Endpoint] == m.id
	task := w.before.tasks[a.TaskID]
	switch admission.Outcome {
	case ledger.Recorded:
		if from.forged {
			w.violate(2, "a forged message was recorded: %+v", a)
		}
		if w.alone && !holds {
			w.violate(2, "manager %s does not hold %s, and task %d was recorded", m.id, a.Endpoint, a.TaskID)
		}
		if a.State == tasker.Rejected {
			w.rejected[a.ResultKey] = true
		}
	case ledger.Duplicate:
		if from.forged {
			w.violate(2, "a forged message is known: %+v", a)
		}
		if a.State == tasker.Rejected && admission.State == tasker.Rejected {
			w.rejected[a.ResultKey] = true // the first answer got lost on the way
		}
	case ledger.Refused:
		if w.alone && !from.forged && (!task.status.Final() || slices.Contains(task.expected, a.Endpoint)) {
			w.violate(1, "task %d is %s, expects %v, and is refused at %s: %s", a.TaskID, task.status, task.expected, a.Endpoint, admission.Reason)
		}
	case ledger.NotOwner:
		if w.alone && holds {
			w.violate(1, "manager %s holds %s and is told that it does not", m.id, a.Endpoint)
		}
	}
}

// admitted is what the manager does with a verdict.
func (m *manager) admitted(w *world, a ledger.Incoming, admission ledger.Recording) {
	key := a.ResultKey
	_, queued := m.waiting[key]
	switch {
	case admission.Outcome == ledger.Recorded && a.State == tasker.Running:
		m.active[key] = true
		w.start(m, key, 1)
	case admission.Outcome == ledger.Recorded && a.State == tasker.Received:
		m.waiting[key] = 0
	case admission.Outcome != ledger.Duplicate || m.active[key] || queued:
	case admission.State == tasker.Received:
		m.waiting[key] = 0
	case admission.State == tasker.Running && admission.Own && a.State == tasker.Running:
		// To start the attempt that has begun is to ask whether it still runs.
		m.waiting[key] = admission.Attempt - 1
	}
}

func (m *manager) settle(one message, verdict ledger.Outcome) {
	if verdict == ledger.NotOwner {
		return
	}
	i := slices.Index(m.unacked, one)
	if i < 0 {
		return // it subscribed again meanwhile
	}
	m.unacked = slices.Delete(m.unacked, i, i+1)
	if verdict != ledger.Refused {
		m.toAck = append(m.toAck, one)
	}
}

// lookForWork reads what waits in the database.
func (w *world) lookForWork(c chance, m *manager) {
	name := pick(c, m.endpoints, "endpoint")
	var work []ledger.Work
	w.perform(c, m, operation{
		what: "WaitingWork and DueWork",
		call: func() error {
			waits, err := w.store.WaitingWork(w.ctx, name, taskType, 10)
			if err != nil {
				return err
			}
			due, err := w.store.DueWork(w.ctx, name, taskType, 10)
			work = slices.Concat(waits, due)
			return err
		},
		seen:   func() {},
		absorb: func() { m.looked = append(m.looked, work...) },
	})
}

// enqueue takes note of something that was read, perhaps long ago.
func (m *manager) enqueue() {
	one := m.looked[0]
	m.looked = m.looked[1:]
	if !m.active[one.Key()] {
		m.waiting[one.Key()] = one.Attempt
	}
}

// startSome starts attempts of what waits, as far as the manager knows.
func (w *world) startSome(c chance, m *manager) {
	var starts []ledger.Start
	for _, key := range sortedKeys(m.waiting) {
		if len(starts) < 3 && !m.active[key] {
			starts = append(starts, ledger.Start{ResultKey: key, Attempt: m.waiting[key]})
			m.active[key] = true
		}
		delete(m.waiting, key)
	}
	if len(starts) == 0 {
		return
	}
	var started []bool
	w.perform(c, m, operation{
		what: "StartAttempts",
		call: func() (err error) {
			started, err = w.store.StartAttempts(w.ctx, m.id, starts)
			return err
		},
		seen: func() {
			w.logf("manager %s starts %v: %v", m.id, starts, started)
			for i, s := range starts {
				// An attempt that it had begun, with an answer that got lost, is its own.
				row := w.before.results[s.ResultKey]
				begun := row.attempt == s.Attempt+1 && row.manager == m.id && (row.state == tasker.Running || row.lostFrom == tasker.Running)
				if w.alone && started[i] && !begun && (w.holder[s.Endpoint] != m.id || row.attempt != s.Attempt) {
					w.violate(2, "manager %s started attempt %d of task %d at %s, which %s holds, and which was %+v",
						m.id, s.Attempt+1, s.TaskID, s.Endpoint, w.holder[s.Endpoint], row)
				}
			}
		},
		absorb: func() {
			for i, s := range starts {
				if started[i] {
					w.start(m, s.ResultKey, s.Attempt+1)
				} else {
					delete(m.active, s.ResultKey)
				}
			}
		},
	})
}

// handlerEnds lets one of the handlers return.
func (w *world) handlerEnds(c chance, m *manager) {
	key := pick(c, sortedKeys(m.running), "handler")
	attempt := m.running[key]
	delete(m.running, key)
	payload := fmt.Appendf(nil, `{"run":"%s/%d/%s/%d"}`, m.id, key.TaskID, key.Endpoint, attempt)
	var f ledger.End
	switch c(5, "outcome") {
	default:
		f = attemptEnd(key, attempt, tasker.ResultDone, 0, payload)
	case 1, 2:
		f = attemptEnd(key, attempt, tasker.ResultFailed, tasker.ErrnrHandler, payload)
	case 4:
		f = attemptEnd(key, attempt, tasker.TimedOut, tasker.ErrnrTimedOut, nil)
	}
	w.logf("manager %s: attempt %d of task %d at %s ends: %s", m.id, attempt, key.TaskID, key.Endpoint, f.State)
	w.returned[run{key, attempt}] = f
	m.results = append(m.results, f)
}

// finishSome stores some ends, perhaps with one that was stored before, best
// of all of an attempt that was followed by another.
func (w *world) finishSome(c chance, m *manager) {
	n := min(len(m.results), 1+c(3, "batch"))
	fresh := slices.Clone(m.results[:n])
	batch := fresh
	if len(m.sent) > 0 && (n == 0 || c.oneIn(3, "an old one")) {
		old := slices.DeleteFunc(slices.Clone(m.sent), func(f ledger.End) bool { return m.running[f.ResultKey] <= f.Attempt })
		if len(old) == 0 {
			old = m.sent
		}
		batch = append(slices.Clone(fresh), pick(c, old, "old"))
	}
	m.results, m.sent = m.results[n:], append(m.sent, fresh...)
	w.finish(c, m, batch, func([]bool) {
		for _, f := range fresh {
			delete(m.active, f.ResultKey)
		}
	})
}

func (w *world) finish(c chance, m *manager, batch []ledger.End, absorb func(stored []bool)) {
	var stored []bool
	w.perform(c, m, operation{
		what: "FinishAttempts",
		call: func() (err error) { stored, err = w.store.FinishAttempts(w.ctx, batch); return err },
		seen: func() {
			for i, f := range batch {
				w.logf("manager %s: attempt %d of task %d at %s is %s %d: stored %v", m.id, f.Attempt, f.TaskID, f.Endpoint, f.State, f.Errnr, stored[i])
				w.judgeFinish(m, f, stored[i])
			}
		},
		absorb: func() { absorb(stored) },
	})
}

// judgeFinish holds what the store said of an end against what the model
// knows.
func (w *world) judgeFinish(m *manager, f ledger.End, stored bool) {
	r := run{f.ResultKey, f.Attempt}
	first, taken := w.taken[r]
	if !stored {
		if w.alone && !taken {
			w.violate(3, "attempt %d of task %d at %s ended, nobody else said so, and its end is not stored", f.Attempt, f.TaskID, f.Endpoint)
		}
		return
	}
	if row := w.before.results[f.ResultKey]; w.alone && row.attempt != f.Attempt {
		w.violate(2, "the end of attempt %d of task %d at %s was stored over attempt %d", f.Attempt, f.TaskID, f.Endpoint, row.attempt)
	}
	if end, ok := w.ended[f.ResultKey]; ok {
		w.violate(3, "the result of task %d at %s had ended as %+v, and %+v was stored", f.TaskID, f.Endpoint, end, f)
	}
	if f.Errnr == tasker.ErrnrInterrupted {
		for _, other := range w.managers {
			if other != m && !other.gone && w.holder[f.Endpoint] == other.id && other.running[f.ResultKey] == f.Attempt {
				w.violate(4, "manager %s calls attempt %d of task %d at %s interrupted, which runs in %s, the endpoint's manager",
					m.id, f.Attempt, f.TaskID, f.Endpoint, other.id)
			}
		}
	}
	if !taken || first.Errnr == tasker.ErrnrInterrupted {
		w.taken[r] = f
	}
	if f.State.Finished() {
		w.ended[f.ResultKey] = f
		w.hinted = append(w.hinted, f.TaskID)
	}
}
