// Package service is the handler that hands requests to programs which keep
// running.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/program"
)

// handler performs tasks with processes that serve many requests each. It is safe
// for concurrent use.
//
// A process is started when a request needs it, also after one has ended.
type handler struct {
	conf  settings
	slots chan struct{} // one for each request that may be in flight
	quit  chan struct{} // closed by Close

	prepared sync.Once

	mu        sync.Mutex
	closed    bool
	workers   []*worker
	processes map[*process]struct{} // that have not ended
	running   sync.WaitGroup        // of their goroutines
}

var (
	_ handlers.Handler   = (*handler)(nil)
	_ handlers.Checker   = (*handler)(nil)
	_ handlers.Describer = (*handler)(nil)
	_ handlers.Noter     = (*handler)(nil)
	_ handlers.Preparer  = (*handler)(nil)
	_ io.Closer          = (*handler)(nil)
)

var errClosed = errors.New("the handler is closed")

// New returns the handler that hands requests to a program which keeps running: one
// line of JSON on its standard input for each, and lines on its standard output
// about their progress and their end; docs/handlers.md describes the protocol.
// It is for interpreters that are slow to start. A request whose process ends
// fails, and may be retried.
//
// The handler is an [io.Closer], which ends its processes.
func New(s handlers.Settings) (handlers.Handler, error) {
	conf, err := readSettings(s)
	if err != nil {
		return nil, err
	}
	h := &handler{
		conf: conf, slots: make(chan struct{}, conf.Processes*conf.Concurrency), quit: make(chan struct{}),
		processes: map[*process]struct{}{},
	}
	for range conf.Processes {
		w := newWorker(time.Duration(conf.RestartPause), h.quit)
		w.start = func(ctx context.Context, log *slog.Logger) (*process, error) {
			h.Prepare(ctx, log)
			return h.start(w) //nolint:contextcheck // the process outlives the request that starts it
		}
		h.workers = append(h.workers, w)
	}
	return h, nil
}

// Check reports what would keep the program from being started on this machine.
func (h *handler) Check() error { return h.conf.CheckHere(h.conf.Command) }

// Notes returns what an administrator should know about the program's rights.
func (h *handler) Notes() []string { return h.conf.Notes() }

// Prepare ends what the processes of a killed manager left running, once.
func (h *handler) Prepare(ctx context.Context, log *slog.Logger) {
	h.prepared.Do(func() { program.EndLeftovers(ctx, log, dirPrefix+"*", dirVariable, os.RemoveAll) })
}

// Describe names the program.
func (h *handler) Describe() handlers.Description {
	return handlers.Description{Description: "Sends requests to a program that keeps running: " + h.conf.Command[0]}
}

// Handle has a process perform a request.
func (h *handler) Handle(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w, err := h.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer h.release(w)
	p, c, err := w.begin(ctx, req)
	if err != nil {
		return nil, err
	}
	defer p.forget(c)
	p.send(requestMessage(c))
	select {
	case end := <-c.end:
		return end.result, end.err
	case <-ctx.Done():
	}
	// It may have ended at the same time.
	select {
	case end := <-c.end:
		return end.result, end.err
	default:
	}
	return h.cancel(ctx, p, c)
}

// cancel tells the process to end a request, and kills the process if it does not
// within stop_grace.
func (h *handler) cancel(ctx context.Context, p *process, c *call) (handlers.Result, error) {
	p.send(cancelMessage(c.id, context.Cause(ctx)))
	grace := time.NewTimer(time.Duration(h.conf.StopGrace))
	defer grace.Stop()
	select {
	case end := <-c.end:
		if !end.died {
			return end.result, end.err
		}
	case <-grace.C:
		p.kill(fmt.Errorf("a canceled request did not end within %v", time.Duration(h.conf.StopGrace)))
		<-p.exited
	}
	return nil, context.Cause(ctx)
}

// acquire waits for a slot and returns the worker to use: the one with the fewest
// requests in flight, preferably with a running process.
func (h *handler) acquire(ctx context.Context) (*worker, error) {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-h.quit:
		return nil, errClosed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w := slices.MinFunc(h.workers, func(a, b *worker) int { return a.load.rank() - b.load.rank() })
	w.load.inFlight++
	return w, nil
}

func (h *handler) release(w *worker) {
	h.mu.Lock()
	w.load.inFlight--
	h.mu.Unlock()
	<-h.slots
}

// start starts the process of a worker.
func (h *handler) start(w *worker) (*process, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, errClosed
	}
	h.running.Add(1) // Close waits from here on
	h.mu.Unlock()
	defer h.running.Done()
	p, err := startProcess(&h.conf, &h.running)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w.load.up = true
	h.processes[p] = struct{}{}
	if h.closed {
		p.finish()
	}
	h.running.Go(func() {
		<-p.exited
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.processes, p)
		w.load.up = false
	})
	return p, nil
}

// Close ends the processes: it closes their standard input, and sends TERM, then
// KILL, to those that have not ended after stop_grace.
func (h *handler) Close() error {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		close(h.quit)
	}
	for p := range h.processes {
		p.finish()
	}
	h.mu.Unlock()
	h.running.Wait()
	return nil
}
