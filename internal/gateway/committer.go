package gateway

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/batch"
)

const (
	// manyRows and fewRows bound the rows of one statement, as the store does.
	manyRows, fewRows = 500, 100
	// maxSubmissions bounds the requests of one batch. They may have more rows
	// than a statement.
	maxSubmissions = 512
	// maxBytes bounds the texts of one statement, in bytes; a single request may
	// have more.
	maxBytes = 4 << 20
	// writeTimeout bounds one statement or transaction. It is shorter than a
	// client waits.
	writeTimeout = 10 * time.Second
	// pingTimeout bounds the question whether the database answers at all.
	pingTimeout = 2 * time.Second
)

// committer writes the rows of requests, of whatever endpoints, together: while
// one batch is being written, the next one gathers. A request is answered after
// the commit of its rows. Make one with [newCommitter].
type committer[In, Out any] struct {
	writer   *batch.Writer[[]In, committed[Out]]
	store    func(ctx context.Context, rows []In) ([]Out, error)
	rows     int               // the most of one statement
	size     func(row *In) int // of its texts
	database Database
	last     atomic.Int64 // the number of requests in the batch before
	batches  atomic.Int64
}

// committed is what became of the rows of a request.
type committed[Out any] struct {
	outs []Out
	err  error
}

func newCommitter[In, Out any](
	database Database, rows int, size func(*In) int, store func(ctx context.Context, rows []In) ([]Out, error),
) *committer[In, Out] {
	c := &committer[In, Out]{store: store, rows: rows, size: size, database: database}
	c.writer = batch.New(maxSubmissions, c.write)
	return c
}

// beatGather is how long heartbeats wait for others: nobody waits for them.
const beatGather = 50 * time.Millisecond

// gatherAlways has each batch wait for more.
func (c *committer[In, Out]) gatherAlways(pause time.Duration) {
	c.writer.Gather(func(int) time.Duration { return pause })
}

// gather has a batch wait for more where more is coming: if the one before was of
// several requests, and this one is not of as many yet. A lone write is never
// delayed.
func (c *committer[In, Out]) gather(pause time.Duration) {
	if pause < 0 {
		return
	}
	c.writer.Gather(func(waiting int) time.Duration {
		if last := int(c.last.Load()); last > 1 && waiting < last {
			return pause
		}
		return 0
	})
}

// do writes the rows of a request. Others' rows do not matter for what becomes of
// them. An error means that they are not written, or not known to be.
func (c *committer[In, Out]) do(rows []In) ([]Out, error) {
	done, err := c.writer.Do(rows)
	if errors.Is(err, batch.ErrEnded) {
		return nil, tasker.WrapError(tasker.Unavailable, err, "gateway stops: ask another one")
	}
	return done.outs, done.err
}

// write writes a batch in parts.
func (c *committer[In, Out]) write(ctx context.Context, requests [][]In) ([]committed[Out], error) {
	c.last.Store(int64(len(requests)))
	c.batches.Add(1)
	results := make([]committed[Out], len(requests))
	for begin := 0; begin < len(requests); {
		end := c.part(requests, begin)
		c.commit(ctx, requests[begin:end], results[begin:end])
		begin = end
	}
	return results, nil
}

// part returns the end of the part of a batch that one statement takes.
func (c *committer[In, Out]) part(requests [][]In, begin int) (end int) {
	rows, bytes := 0, 0
	for end = begin; end < len(requests); end++ {
		rows += len(requests[end])
		for i := range requests[end] {
			bytes += c.size(&requests[end][i])
		}
		if end > begin && (rows > c.rows || bytes > maxBytes) {
			break
		}
	}
	return end
}

// commit writes the rows of some requests, all or none. If it cannot, and not for
// want of the database, it writes those of fewer requests, down to one: a row
// that the database does not take is no other request's problem.
func (c *committer[In, Out]) commit(ctx context.Context, requests [][]In, results []committed[Out]) {
	rows := requests[0]
	if len(requests) > 1 {
		rows = nil
		for _, r := range requests {
			rows = append(rows, r...)
		}
	}
	outs, err := c.storeRows(ctx, rows)
	switch {
	case err == nil:
		for i, r := range requests {
			results[i].outs, outs = outs[:len(r):len(r)], outs[len(r):]
		}
	case len(requests) > 1 && c.mayTakeSome(ctx, err):
		half := len(requests) / 2
		c.commit(ctx, requests[:half], results[:half])
		c.commit(ctx, requests[half:], results[half:])
	default:
		for i := range results {
			results[i].err = err
		}
	}
}

// storeRows writes rows within the time for one statement. A panic must not end the
// writer, for which the requests of all endpoints wait.
func (c *committer[In, Out]) storeRows(ctx context.Context, rows []In) (outs []Out, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic during a write: %v\n%s", p, debug.Stack())
		}
	}()
	outs, err = c.store(ctx, rows)
	if err == nil && len(outs) != len(rows) {
		err = fmt.Errorf("the store answered %d of %d rows", len(outs), len(rows))
	}
	return outs, err
}

// mayTakeSome reports whether the database may take some of the rows of a
// statement that failed: it answers.
func (c *committer[In, Out]) mayTakeSome(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	switch tasker.CodeOf(err) {
	case tasker.Invalid, tasker.TooLarge, tasker.Conflict, tasker.NotFound, tasker.Malformed:
		return true
	}
	limited, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return c.database.Ping(limited) == nil
}
