package model

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// serve lets a serving manager do one of the things it could do now.
func (w *world) serve(c chance, m *manager) {
	actions := []func(){
		func() { w.lookForWork(c, m) },
		func() { w.stopCanceled(c, m) },
		func() { w.take(c, m, pick(c, m.endpoints, "endpoint"), 1+c(2, "limit")) },
		func() { w.heartbeat(c, m) },
	}
	add := func(possible bool, do func()) {
		if possible {
			actions = append(actions, do, do)
		}
	}
	add(len(m.unsubscribed()) > 0, func() { w.subscribe(m) })
	add(m.toCatchUp() != "", func() { w.catchUp(c, m) })
	add(len(m.found) > 0 || w.deliverable(m), func() { w.receive(c, m) })
	add(len(m.toAck) > 0, func() { m.toAck = nil })
	add(len(m.looked) > 0, m.enqueue)
	add(len(m.waiting) > 0, func() { w.startSome(c, m) })
	add(len(m.early) > 0, func() { w.startEarly(c, m) })
	add(len(m.running) > 0, func() { w.handlerEnds(c, m) })
	add(len(m.results) > 0 || len(m.sent) > 0, func() { w.finishSome(c, m) })
	if c.oneIn(30, "stop") {
		w.logf("manager %s is asked to stop", m.id)
		m.phase = ending
		return
	}
	pick(c, actions, "manager does")()
}

func (m *manager) unsubscribed() []string {
	return slices.DeleteFunc(slices.Clone(m.endpoints), func(name string) bool { return m.subscribed[name] })
}

