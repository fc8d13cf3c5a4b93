// Package batch writes what concurrent callers submit together.
package batch

import (
	"context"
	"errors"
)

// ErrEnded is the error of a submission that comes after [Writer.Run] has
// returned.
var ErrEnded = errors.New("the writer of batches has ended")

// Writer is a group commit: what callers submit while one batch is being
// written is written together as the next one. A lone submission is not
// delayed. Make one with [New].
type Writer[In, Out any] struct {
	queue chan submission[In, Out]
	limit int
	write func(ctx context.Context, batch []In) ([]Out, error)
	ended chan struct{} // closed when Run has returned
}

type submission[In, Out any] struct {
	in   In
	done chan reply[Out]
}

type reply[Out any] struct {
	out Out
	err error
}

// New returns a writer of batches of at most limit items. write gets a batch of
// one or more and returns an Out for each In, in the same order, or one error
// for all.
func New[In, Out any](limit int, write func(ctx context.Context, batch []In) ([]Out, error)) *Writer[In, Out] {
	return &Writer[In, Out]{queue: make(chan submission[In, Out]), limit: limit, write: write, ended: make(chan struct{})}
}

// Do submits one item and waits until it is written. An error means that the
// item is not written, or not known to be.
func (w *Writer[In, Out]) Do(in In) (Out, error) {
	s := submission[In, Out]{in, make(chan reply[Out], 1)}
	select {
	case w.queue <- s:
		r := <-s.done
		return r.out, r.err
	case <-w.ended:
		var none Out
		return none, ErrEnded
	}
}

// Ended returns a channel that is closed when [Writer.Run] has returned.
func (w *Writer[In, Out]) Ended() <-chan struct{} { return w.ended }

// Run writes batches until ctx ends.
func (w *Writer[In, Out]) Run(ctx context.Context) {
	defer close(w.ended)
	for {
		batch := Gather(ctx, w.queue, w.limit)
		if batch == nil {
			return
		}
		items := make([]In, len(batch))
		for i, s := range batch {
			items[i] = s.in
		}
		outs, err := w.write(ctx, items)
		for i, s := range batch {
			r := reply[Out]{err: err}
			if err == nil {
				r.out = outs[i]
			}
			s.done <- r
		}
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
