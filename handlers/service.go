package handlers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// service performs tasks with programs that serve many requests each. It is
// safe for concurrent use.
//
// A process is started when a request needs it, and again when it has ended
// and another request needs it.
type service struct {
	conf  serviceSettings
	slots chan struct{} // one per request that may be in flight

	quit chan struct{} // closed by Close

	abandoned sync.Once // see endAbandonedServices

	mu        sync.Mutex
	closed    bool
	workers   []*serviceWorker
	processes map[*serviceProcess]struct{} // that have not ended
	running   sync.WaitGroup               // of their goroutines
}

var (
	_ Handler   = (*service)(nil)
	_ Checker   = (*service)(nil)
	_ Describer = (*service)(nil)
	_ Noter     = (*service)(nil)
	_ Preparer  = (*service)(nil)
	_ io.Closer = (*service)(nil)
)

var errServiceClosed = errors.New("the handler is closed")

// NewService makes the handler that hands requests to a program which goes on
// running: one JSON line on its standard input for each, and lines on its
// standard output about how they go. It is for interpreters with a slow start;
// docs/handlers.md has the protocol. A request whose process ends fails, and
// may be tried again.
//
// The handler is an [io.Closer], which ends its processes.
func NewService(settings Settings) (Handler, error) {
	conf, err := readServiceSettings(settings)
	if err != nil {
		return nil, err
	}
	s := &service{
		conf: conf, slots: make(chan struct{}, conf.Processes*conf.Concurrency), quit: make(chan struct{}),
		processes: map[*serviceProcess]struct{}{},
	}
	for range conf.Processes {
		s.workers = append(s.workers, &serviceWorker{service: s, gate: make(chan struct{}, 1)})
	}
	return s, nil
}

// Check tells whether the program could be started.
func (s *service) Check() error {
	_, err := s.conf.process.EnvironmentFile.read("environment")
	return errors.Join(s.conf.spec().Check(), err)
}

// Notes tells whose rights the program has.
func (s *service) Notes() []string { return s.conf.process.notes() }

// Prepare ends what processes of a manager that was killed left behind, once.
func (s *service) Prepare(ctx context.Context, log *slog.Logger) {
	s.abandoned.Do(func() { endAbandonedServices(ctx, log) })
}

// Describe tells what is run.
func (s *service) Describe() Description {
	return Description{Description: "Asks a program that goes on running: " + s.conf.Command[0]}
}

// Handle has a process perform a request.
func (s *service) Handle(ctx context.Context, req *Request) (Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer s.release(w)
	p, call, err := w.begin(ctx, req)
	if err != nil {
		return nil, err
	}
	defer p.forget(call)
	p.send(requestMessage(call))
	select {
	case end := <-call.end:
		return end.result, end.err
	case <-ctx.Done():
	}
	// It may have answered at the same time.
	select {
	case end := <-call.end:
		return end.result, end.err
	default:
	}
	p.send(cancelMessage(call.id, context.Cause(ctx)))
	grace := time.NewTimer(time.Duration(s.conf.StopGrace))
	defer grace.Stop()
	select {
	case end := <-call.end:
		if !end.died {
			return end.result, end.err
		}
	case <-grace.C:
		p.kill(fmt.Errorf("a request was not ended within %v after it was canceled", time.Duration(s.conf.StopGrace)))
		<-p.exited
	}
	return nil, context.Cause(ctx)
}

// acquire waits for a slot and gives the worker to use: the one with the least
// to do, and of those one whose process runs.
func (s *service) acquire(ctx context.Context) (*serviceWorker, error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.quit:
		return nil, errServiceClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := slices.MinFunc(s.workers, func(a, b *serviceWorker) int {
		return a.rank() - b.rank()
	})
	w.inFlight++
	return w, nil
}

func (s *service) release(w *serviceWorker) {
	s.mu.Lock()
	w.inFlight--
	s.mu.Unlock()
	<-s.slots
}

// Close ends the processes: it closes their standard input, tells those that
// have not ended after stop_grace to end (TERM), and kills them.
func (s *service) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.quit)
	}
	for p := range s.processes {
		p.finish()
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// serviceWorker is the place of one process.
type serviceWorker struct {
	service  *service
	inFlight int  // guarded by service.mu, as the next
	up       bool // its process runs

	gate     chan struct{} // holds one value while somebody has what follows
	process  *serviceProcess
	failures int   // processes in a row that answered nothing
	failure  error // of the last one
	retryAt  time.Time
}

func (w *serviceWorker) rank() int {
	if w.up {
		return 2 * w.inFlight
	}
	return 2*w.inFlight + 1
}

// begin gives a request to the worker's process, which it starts where there
// is none: not before a pause, where the last one failed.
func (w *serviceWorker) begin(ctx context.Context, req *Request) (*serviceProcess, *serviceCall, error) {
	select {
	case w.gate <- struct{}{}:
		defer func() { <-w.gate }()
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	if w.process != nil {
		if call := w.process.begin(req); call != nil {
			return w.process, call, nil
		}
		if err := w.awaitEnd(ctx); err != nil {
			return nil, nil, err
		}
	}
	if err := w.pause(ctx); err != nil {
		return nil, nil, err
	}
	w.service.Prepare(ctx, logger(req))
	p, err := w.service.start(w)
	if err != nil {
		w.failed(err)
		return nil, nil, err
	}
	w.process = p
	call := p.begin(req)
	if call == nil { // it has ended already
		<-p.exited
		_, err := p.outcome()
		return nil, nil, cmp.Or(err, errServiceClosed)
	}
	return p, call, nil
}

// awaitEnd waits for the end of a process that takes no requests any more, and
// remembers how it went.
func (w *serviceWorker) awaitEnd(ctx context.Context) error {
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

// failed remembers that the last start came to nothing.
func (w *serviceWorker) failed(err error) {
	pause := min(time.Duration(w.service.conf.RestartPause), maxRestartPause)
	pause = min(pause<<min(w.failures, 10), maxRestartPause)
	w.failures, w.failure, w.retryAt = w.failures+1, err, time.Now().Add(pause)
}

// pause waits until the next process may be started.
func (w *serviceWorker) pause(ctx context.Context) error {
	if w.failures == 0 {
		return nil
	}
	timer := time.NewTimer(time.Until(w.retryAt))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.service.quit:
		return errServiceClosed
	case <-ctx.Done():
		// Not the context's cause, which everybody knows.
		return fmt.Errorf("it waited to start the process again, which had failed (in a row: %d): %w", w.failures, w.failure)
	}
}

// start starts a process of a worker.
func (s *service) start(w *serviceWorker) (*serviceProcess, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errServiceClosed
	}
	s.running.Add(1) // Close waits from here on
	s.mu.Unlock()
	defer s.running.Done()
	p, err := startService(&s.conf, &s.running)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.up = true
	s.processes[p] = struct{}{}
	if s.closed {
		p.finish()
	}
	s.running.Go(func() {
		<-p.exited
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.processes, p)
		w.up = false
	})
	return p, nil
}
