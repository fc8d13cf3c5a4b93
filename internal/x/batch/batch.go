// Package batch writes what concurrent callers submit together.
package batch

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// ErrEnded is the error of a submission after [Writer.Run] has ended.
var ErrEnded = errors.New("the writer of batches has ended")

// Writer is a group commit: what callers submit while one batch is being
// written is written together as the next one. A single submission is not delayed,
// and is written by its own goroutine; of several, the first writes the batch for
// all. Make one with [New].
type Writer[In, Out any] struct {
	limit int
	write func(ctx context.Context, batch []In) ([]Out, error)
	pause func(waiting int) time.Duration // see Gather; nil if there is none
	ended chan struct{}                   // closed when Run has returned

	mu      sync.Mutex
	run     func(batch []In) ([]Out, error) // write with the context of Run; nil before Run
	leading bool                            // a caller writes, or has been told to
	closed  bool                            // Run's context has ended
	waiting []*submission[In, Out]
	idle    chan struct{} // if set, to be closed when nobody writes
}

type submission[In, Out any] struct {
	in  In
	out Out
	err error
	// lead receives true if the caller is to write the next batch, which begins
	// with its own submission, and false once out and err are set.
	lead chan bool
}

// New returns a writer of batches of at most limit items. write gets a batch of
// one or more and returns an Out for each In, in the same order, or one error
// for all.
func New[In, Out any](limit int, write func(ctx context.Context, batch []In) ([]Out, error)) *Writer[In, Out] {
	return &Writer[In, Out]{limit: limit, write: write, ended: make(chan struct{})}
}

// Gather sets a function that returns how long a batch waits for more items before
// it is written, by the number of those that wait already. Call it before Do.
func (w *Writer[In, Out]) Gather(pause func(waiting int) time.Duration) { w.pause = pause }

// Do submits one item and waits until it is written. Before Run it waits for that.
// An error means that the item is not written, or not known to be.
func (w *Writer[In, Out]) Do(in In) (Out, error) {
	s := &submission[In, Out]{in: in}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return s.out, ErrEnded
	}
	w.waiting = append(w.waiting, s)
	lead := w.run != nil && !w.leading
	if lead {
		w.leading = true
	} else {
		s.lead = make(chan bool, 1)
	}
	w.mu.Unlock()
	if lead {
		runtime.Gosched() // lets callers that are about to submit join the batch
	} else {
		lead = <-s.lead
	}
	if lead {
		w.writeNext()
	}
	return s.out, s.err
}

// Ended returns a channel that is closed when [Writer.Run] has returned.
func (w *Writer[In, Out]) Ended() <-chan struct{} { return w.ended }

// Run lets batches be written until ctx ends, and waits for the last one.
func (w *Writer[In, Out]) Run(ctx context.Context) {
	defer close(w.ended)
	w.mu.Lock()
	w.run = func(batch []In) ([]Out, error) { return w.write(ctx, batch) }
	w.handOver()
	w.mu.Unlock()
	<-ctx.Done()
	idle := make(chan struct{})
	w.mu.Lock()
	w.closed, w.idle = true, idle
	if !w.leading {
		w.handOver()
	}
	w.mu.Unlock()
	<-idle
}

// writeNext writes the next batch, whose first item is the caller's.
func (w *Writer[In, Out]) writeNext() {
	w.mu.Lock()
	if w.pause != nil && !w.closed && len(w.waiting) < w.limit {
		pause := w.pause(len(w.waiting))
		w.mu.Unlock()
		time.Sleep(pause)
		w.mu.Lock()
	}
	n := min(w.limit, len(w.waiting))
	batch := w.waiting[:n:n]
	w.waiting = w.waiting[n:]
	w.mu.Unlock()
	items := make([]In, n)
	for i, s := range batch {
		items[i] = s.in
	}
	outs, err := w.run(items)
	for i, s := range batch {
		if s.err = err; err == nil {
			s.out = outs[i]
		}
		if i > 0 {
			s.lead <- false
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handOver()
}

// handOver tells the next caller to write, if there is one, or ends. Nobody writes,
// and the caller holds the lock.
func (w *Writer[In, Out]) handOver() {
	if w.closed {
		for _, s := range w.waiting {
			s.err = ErrEnded
			s.lead <- false
		}
		w.waiting = nil
		close(w.idle)
	}
	if w.leading = len(w.waiting) > 0; w.leading {
		w.waiting[0].lead <- true
	} else {
		w.waiting = nil
	}
}

// Gather waits for an item and returns it with those that wait behind it, up to
// limit; nil when ctx ends.
func Gather[T any](ctx context.Context, queue <-chan T, limit int) []T {
	var batch []T
	select {
	case item := <-queue:
		batch = append(batch, item)
	case <-ctx.Done():
		return nil
	}
	for len(batch) < limit {
		select {
		case item := <-queue:
			batch = append(batch, item)
		default:
			return batch
		}
	}
	return batch
}
