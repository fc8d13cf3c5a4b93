package manager

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// batchSize bounds the items of one write to the database, and maxBatch those of
	// one set-based statement: recordings, starts and ends.
	batchSize, maxBatch = 100, 500
	// callTimeout bounds one statement or transaction.
	callTimeout = 15 * time.Second
	// minPause and maxPause bound the pauses between two tries while the
	// database is unavailable.
	minPause, maxPause = 50 * time.Millisecond, 5 * time.Second
)

// database retries calls to the database and remembers whether it is available.
type database struct {
	log     *slog.Logger
	gateway bool // see [Store]
	// down is true if the most recent call failed for want of the database.
	down atomic.Bool
	// beat is when the last successful heartbeat was sent.
	beat atomic.Pointer[time.Time]
}

// beatSince reports whether a heartbeat sent after t was successful.
func (d *database) beatSince(t time.Time) bool {
	beat := d.beat.Load()
	return beat != nil && beat.After(t)
}

// retry calls do until it succeeds, with growing pauses while the database is
// unavailable. It returns an error if the database refuses the input, which a
// retry would not change, or if ctx ends. Use [writeBatch] for anything that may
// be too large or that would hold up others.
func (d *database) retry(ctx context.Context, operation string, do func(ctx context.Context) error) error {
	for r := d.retrier(operation); ; {
		err := r.try(ctx, do)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isRefusal(err):
			return err
		}
		if err := r.wait(ctx, err); err != nil {
			return err
		}
	}
}

func (d *database) retrier(operation string) *retrier {
	return &retrier{db: d, operation: operation, pause: minPause}
}

// retrier spaces and logs the tries of one operation.
type retrier struct {
	db        *database
	operation string
	pause     time.Duration
	warned    bool
}

// try calls do once. It does not cut off a call when ctx ends, as it would then
// be unknown whether the call took effect.
func (r *retrier) try(ctx context.Context, do func(ctx context.Context) error) error {
	err := call(ctx, do)
	r.db.down.Store(err != nil && !isRefusal(err))
	if err == nil {
		if r.warned {
			r.db.logAgain(ctx, r.operation)
		}
		r.warned, r.pause = false, minPause
	}
	return err
}

// wait pauses after a failure, longer each time. It returns the cause if ctx ends.
func (r *retrier) wait(ctx context.Context, failed error) error {
	if !r.warned {
		r.db.logWaiting(ctx, r.operation, failed)
		r.warned = true
	}
	err := clock.Sleep(ctx, rand.N(r.pause)+r.pause/2)
	r.pause = min(2*r.pause, maxPause)
	return err
}

func (d *database) logWaiting(ctx context.Context, operation string, err error) {
	if d.gateway {
		d.log.WarnContext(ctx, "waiting for the gateway", "operation", operation, "err", err)
		return
	}
	d.log.WarnContext(ctx, "waiting for the database", "operation", operation, "err", err)
}

func (d *database) logAgain(ctx context.Context, operation string) {
	if d.gateway {
		d.log.InfoContext(ctx, "gateway available again", "operation", operation)
		return
	}
	d.log.InfoContext(ctx, "database available again", "operation", operation)
}

// call calls do once, within the limit of a call and beyond the end of ctx.
func call(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	return do(ctx)
}

// isRefusal reports whether an error is about the input, and not about the
// database.
func isRefusal(err error) bool {
	switch tasker.CodeOf(err) {
	case tasker.Invalid, tasker.Malformed, tasker.TooLarge, tasker.Conflict, tasker.NotFound:
		return true
	}
	return false
}

// written is what became of one item of a batch: the database's answer, or why
// the item could not be written.
type written[Out any] struct {
	out Out
	err error
}

// batchWriter is one [writeBatch].
type batchWriter[In, Out any] struct {
	*retrier
	write func(ctx context.Context, items []In) ([]Out, error)
	tries int
}

// writeBatch writes items, however long the database is unavailable. After a
// failure of any kind it splits the batch in halves, down to single items, so
// that an item that can never be written delays the others only until it is
// found. An item fails if the database refuses it, or if it failed alone as often
// as tries says while heartbeats succeeded. The error is the cause if ctx ends.
func writeBatch[In, Out any](
	ctx context.Context, db *database, operation string, tries int, items []In,
	write func(ctx context.Context, items []In) ([]Out, error),
) ([]written[Out], error) {
	w := batchWriter[In, Out]{retrier: db.retrier(operation), write: write, tries: tries}
	return w.all(ctx, items)
}

func (w *batchWriter[In, Out]) all(ctx context.Context, items []In) ([]written[Out], error) {
	if len(items) == 0 {
		return nil, nil
	}
	for failures := 0; ; {
		begin := time.Now()
		var outs []Out
		err := w.try(ctx, func(ctx context.Context) (err error) {
			outs, err = w.write(ctx, items)
			return err
		})
		switch {
		case err == nil:
			results := make([]written[Out], len(items))
			for i := range results {
				results[i].out = outs[i]
			}
			return results, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !isRefusal(err):
			if err := w.wait(ctx, err); err != nil {
				return nil, err
			}
		}
		if len(items) > 1 {
			return w.halves(ctx, items)
		}
		if w.db.beatSince(begin) {
			failures++
		}
		if isRefusal(err) || failures == w.tries {
			return []written[Out]{{err: err}}, nil
		}
	}
}

func (w *batchWriter[In, Out]) halves(ctx context.Context, items []In) ([]written[Out], error) {
	half := len(items) / 2
	first, err := w.all(ctx, items[:half])
	if err != nil {
		return nil, err
	}
	rest, err := w.all(ctx, items[half:])
	return append(first, rest...), err
}
