package model

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
)

// stepHold drains an endpoint, or pauses a type or a task that has started, perhaps with
// an end; or it resumes what is held.
func (w *world) stepHold(c chance) {
	subjects := []tasker.HoldSubject{{TaskType: taskType}}
	for _, name := range w.registered() {
		subjects = append(subjects, tasker.HoldSubject{Endpoint: name})
	}
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		if t := w.before.tasks[id]; t.status != tasker.Scheduled && !t.status.Final() && w.tasks[id].Rollout == nil {
			subjects = append(subjects, tasker.HoldSubject{TaskType: t.typ, Identifier: t.identifier})
		}
	}
	subject := pick(c, subjects, "subject")
	if _, held := w.held[subject]; held {
		w.resume(subject)
		return
	}
	var until tasker.Expiry
	if c.oneIn(2, "with an end") {
		until.After = time.Duration(1+c(20, "seconds")) * time.Second
	}
	var outcome tasker.HoldOutcome
	var err error
	w.call(func() {
		outcome, err = w.store.Holds.Hold(w.ctx, tasker.HoldRequest{HoldSubject: subject, By: "ann", Until: until})
	})
	if code := tasker.CodeOf(err); code == tasker.Conflict || code == tasker.NotFound {
		return // it has ended meanwhile, or does not exist
	}
	if w.failed("Hold", err) {
		return
	}
	w.logf("held: %+v until %v, %v running, %d waiting", subject, outcome.Hold.Until, outcome.Running, outcome.Waiting)
	w.held[subject] = time.Time{}
	if outcome.Hold.Until != nil {
		w.held[subject] = *outcome.Hold.Until
	}
}

// resume ends a hold.
func (w *world) resume(subject tasker.HoldSubject) {
	var err error
	w.call(func() { _, _, err = w.store.Holds.Resume(w.ctx, subject) })
	if !w.failed("Resume", err) {
		w.logf("resumed: %+v", subject)
		delete(w.held, subject)
	}
}

// resumeAll ends all holds.
func (w *world) resumeAll() {
	for _, subject := range slices.SortedFunc(maps.Keys(w.held), func(a, b tasker.HoldSubject) int {
		return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.TaskType, b.TaskType), cmp.Compare(a.Identifier, b.Identifier))
	}) {
		w.resume(subject)
	}
}

// stepEndHolds ends the holds whose time has passed.
func (w *world) stepEndHolds(chance) {
	var err error
	w.call(func() { _, err = w.store.Holds.EndHolds(w.ctx, 10) })
	w.failed("EndHolds", err)
}

// isHeld reports whether a hold applies to a result.
func (w *world) isHeld(key tasker.ResultKey) bool {
	task := w.before.tasks[key.TaskID]
	if w.before.halted[key.TaskID] {
		return true
	}
	for subject, until := range w.held {
		over := !until.IsZero() && !until.After(w.store.Now())
		switch {
		case over:
		case subject.Endpoint == key.Endpoint, subject == tasker.HoldSubject{TaskType: task.typ},
			subject == tasker.HoldSubject{TaskType: task.typ, Identifier: task.identifier}:
			return true
		}
	}
	return false
}
