package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/attempt"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/livefeed"
)

const (
	// bootFile names the boot of a Linux system.
	bootFile = "/proc/sys/kernel/random/boot_id"
	// bootUnknown is the boot of a system that does not name it.
	bootUnknown = "none"
	// maxSteps bounds the reboots of one attempt, so that a handler which always
	// asks for another does not keep the machine rebooting.
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

// requestReboot stores that an attempt continues after a reboot, reboots the machine
// if the handler's error asks for that, and waits. running is the context of the
// step.
func (r *runner) requestReboot(taking, running context.Context, log *slog.Logger, j *job, asked error, report *report) followUp {
	next := max(j.Step, 1) + 1
	if next > maxSteps {
		return r.endWait(taking, running, log, j, report, fmt.Errorf("too many reboots: the handler asked for number %d", maxSteps))
	}
	// Store it first: the machine may go down at any moment.
	stored, err := r.storeReboot(running, log, j, next, asked)
	r.telemetry.await(report)
	switch {
	case stored && (err == nil || errors.Is(context.Cause(running), handlers.ErrShutdown)):
		return r.waitForReboot(taking, running, log, j, report)
	case err == nil:
		log.WarnContext(running, "attempt not continued after a reboot: it is not the current one any more")
		return followUp{suspect: true}
	case errors.Is(err, handlers.ErrShutdown):
		log.ErrorContext(running, "could not store that the attempt awaits a reboot: it will count as interrupted", "err", err)
		return followUp{}
	}
	return r.endWait(taking, running, log, j, report, err)
}

// storeReboot stores that an attempt continues after a reboot, and then reboots the
// machine. If stored is true, the error is that of the handler's code which does so.
// The spool has nothing of this, so a stop waits for it.
func (r *runner) storeReboot(running context.Context, log *slog.Logger, j *job, step int, asked error) (stored bool, err error) {
	r.unsaved.Add(1)
	defer r.unsaved.Add(-1)
	err = r.db.retry(running, "store that an attempt awaits a reboot", func(ctx context.Context) (err error) {
		stored, err = r.attempts.AwaitReboot(ctx, j.Key(), j.Attempt, step, r.boot)
		return err
	})
	if err != nil || !stored {
		return false, err
	}
	reboot := func(ctx context.Context, _ *handlers.Request) (handlers.Result, error) {
		return nil, handlers.Reboot(ctx, asked)
	}
	exit := attempt.Run(running, handlers.Func(reboot), &handlers.Request{Log: log}, r.abandonAfter)
	return true, exit.Err
}

// waitForReboot waits for what ends the wait of an attempt, if the machine does not
// reboot: a stop of the manager, which changes nothing, the run limit or a
// cancellation.
func (r *runner) waitForReboot(taking, running context.Context, log *slog.Logger, j *job, report *report) followUp {
	select {
	case <-taking.Done():
		return followUp{}
	case <-running.Done():
	}
	if errors.Is(context.Cause(running), handlers.ErrShutdown) {
		return followUp{}
	}
	return r.endWait(taking, running, log, j, report, errNoReboot)
}

// endWait stores the end of an attempt that wanted to continue after a reboot.
func (r *runner) endWait(taking, running context.Context, log *slog.Logger, j *job, report *report, why error) followUp {
	// If another manager has the endpoint now, the attempt goes on there or is
	// judged there.
	if err := r.term.await(taking); err != nil {
		log.WarnContext(running, "attempt not ended: left to the next manager", "reason", why, "err", err)
		return followUp{}
	}
	exit := attempt.Exit{Err: handlers.Permanent(why), Cause: context.Cause(running)}
	if errors.Is(exit.Cause, handlers.ErrShutdown) {
		exit.Cause = nil // that is not the reason
	}
	if report != nil {
		exit.Partial = report.last()
	}
	end, _ := r.rules(j).Judge(j.Attempt, exit)
	log.WarnContext(running, "attempt not continued after a reboot", "state", end.State, "errmsg", end.Errmsg)
	return r.complete(running, log, j, end, nil)
}

// awaitReboot waits for a reboot on behalf of an earlier manager of this boot.
func (r *runner) awaitReboot(taking, running context.Context, j job) followUp {
	running, stop := context.WithTimeoutCause(running, j.binding.Timeout, handlers.ErrTimeout)
	defer stop()
	return r.waitForReboot(taking, running, r.logFor(&j.Work), &j, nil)
}

// resume takes over an attempt after its reboot and runs its next step.
func (r *runner) resume(taking, running context.Context, j job) followUp {
	log := r.logFor(&j.Work)
	logged, err := r.logged(taking, &j.Work)
	var resumed []bool
	if err == nil {
		err = r.db.retry(taking, "resume an attempt", func(ctx context.Context) (err error) {
			resumed, err = r.attempts.ResumeAttempts(ctx, []ledger.Start{{ResultKey: j.Key(), Manager: r.manager, Attempt: j.Attempt}})
			return err
		})
	}
	switch {
	case err != nil:
		if taking.Err() == nil {
			log.ErrorContext(taking, "could not resume an attempt after a reboot: retrying later", "err", err)
		}
		return followUp{} // the next resync finds it again
	case !resumed[0]:
		return followUp{suspect: true}
	}
	j.AwaitsReboot, j.State = "", tasker.Running
	r.events.Add(livefeed.ChangeOf(&j.Task, j.Endpoint, j.Attempt, tasker.Running))
	log.InfoContext(taking, "attempt continues after a reboot", "step", j.Step)
	return r.runStep(taking, running, j, logged)
}

// logged returns how much the earlier steps of an attempt have logged.
func (r *runner) logged(ctx context.Context, work *ledger.Work) (totals tasker.LogTotals, err error) {
	err = r.db.retry(ctx, "read what an attempt logged", func(ctx context.Context) error {
		attempts, err := r.attempts.Attempts(ctx, work.Task.ID, work.Endpoint)
		for _, a := range attempts {
			if a.Attempt == work.Attempt {
				totals = a.Log
			}
		}
		return err
	})
	return totals, err
}