// subscribe declares a queue and consumes from it. Unacknowledged messages are
// redelivered.
func (w *world) subscribe(m *manager) {
	name := m.unsubscribed()[0]
	w.logf("manager %s subscribes to %s", m.id, name)
	q := w.queues[name]
	for _, list := range []*[]message{&m.unacked, &m.toAck} {
		*list = slices.DeleteFunc(*list, func(message message) bool {
			if message.incoming.Endpoint != name {
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
				page, next, err := w.store.Inbox.UnreceivedTasks(w.ctx, name, []string{taskType}, time.Time{}, after, 2)
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
				m.found = append(m.found, message{incoming: ledger.Incoming{
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

// receive records a batch of incoming tasks.
func (w *world) receive(c chance, m *manager) {
	limit := 1 + c(4, "batch")
	var batch []message
	n := min(limit, len(m.found))
	batch, m.found = slices.Clone(m.found[:n]), m.found[n:]
	delivered := len(batch) // messages from queues start here
	for _, name := range m.endpoints {
		q := w.queues[name]
		if n := min(limit-len(batch), len(q.messages)); m.subscribed[name] {
			batch, q.messages = append(batch, q.messages[:n]...), q.messages[n:]
		}
	}
	m.unacked = append(m.unacked, batch[delivered:]...)
	tasks := make([]ledger.Incoming, len(batch))
	for i := range batch {
		tasks[i] = batch[i].incoming
		tasks[i].Manager = m.id
		switch state := c(8, "record as"); state {
		default:
			tasks[i].State = tasker.Running
		case 1, 2, 3:
			tasks[i].State = tasker.Received
		case 7:
			tasks[i].State, tasks[i].Errnr, tasks[i].Errmsg = tasker.Rejected, tasker.ErrnrRejected, "no handler"
		}
	}
	var recordings []ledger.Recording
	w.perform(c, m, operation{
		what: "ReceiveResults",
		call: func() (err error) {
			recordings, err = w.store.Inbox.ReceiveResults(w.ctx, tasks)
			return err
		},
		seen: func() {
			for i, a := range tasks {
				w.logf("manager %s: task %d at %s as %s: outcome %d %s%s",
					m.id, a.TaskID, a.Endpoint, a.State, recordings[i].Outcome, recordings[i].Reason, recordings[i].State)
				w.judgeRecording(m, batch[i], a, recordings[i])
			}
		},
		absorb: func() {
			for i, a := range tasks {
				m.onRecording(a, recordings[i])
				if i >= delivered {
					m.settle(batch[i], recordings[i].Outcome)
				}
			}
		},
	})
}

// judgeRecording compares a recording with what the model knows.
func (w *world) judgeRecording(m *manager, from message, a ledger.Incoming, recording ledger.Recording) {
	holds := w.holder[a.Endpoint] == m.id
	task := w.before.tasks[a.TaskID]
	switch recording.Outcome {
	case ledger.Recorded:
		if from.forged {
			w.violate(2, "a forged message was recorded: %+v", a)
		}
		if w.alone && !holds {
			w.violate(2, "manager %s does not hold %s, but task %d was recorded", m.id, a.Endpoint, a.TaskID)
		}
		if w.alone && w.passed(task.expires) {
			w.violate(2, "task %d had expired at %v, and was recorded as %s at %s", a.TaskID, task.expires, a.State, a.Endpoint)
		}
		if by := w.newerAt(a.ResultKey); w.alone && by != "" {
			w.violate(4, "task %d is superseded by %s, and was recorded as %s at %s", a.TaskID, by, a.State, a.Endpoint)
		}
		_, waves := w.before.rollouts[a.TaskID]
		if w.alone && (task.places > 0 || waves) && !slices.Contains(task.expected, a.Endpoint) {
			w.violate(5, "%s has no place of task %d, or its wave is not open, and recorded it as %s", a.Endpoint, a.TaskID, a.State)
		}
		if w.alone && a.State == tasker.Running && w.isHeld(a.ResultKey) {
			w.violate(4, "task %d is held, and was recorded as RUNNING at %s", a.TaskID, a.Endpoint)
		}
		if a.State == tasker.Rejected {
			w.rejected[a.ResultKey] = true
		}
	case ledger.Duplicate:
		if from.forged {
			w.violate(2, "a forged message is a duplicate: %+v", a)
		}
		if a.State == tasker.Rejected && recording.State == tasker.Rejected {
			w.rejected[a.ResultKey] = true // the first answer was lost
		}
	case ledger.Refused:
		expected := slices.Contains(task.expected, a.Endpoint)
		_, waves := w.before.rollouts[a.TaskID]
		if w.alone && !from.forged && (!task.status.Final() && task.places == 0 && !waves || expected) {
			w.violate(1, "task %d is %s and expects %v, but was refused at %s: %s",
				a.TaskID, task.status, task.expected, a.Endpoint, recording.Reason)
		}
	case ledger.NotOwner:
		if w.alone && holds {
			w.violate(1, "manager %s holds %s, but got NotOwner", m.id, a.Endpoint)
		}
	}
}

// onRecording is what the manager does with a recording.
func (m *manager) onRecording(a ledger.Incoming, recording ledger.Recording) {
	key := a.ResultKey
	_, queued := m.waiting[key]
	switch {
	case recording.Outcome == ledger.Recorded && a.State == tasker.Running:
		m.active[key] = true
		m.early[key] = 1
	case recording.Outcome == ledger.Recorded && a.State == tasker.Received:
		m.waiting[key] = 0
	case recording.Outcome != ledger.Duplicate || m.active[key] || queued:
	case recording.State == tasker.Received:
		m.waiting[key] = 0
	case recording.State == tasker.Running && recording.Own && a.State == tasker.Running:
		// Starting the attempt again asks whether it is still running.
		m.waiting[key] = recording.Attempt - 1
	}
}

func (m *manager) settle(one message, outcome ledger.Outcome) {
	if outcome == ledger.NotOwner {
		return
	}
	i := slices.Index(m.unacked, one)
	if i < 0 {
		return // it has resubscribed meanwhile
	}
	m.unacked = slices.Delete(m.unacked, i, i+1)
	if outcome != ledger.Refused {
		m.toAck = append(m.toAck, one)
	}
}

// lookForWork reads waiting work from the database.
func (w *world) lookForWork(c chance, m *manager) {
	name := pick(c, m.endpoints, "endpoint")
	var work []ledger.Work
	w.perform(c, m, operation{
		what: "WaitingWork and DueWork",
		call: func() error {
			waits, err := w.store.Attempts.WaitingWork(w.ctx, name, taskType, 10)
			if err != nil {
				return err
			}
			due, err := w.store.Attempts.DueWork(w.ctx, name, taskType, 10)
			work = slices.Concat(waits, due)
			return err
		},
		seen:   func() { w.judgeOrder(work) },
		absorb: func() { m.looked = append(m.looked, work...) },
	})
}

// judgeOrder compares the work that waits at an endpoint with the order in which it is
// to start: by when its task started, less the time that its priority is worth.
func (w *world) judgeOrder(work []ledger.Work) {
	for i, one := range work {
		if i > 0 && work[i-1].State == one.State &&
			cmp.Or(cmp.Compare(work[i-1].StartOrder, one.StartOrder), cmp.Compare(work[i-1].Task.ID, one.Task.ID)) >= 0 {
			w.violate(1, "task %d with order %d comes after task %d with order %d at %s",
				one.Task.ID, one.StartOrder, work[i-1].Task.ID, work[i-1].StartOrder, one.Endpoint)
		}
		task, row := w.tasks[one.Task.ID], w.before.results[one.Key()]
		if task == nil || !task.asked.Start.IsZero() || !w.alone || row.state != tasker.Received || row.attempt > 0 || row.round > 1 {
			continue
		}
		if want := task.StartTime.UnixMicro() - int64(task.Priority)*600_000_000; one.StartOrder != want {
			w.violate(1, "task %d with priority %d has order %d at %s, want %d", task.ID, task.Priority, one.StartOrder, one.Endpoint, want)
		}
	}
}

// enqueue takes over something that was read, perhaps long ago.
func (m *manager) enqueue() {
	one := m.looked[0]
	m.looked = m.looked[1:]
	if !m.active[one.Key()] {
		m.waiting[one.Key()] = one.Attempt
	}
}

// startSome starts attempts that wait, as far as the manager knows.
func (w *world) startSome(c chance, m *manager) {
	var starts []ledger.Start
	for _, key := range sortedKeys(m.waiting) {
		if len(starts) == 3 {
			break // the others wait on: nobody else may know of them
		}
		if !m.active[key] {
			starts = append(starts, ledger.Start{ResultKey: key, Manager: m.id, Attempt: m.waiting[key]})
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
			started, err = w.store.Attempts.StartAttempts(w.ctx, starts)
			return err
		},
		seen: func() {
			w.logf("manager %s starts %v: %v", m.id, starts, started)
			for i, s := range starts {
				// An attempt that it started, with a lost answer, is its own.
				row := w.before.results[s.ResultKey]
				own := row.attempt == s.Attempt+1 && row.manager == m.id && (row.state == tasker.Running || row.lostFrom == tasker.Running)
				if w.alone && started[i] && !own && (w.holder[s.Endpoint] != m.id || row.attempt != s.Attempt) {
					w.violate(2, "manager %s started attempt %d of task %d at %s, which %s holds, and whose row was %+v",
						m.id, s.Attempt+1, s.TaskID, s.Endpoint, w.holder[s.Endpoint], row)
				}
				if w.alone && started[i] && !own && w.passed(row.expires) {
					w.violate(2, "attempt %d of task %d started at %s, and had expired at %v", s.Attempt+1, s.TaskID, s.Endpoint,
						row.expires)
				}
				if w.alone && started[i] && (row.stopping || !own && row.newer) {
					w.violate(4, "attempt %d of task %d started at %s, which was told to stop, or superseded: %+v", s.Attempt+1, s.TaskID,
						s.Endpoint, row)
				}
				if w.alone && started[i] && !own && w.isHeld(s.ResultKey) {
					w.violate(4, "task %d is held, and manager %s started attempt %d at %s", s.TaskID, m.id, s.Attempt+1, s.Endpoint)
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

// startEarly starts the handler of a task that was recorded as RUNNING, or gives all
// of them back.
func (w *world) startEarly(c chance, m *manager) {
	if !c.oneIn(3, "runs turn long") {
		key := sortedKeys(m.early)[0]
		w.start(m, key, m.early[key])
		delete(m.early, key)
		return
	}
	var starts []ledger.Start
	for _, key := range sortedKeys(m.early) {
		starts = append(starts, ledger.Start{ResultKey: key, Manager: m.id, Attempt: m.early[key]})
		delete(m.early, key)
	}
	var returned []bool
	w.perform(c, m, operation{
		what: "ReturnAttempts",
		call: func() (err error) {
			returned, err = w.store.Attempts.ReturnAttempts(w.ctx, starts)
			return err
		},
		seen: func() {
			w.logf("manager %s gives back %v: %v", m.id, starts, returned)
			for i, s := range starts {
				row := w.before.results[s.ResultKey]
				given := row.attempt == s.Attempt-1 && waits(row) // before, and the answer was lost
				runs := row.attempt == s.Attempt && (row.state == tasker.Running || row.lostFrom == tasker.Running) &&
					w.holder[s.Endpoint] == m.id && !row.stopping
				if w.alone && returned[i] != (row.manager == m.id && (given || runs)) {
					w.violate(4, "manager %s gave back attempt %d of task %d at %s, %v: its row was %+v", m.id, s.Attempt, s.TaskID,
						s.Endpoint, returned[i], row)
				}
			}
		},
		absorb: func() {
			for _, s := range starts {
				delete(m.active, s.ResultKey)
				m.waiting[s.ResultKey] = s.Attempt - 1
			}
		},
	})
}

// handlerEnds lets a handler return.
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

// finishSome stores some ends, perhaps with one that was stored before,
// preferably of an attempt that was followed by another.
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
		call: func() (err error) { stored, err = w.store.Attempts.FinishAttempts(w.ctx, batch); return err },
		seen: func() {
			for i, f := range batch {
				w.logf("manager %s: attempt %d of task %d at %s is %s %d: stored %v",
					m.id, f.Attempt, f.TaskID, f.Endpoint, f.State, f.Errnr, stored[i])
				w.judgeFinish(m, f, stored[i])
			}
		},
		absorb: func() { absorb(stored) },
	})
}

// judgeFinish compares the store's answer about an end with what the model
// knows.
func (w *world) judgeFinish(m *manager, f ledger.End, stored bool) {
	r := run{f.ResultKey, f.Attempt}
	first, taken := w.taken[r]
	if !stored {
		if w.alone && !taken {
			w.violate(3, "the only end of attempt %d of task %d at %s was not stored", f.Attempt, f.TaskID, f.Endpoint)
		}
		return
	}
	if row := w.before.results[f.ResultKey]; w.alone && row.attempt != f.Attempt {
		w.violate(2, "the end of attempt %d of task %d at %s was stored over attempt %d", f.Attempt, f.TaskID, f.Endpoint, row.attempt)
	}
	if end, ok := w.ended[f.ResultKey]; ok {
		w.violate(3, "the result of task %d at %s had ended as %+v, but %+v was stored", f.TaskID, f.Endpoint, end, f)
	}
	if f.Errnr == tasker.ErrnrInterrupted {
		for _, other := range w.managers {
			if other != m && !other.gone && w.holder[f.Endpoint] == other.id && other.running[f.ResultKey] == f.Attempt {
				w.violate(4, "manager %s marks attempt %d of task %d at %s interrupted, which is running in %s, the endpoint's manager",
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
