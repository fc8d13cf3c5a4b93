package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// dispatch is a task being published, in the memory of an API or a relay.
type dispatch struct {
	task     tasker.Task
	attempt  int
	stage    stage
	unserved []string
	claim    ledger.WaveClaim // if waving
	busy     bool
}

type stage int

const (
	publishing stage = iota
	marking
	releasing
	beginning // a task of a topic that was to start later
	waving    // send a task to the endpoints whose wave is open
)

// advance takes one step of a dispatch, and reports whether it was the last.
func (w *world) advance(c chance, d *dispatch) (done bool) {
	var err error
	switch d.stage {
	case beginning:
		return w.begin(d)
	case waving:
		return w.sendWave(c, d)
	case publishing:
		switch outcome := c(6, "publish"); outcome {
		case 4: // not published
			d.stage = releasing
		case 5: // published, but the confirm was lost
			w.publish(c, d.task)
			d.stage = releasing
		default:
			d.unserved = w.publish(c, d.task)
			d.stage = marking
		}
		w.logf("publish task %d: stage %d", d.task.ID, d.stage)
		return false
	case marking:
		registered := w.registered()
		var task tasker.Task
		d.busy = true
		w.call(func() { task, err = w.store.Outbox.MarkSent(w.ctx, d.task, d.unserved) })
		d.busy = false
		w.logf("MarkSent %d with %v registered: %s", d.task.ID, registered, task.Status)
		if w.failed("MarkSent", err) {
			return false
		}
		if task.ID != d.task.ID || task.Status == tasker.Created {
			w.violate(1, "MarkSent returned %+v", task)
		}
	case releasing:
		pause := time.Duration(c(2, "pause")) * 5 * time.Second
		now := w.store.Now()
		d.busy = true
		w.call(func() {
			err = w.store.Outbox.ReleaseTask(w.ctx, ledger.Release{TaskID: d.task.ID, Attempt: d.attempt, After: pause})
		})
		d.busy = false
		w.logf("ReleaseTask %d", d.task.ID)
		if w.failed("ReleaseTask", err) {
			return false
		}
		if t := w.tasks[d.task.ID]; t != nil && t.attempt == d.attempt {
			t.relayTime = now.Add(pause)
		}
	}
	return true
}

// advanceOne advances one of the dispatches.
func (w *world) advanceOne(c chance, jobs []*dispatch) []*dispatch {
	d := pick(c, jobs, "dispatch")
	if d.busy || !w.advance(c, d) {
		return jobs
	}
	return slices.DeleteFunc(jobs, func(one *dispatch) bool { return one == d })
}

// api is the part of an API process that accepts tasks.
type api struct {
	jobs []*dispatch
	busy bool
}

func (w *world) stepAPI(c chance) {
	a := pick(c, w.apis, "api")
	switch action := c(12, "api does"); {
	case a.busy:
	case action == 11:
		w.logf("an API crashes")
		a.jobs = nil
	case len(a.jobs) > 0 && action >= 3:
		a.busy = true
		a.jobs = w.advanceOne(c, a.jobs)
		a.busy = false
	default:
		a.busy = true
		w.create(c, a)
		a.busy = false
	}
}

