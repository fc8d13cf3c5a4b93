package rabbit

import (
	"context"
	"sync"

	"github.com/taskerhq/tasker/internal/broker"
)

// group is the goroutines of a Broker, from the first call that needs them
// until Close.
type group struct {
	ctx context.Context //nolint:containedctx // of the goroutines, which outlast each call
	end context.CancelCauseFunc

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func newGroup() *group {
	g := &group{}
	g.ctx, g.end = context.WithCancelCause(context.Background())
	return g
}

// run starts f in a goroutine, unless the group is closed.
func (g *group) run(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Go(f)
	return true
}

// loop starts f in a goroutine; its context ends when the group is closed.
func (g *group) loop(f func(ctx context.Context)) { g.run(func() { f(g.ctx) }) }

// closing is closed when close is called.
func (g *group) closing() <-chan struct{} { return g.ctx.Done() }

// err returns [broker.ErrClosed] after close, else nil.
func (g *group) err() error { return context.Cause(g.ctx) }

// bind calls cancel when the group is closed, until stop is called.
func (g *group) bind(cancel context.CancelCauseFunc) (stop func() bool) {
	return context.AfterFunc(g.ctx, func() { cancel(broker.ErrClosed) })
}

// close ends the goroutines, prevents new ones, and waits for those running.
func (g *group) close() {
	g.end(broker.ErrClosed)
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wg.Wait()
}
