package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/attempt"
	"github.com/taskerhq/tasker/internal/ledger"
)

const (
	// bootFile names the boot of a Linux system.
	bootFile = "/proc/sys/kernel/random/boot_id"
	// bootUnknown is the boot of a system that does not tell it.
	bootUnknown = "none"
	// maxSteps bounds the reboots of one attempt: one that asks for another
	// each time must not keep the machine rebooting for good.
	maxSteps = 32
)

// bootID names the present boot of the machine.
func bootID() string {
	id, err := os.ReadFile(bootFile)
	if err != nil || len(strings.TrimSpace(string(id))) == 0 {
		return bootUnknown
	}
	return strings.TrimSpace(string(id))
}

var errNoReboot = errors.New("the machine did not reboot")

// askedForReboot stores that an attempt goes on after a reboot, has the machine
// reboot if asked, as its handler's error says, and waits for that. run is the
// context of its step.
func (e *executor) askedForReboot(ctx, run context.Context, work ledger.Work, asked error, rules attempt.Rules, report *report) (doubt bool) {
	next := max(work.Step, 1) + 1
	if next > maxSteps {
		e.endWaiting(ctx, run, work, rules, report, fmt.Errorf("the handler asked for reboot number %d: that is too often", maxSteps))
		return false
	}
	// First of all: the machine may go down at any moment.
	stored, err := e.goOnAfterReboot(run, work, next, asked)
	e.m.flusher.await(report)
	switch {
	case stored && (err == nil || errors.Is(context.Cause(run), handlers.ErrShutdown)):
		return e.awaitReboot(ctx, run, work, rules, report)
	case err == nil:
		e.runLog(work).WarnContext(run, "the attempt does not go on after a reboot: it is not the current one any more")
		return true
	case errors.Is(err, handlers.ErrShutdown):
		e.runLog(work).ErrorContext(run, "it could not be stored that the attempt goes on after a reboot: it will count as interrupted", "err", err)
		return false
	}
	e.endWaiting(ctx, run, work, rules, report, err)
	return false
}

// goOnAfterReboot stores that an attempt goes on after a reboot, and then has
// the machine reboot. An error where it is stored is that of the handler's code,
// which does that. Nothing of this can be in the spool, so a stop waits for it.
func (e *executor) goOnAfterReboot(run context.Context, work ledger.Work, step int, asked error) (stored bool, err error) {
	e.m.unkept.Add(1)
	defer e.m.unkept.Add(-1)
	err = e.m.persist(run, "store that an attempt awaits a reboot", func(ctx context.Context) (err error) {
		stored, err = e.m.store.AwaitReboot(ctx, work.Key(), work.Attempt, step, e.m.cfg.BootID)
		return err
	})
	if err != nil || !stored {
		return false, err
	}
	reboot := func(ctx context.Context, _ *handlers.Request) (handlers.Result, error) {
		return nil, handlers.Reboot(ctx, asked)
	}
	out := attempt.Run(run, handlers.Func(reboot), &handlers.Request{Log: e.runLog(work)}, e.m.cfg.AbandonAfter)
	return true, out.Err
}

// awaitReboot waits for what ends the wait of an attempt, unless the machine
// does reboot: the manager's stop, which changes nothing, its run limit, or
// that it is canceled.
func (e *executor) awaitReboot(ctx, run context.Context, work ledger.Work, rules attempt.Rules, report *report) (doubt bool) {
	select {
	case <-ctx.Done():
		return false
	case <-run.Done():
	}
	if !errors.Is(context.Cause(run), handlers.ErrShutdown) {
		e.endWaiting(ctx, run, work, rules, report, errNoReboot)
	}
	return false
}

// endWaiting stores the end of an attempt that wanted to go on after a reboot.
func (e *executor) endWaiting(ctx, run context.Context, work ledger.Work, rules attempt.Rules, report *report, why error) {
	// Where another manager has the endpoint by now, the same attempt goes on
	// there, or is judged.
	if err := e.m.lease.await(ctx); err != nil {
		e.runLog(work).WarnContext(run, "the attempt does not end: it is left to the next manager", "why", why, "err", err)
		return
	}
	out := attempt.Exit{Err: handlers.Permanent(why), Cause: context.Cause(run)}
	if errors.Is(out.Cause, handlers.ErrShutdown) {
		out.Cause = nil // that is not why
	}
	if report != nil {
		out.Partial = report.last()
	}
	finish, _ := rules.Judge(work.Attempt, out)
	e.runLog(work).WarnContext(run, "the attempt does not go on after a reboot", "state", finish.State, "errmsg", finish.Errmsg)
	e.m.finishAttempt(run, e, work, keyed(work, finish), nil)
}

// adoptRebooting takes over attempts that wait for a reboot since before this
// manager. Where the machine has rebooted, they go on when a slot is free; else
// they wait on, with their run limit from now.
func (e *executor) adoptRebooting(ctx context.Context, work ledger.Work) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := work.Task.ID
	switch {
	case e.active[id] || e.queued[id] || e.stopped || e.retired || e.how.handler == nil:
	case work.AwaitsReboot == e.m.cfg.BootID:
		e.active[id] = true
		e.how.use()
		e.follow(ctx, job{Work: work, how: e.how}, e.waitOn)
	case len(e.waiting) < backlog:
		e.queued[id] = true
		behind := slices.IndexFunc(e.waiting, func(w ledger.Work) bool { return w.AwaitsReboot == "" })
		if behind < 0 {
			behind = len(e.waiting)
		}
		e.waiting = slices.Insert(e.waiting, behind, lean(work)) // before what has not begun
		e.poke()
	}
}

// waitOn waits for a reboot on behalf of an earlier manager of this boot.
func (e *executor) waitOn(ctx context.Context, j job) (doubt bool) {
	run, _, end := e.limited(ctx, j.Work, j.how.Timeout)
	defer end()
	return e.awaitReboot(ctx, run, j.Work, e.rules(j.how), nil)
}

// resume takes an attempt over that has seen its reboot, and runs its next
// step.
func (e *executor) resume(ctx context.Context, j job) (doubt bool) {
	logged, err := e.logged(ctx, j.Work)
	var resumed []bool
	if err == nil {
		err = e.m.persist(ctx, "resume an attempt", func(ctx context.Context) (err error) {
			resumed, err = e.m.store.ResumeAttempts(ctx, e.m.id, []ledger.Start{{ResultKey: j.Key(), Attempt: j.Attempt}})
			return err
		})
	}
	switch {
	case err != nil:
		if ctx.Err() == nil {
			e.runLog(j.Work).ErrorContext(ctx, "an attempt could not be resumed after a reboot: it is tried again later", "err", err)
		}
		return false // it is found again with what was interrupted
	case !resumed[0]:
		return true
	}
	j.AwaitsReboot, j.State = "", tasker.Running
	e.m.changes.add(changed(&j.Task, e.endpoint, j.Attempt, tasker.Running))
	e.runLog(j.Work).InfoContext(ctx, "the attempt goes on after a reboot", "step", j.Step)
	return e.runStep(ctx, j, logged)
}

// logged tells how much an attempt has logged in its earlier steps.
func (e *executor) logged(ctx context.Context, work ledger.Work) (totals tasker.LogTotals, err error) {
	err = e.m.persist(ctx, "read what an attempt logged", func(ctx context.Context) error {
		attempts, err := e.m.store.Attempts(ctx, work.Task.ID, work.Endpoint)
		for _, a := range attempts {
			if a.Attempt == work.Attempt {
				totals = a.Log
			}
		}
		return err
	})
	return totals, err
}
