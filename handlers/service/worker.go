package service

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/taskerhq/tasker/handlers"
)

// worker runs one process at a time, and starts a new one when it has to.
type worker struct {
	start        func(context.Context, *slog.Logger) (*process, error)
	restartPause time.Duration
	quit         <-chan struct{}

	load load // guarded by the handler's mu

	lock     chan struct{} // holds a value while somebody uses what follows
	process  *process
	failures int   // processes in a row that answered nothing
	failure  error // of the last one
	retryAt  time.Time
}

// load is what a worker is chosen by.
type load struct {
	inFlight int
	up       bool // its process runs
}

func (l load) rank() int {
	if l.up {
		return 2 * l.inFlight
	}
	return 2*l.inFlight + 1
}

func newWorker(restartPause time.Duration, quit <-chan struct{}) *worker {
	return &worker{restartPause: restartPause, quit: quit, lock: make(chan struct{}, 1)}
}

// begin assigns a request to the worker's process. If there is none it starts one,
// after a pause if the last one failed.
func (w *worker) begin(ctx context.Context, req *handlers.Request) (*process, *call, error) {
	select {
	case w.lock <- struct{}{}:
		defer func() { <-w.lock }()
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	if w.process != nil {
		if c := w.process.begin(req); c != nil {
			return w.process, c, nil
		}
		if err := w.awaitExit(ctx); err != nil {
			return nil, nil, err
		}
	}
	if err := w.pause(ctx); err != nil {
		return nil, nil, err
	}
	p, err := w.start(ctx, req.Logger())
	if err != nil {
		w.failed(err)
		return nil, nil, err
	}
	w.process = p
	c := p.begin(req)
	if c == nil { // it has ended already
		<-p.exited
		_, err := p.outcome()
		return nil, nil, cmp.Or(err, errClosed)
	}
	return p, c, nil
}

// awaitExit waits for a process that takes no more requests to exit, and records
// how it did.
func (w *worker) awaitExit(ctx context.Context) error {
	select {
	case <-w.process.exited:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	answered, failure := w.process.outcome()
	w.process = nil
	if answered {
		w.failures, w.failure = 0, nil
	} else if failure != nil {
		w.failed(failure)
	}
	return nil
}

// failed records a process that did not start, or answered nothing. Each one in a
// row doubles the pause.
func (w *worker) failed(err error) {
	pause := min(w.restartPause, maxRestartPause)
	pause = min(pause<<min(w.failures, 10), maxRestartPause)
	w.failures, w.failure, w.retryAt = w.failures+1, err, time.Now().Add(pause)
}

// pause waits until the next process may be started.
func (w *worker) pause(ctx context.Context) error {
	if w.failures == 0 {
		return nil
	}
	timer := time.NewTimer(time.Until(w.retryAt))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.quit:
		return errClosed
	case <-ctx.Done():
		// The failure says more than the context's cause.
		return fmt.Errorf("still waiting to restart the process (failures in a row: %d): %w", w.failures, w.failure)
	}
}
