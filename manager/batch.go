package manager

import (
	"context"
	"errors"
)

// errBatcherEnded is what submissions get that come too late.
var errBatcherEnded = errors.New("the manager has ended")

// batcher is a group commit: what callers submit while the last batch is being
// written goes out together as the next one. A lone submission is not delayed.
type batcher[In, Out any] struct {
	queue chan submission[In, Out]
	max   int
	// write handles a batch of at least one; it gives one Out for each In.
	write func(ctx context.Context, batch []In) ([]Out, error)
	ended chan struct{} // closed when run has returned
}

type submission[In, Out any] struct {
	in   In
	done chan reply[Out]
}

type reply[Out any] struct {
	out Out
	err error
}

func newBatcher[In, Out any](limit int, write func(context.Context, []In) ([]Out, error)) *batcher[In, Out] {
	return &batcher[In, Out]{queue: make(chan submission[In, Out]), max: limit, write: write, ended: make(chan struct{})}
}

// do submits one item and waits until it is written; an error means that it
// is not, or not known to be.
func (b *batcher[In, Out]) do(in In) (Out, error) {
	s := submission[In, Out]{in, make(chan reply[Out], 1)}
	select {
	case b.queue <- s:
		r := <-s.done
		return r.out, r.err
	case <-b.ended:
		var none Out
		return none, errBatcherEnded
	}
}

// run writes batches until ctx ends.
func (b *batcher[In, Out]) run(ctx context.Context) {
	defer close(b.ended)
	for {
		batch := gather(ctx, b.queue, b.max)
		if batch == nil {
			return
		}
		items := make([]In, len(batch))
		for i, s := range batch {
			items[i] = s.in
		}
		outs, err := b.write(ctx, items)
		for i, s := range batch {
			r := reply[Out]{err: err}
			if err == nil {
				r.out = outs[i]
			}
			s.done <- r
		}
	}
}

// gather waits for an item and gives it with those that wait behind it, up to
// limit; nil at the end of ctx.
func gather[T any](ctx context.Context, queue <-chan T, limit int) []T {
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