// create is a POST of a new task, of an existing one, or of another with the
// same identifier.
func (w *world) create(c chance, a *api) {
	task := tasker.Task{Type: taskType, Identifier: fmt.Sprint("t", c(maxIdentifiers, "identifier")), Payload: json.RawMessage(`{"n":1}`)}
	known := w.identifiers[task.Identifier]
	other := false
	switch {
	case known == nil:
		choose(c, &task)
	case c(2, "body") == 0:
		task = known.asked
		task.Payload = json.RawMessage(`{ "n": 1 }`)
	case c(2, "other") == 0:
		task = known.asked
		task.Payload, other = json.RawMessage(`{"n":2}`), true
	default:
		task.Endpoints, other = []string{"zzz"}, true
	}
	now := w.store.Now()
	var stored tasker.Task
	var created bool
	var err error
	w.call(func() { stored, created, err = w.store.Tasks.CreateTask(w.ctx, task) })
	w.logf("CreateTask %s for %v: id %d, created %v, %v", task.Identifier, task.Endpoints, stored.ID, created, err)
	conflict := tasker.CodeOf(err) == tasker.Conflict
	if known == nil && w.refuses(task) {
		other = true
	}
	if w.alone && (created != (known == nil && !other) || conflict != other || !conflict && known != nil && stored.ID != known.ID) {
		w.violate(1, "POST %s, known %v, other %v: created %v, id %d, %v", task.Identifier, known != nil, other, created, stored.ID, err)
	}
	if conflict || w.failed("CreateTask", err) || !created {
		return
	}
	if want := task.Expiry.Time(stored.StartTime); (want == nil) != (stored.Expires == nil) || want != nil && !want.Equal(*stored.Expires) {
		w.violate(2, "task %s expires at %v, want %v", task.Identifier, stored.Expires, want)
	}
	t := &accepted{Task: stored, asked: task, relayTime: now.Add(relayGrace), attempt: 1}
	if w.identifiers[task.Identifier] != nil {
		w.violate(1, "two tasks %s", task.Identifier)
	}
	w.tasks[stored.ID], w.identifiers[task.Identifier] = t, t
	if stored.Status == tasker.Scheduled {
		t.relayTime, t.attempt = stored.StartTime, 0
		return
	}
	w.judgeSuperseded(t)
	if stored.Rollout != nil {
		a.jobs = append(a.jobs, waveJob(ledger.WaveClaim{TaskID: stored.ID, Attempt: 1}))
		return
	}
	a.jobs = append(a.jobs, &dispatch{task: stored, attempt: 1})
}

// choose makes up what a new task asks for.
func choose(c chance, task *tasker.Task) {
	task.Endpoints = pick(c, [][]string{nil, {"a"}, {"a", "b"}, {"b", "c"}, {"a", "b", "c"}}, "endpoints")
	task.Priority = pick(c, []int{0, 1, tasker.MaxPriority}, "priority")
	if len(task.Endpoints) > 1 && c.oneIn(3, "in waves") {
		task.Rollout = &tasker.Rollout{Settings: pick(c, rolloutSettings, "settings")}
	} else if c.oneIn(4, "later") {
		task.Status, task.Start = tasker.Scheduled, tasker.Start{In: startDelay}
	}
	if c.oneIn(4, "expires") {
		task.Expiry.After, task.AskedExpiry = pick(c, []time.Duration{5, 15, 40}, "expires")*time.Second, true
	}
	if task.Rollout == nil && c.oneIn(4, "any") {
		task.Deliver = 1
		if len(task.Endpoints) != 1 {
			task.Deliver += tasker.Places(c(2, "places"))
		}
	}
	if c.oneIn(3, "topic") {
		task.Topic, task.OnConflict = topic, pick(c, []tasker.OnConflict{tasker.ConflictSupersede, tasker.ConflictRefuse}, "on conflict")
	}
}

// anyTask returns one of the accepted tasks.
func (w *world) anyTask(c chance) *accepted {
	return w.identifiers[pick(c, slices.Sorted(maps.Keys(w.identifiers)), "task")]
}

// relay is the relay of a reconciler.
type relay struct {
	jobs []*dispatch
	busy bool
}

func (w *world) stepRelay(c chance) {
	r := pick(c, w.relays, "relay")
	switch {
	case r.busy:
	case len(r.jobs) == 0:
		r.busy = true
		w.claim(r, 1+c(3, "limit"))
		w.claimWaves(r)
		r.busy = false
	case c.oneIn(6, "relay crashes"):
		w.logf("a relay crashes")
		r.jobs = nil
	default:
		r.busy = true
		r.jobs = w.advanceOne(c, r.jobs)
		r.busy = false
	}
}

