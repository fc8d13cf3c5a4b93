package manager

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// shortestPause and longestPause bound the pauses between two tries while
	// the database is away.
	shortestPause, longestPause = 50 * time.Millisecond, 5 * time.Second
)

// pace is how often something is tried that waits for the database.
type pace struct {
	m      *Manager
	what   string
	pause  time.Duration
	warned bool
}

func (m *Manager) pace(what string) *pace { return &pace{m: m, what: what, pause: shortestPause} }

// try does something with the database once. A try that is under way when ctx
// ends is not cut off, since it would not be known whether it was done.
func (p *pace) try(ctx context.Context, do func(ctx context.Context) error) error {
	err := try(ctx, do)
	p.m.away.Store(err != nil && !isRefusal(err))
	if err == nil {
		if p.warned {
			p.m.log.InfoContext(ctx, "the database is back", "to", p.what)
		}
		p.warned, p.pause = false, shortestPause
	}
	return err
}

// wait pauses after a failure, longer each time. Its error is the cause of
// ctx's end.
func (p *pace) wait(ctx context.Context, failed error) error {
	if !p.warned {
		p.m.log.WarnContext(ctx, "waiting for the database", "to", p.what, "err", failed)
		p.warned = true
	}
	err := clock.Sleep(ctx, rand.N(p.pause)+p.pause/2)
	p.pause = min(2*p.pause, longestPause)
	return err
}

// heardSince reports whether the database took a heartbeat that was sent after
// a time.
func (m *Manager) heardSince(t time.Time) bool {
	heard := m.heard.Load()
	return heard != nil && heard.After(t)
}

// outcome is what became of one item of a batch: what the database answered or,
// where it does not take the item, why.
type outcome[Out any] struct {
	out Out
	err error
}

// parts writes the items of a batch, see [inParts].
type parts[In, Out any] struct {
	*pace
	write func(ctx context.Context, items []In) ([]Out, error)
	tries int
}

// inParts writes items, however long the database is away: together where that
// works and, after a failure of any kind, in halves, down to single items. So
// one that the database never takes holds the others up only until it is found.
// An item fails by itself where the database refuses it, and where it failed
// alone as often as tries says while the database took heartbeats. The error is
// the cause of ctx's end.
func inParts[In, Out any](
	ctx context.Context, m *Manager, what string, tries int, items []In, write func(ctx context.Context, items []In) ([]Out, error),
) ([]outcome[Out], error) {
	p := parts[In, Out]{pace: m.pace(what), write: write, tries: tries}
	return p.all(ctx, items)
}

func (p *parts[In, Out]) all(ctx context.Context, items []In) ([]outcome[Out], error) {
	if len(items) == 0 {
		return nil, nil
	}
	for failures := 0; ; {
		begun := time.Now()
		var outs []Out
		err := p.try(ctx, func(ctx context.Context) (err error) {
			outs, err = p.write(ctx, items)
			return err
		})
		switch {
		case err == nil:
			outcomes := make([]outcome[Out], len(items))
			for i := range outcomes {
				outcomes[i].out = outs[i]
			}
			return outcomes, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !isRefusal(err):
			if err := p.wait(ctx, err); err != nil {
				return nil, err
			}
		}
		if len(items) > 1 {
			return p.halves(ctx, items)
		}
		if p.m.heardSince(begun) {
			failures++
		}
		if isRefusal(err) || failures == p.tries {
			return []outcome[Out]{{err: err}}, nil
		}
	}
}

func (p *parts[In, Out]) halves(ctx context.Context, items []In) ([]outcome[Out], error) {
	half := len(items) / 2
	first, err := p.all(ctx, items[:half])
	if err != nil {
		return nil, err
	}
	rest, err := p.all(ctx, items[half:])
	return append(first, rest...), err
}