// due returns the first tasks of a status whose time has come, and that have not expired.
func (w *world) due(status tasker.TaskStatus, now time.Time, limit int) (due []int64) {
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		t, row := w.tasks[id], w.before.tasks[id]
		if row.status == status && t.Rollout == nil && !t.relayTime.After(now) && !w.passed(row.expires) {
			due = append(due, id)
		}
	}
	slices.SortStableFunc(due, func(a, b int64) int { return w.tasks[a].relayTime.Compare(w.tasks[b].relayTime) })
	return due[:min(limit, len(due))]
}

// stepStarter is the loop of a reconciler that starts what is due, and sends it.
func (w *world) stepStarter(c chance) {
	r := pick(c, w.starters, "starter")
	switch {
	case r.busy:
	case len(r.jobs) == 0:
		r.busy = true
		w.startDue(r, 1+c(3, "limit"))
		r.busy = false
	case c.oneIn(6, "starter crashes"):
		w.logf("a starter crashes")
		r.jobs = nil
	default:
		r.busy = true
		r.jobs = w.advanceOne(c, r.jobs)
		r.busy = false
	}
}

func (w *world) startDue(r *relay, limit int) {
	if w.alone {
		w.check()
	}
	now := w.store.Now()
	due := w.due(tasker.Scheduled, now, limit)
	var tasks, ofTopics []tasker.Task
	var err error
	w.call(func() {
		// As in claim.
		for until := time.Now().Add(10 * time.Second); ; {
			tasks, ofTopics, err = w.store.Schedule.StartDue(w.ctx, limit, relayLease)
			if err != nil || len(tasks)+len(ofTopics) > 0 || len(due) == 0 || time.Now().After(until) {
				return
			}
		}
	})
	if w.failed("StartDue", err) {
		return
	}
	var got []int64
	for _, task := range ofTopics {
		got = append(got, task.ID)
		r.jobs = append(r.jobs, &dispatch{task: task, stage: beginning})
		if t := w.tasks[task.ID]; t != nil {
			t.relayTime = now.Add(relayLease)
		}
	}
	for _, task := range tasks {
		got = append(got, task.ID)
		r.jobs = append(r.jobs, &dispatch{task: task, attempt: 1})
		if task.StartTime.After(w.store.Now()) {
			w.violate(1, "task %d started before its time", task.ID)
		}
		if t := w.tasks[task.ID]; t != nil {
			t.relayTime, t.attempt = now.Add(relayGrace), 1
		}
	}
	w.logf("StartDue: %v, of topics %d", got, len(ofTopics))
	slices.Sort(got)
	slices.Sort(due)
	if w.alone && !slices.Equal(got, due) {
		w.violate(1, "tasks %v are due to start, but %v were started", due, got)
	}
}

func (w *world) claim(r *relay, limit int) {
	if w.alone {
		w.check()
	}
	now := w.store.Now()
	due := w.due(tasker.Created, now, limit)
	var tasks []ledger.Unsent
	var err error
	w.call(func() {
		// The transaction of an abandoned call may still hold its rows for a
		// moment, and a claim skips locked rows.
		for until := time.Now().Add(10 * time.Second); ; {
			tasks, err = w.store.Outbox.ClaimUnsent(w.ctx, limit, relayLease)
			if err != nil || len(tasks) > 0 || len(due) == 0 || time.Now().After(until) {
				return
			}
		}
	})
	if w.failed("ClaimUnsent", err) {
		return
	}
	var got []int64
	for _, task := range tasks {
		got = append(got, task.ID)
		r.jobs = append(r.jobs, &dispatch{task: task.Task, attempt: task.Attempt})
		if t := w.tasks[task.ID]; t != nil {
			t.relayTime, t.attempt = now.Add(relayLease), task.Attempt
		}
	}
	w.logf("ClaimUnsent: %v", got)
	if w.alone && !slices.Equal(got, due) {
		w.violate(1, "tasks %v are due to be relayed, but %v were claimed", due, got)
	}
}
