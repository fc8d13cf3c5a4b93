package api

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// maxReported bounds the results whose last report the hub remembers.
	maxReported = 10_000
	// hintPause is the minimum time between two reads of hinted results.
	hintPause = 100 * time.Millisecond
	// maxLeftOut bounds the number of omitted changes that an event claims.
	maxLeftOut = 1_000_000
)

// hint is what may have changed in a result.
type hint struct{ state, progress bool }

// pendingHints are the results that events named since the last read. Whoever has
// the broker's password can send events, so they are not passed on: the results
// are read from the database, and those that do not exist are ignored.
type pendingHints struct {
	keys    []tasker.ResultKey
	hints   map[tasker.ResultKey]hint
	leftOut int
}

// add merges a hint with the pending one of the same result.
func (p *pendingHints) add(c wire.LiveChange) {
	key := tasker.ResultKey{TaskID: c.TaskID, Endpoint: c.Endpoint}
	next := hint{state: c.State != "", progress: c.Progress != nil}
	if next == (hint{}) || key.TaskID <= 0 || tasker.ValidateEndpoint(key.Endpoint) != nil {
		return
	}
	known, ok := p.hints[key]
	switch {
	case !ok && len(p.keys) == maxHints:
		p.leftOut++
		return
	case !ok:
		p.keys = append(p.keys, key)
	}
	if p.hints == nil {
		p.hints = map[tasker.ResultKey]hint{}
	}
	p.hints[key] = hint{known.state || next.state, known.progress || next.progress}
}

// verify reads the hinted results and reports them to the streams of all tasks,
// until ctx ends.
func (h *hub) verify(ctx context.Context) {
	reported := map[tasker.ResultKey]tasker.ResultNews{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.hinted:
		}
		begun := time.Now()
		h.mu.Lock()
		pending := h.pending
		h.pending = pendingHints{}
		h.mu.Unlock()
		news, err := h.read(ctx, pending.keys)
		if err != nil {
			// The streams still poll the tasks.
			h.log.DebugContext(ctx, "read hinted results failed", "err", err)
			pending.leftOut += len(pending.keys)
		}
		h.report(pending, news, reported)
		if len(reported) > maxReported {
			clear(reported)
		}
		if clock.Sleep(ctx, max(hintPause, 4*time.Since(begun))) != nil {
			return
		}
	}
}

func (h *hub) read(ctx context.Context, keys []tasker.ResultKey) ([]tasker.ResultNews, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return h.store.ResultNews(ctx, keys)
}

// report passes results to the streams of all tasks. One that was reported before
// is not reported again, but still makes them look for what follows from it.
func (h *hub) report(pending pendingHints, news []tasker.ResultNews, reported map[tasker.ResultKey]tasker.ResultNews) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range news {
		before, again := reported[n.ResultKey]
		reported[n.ResultKey] = n
		hinted := pending.hints[n.ResultKey]
		change := wire.LiveChange{TaskID: n.TaskID, Type: n.Type, Identifier: n.Identifier, Endpoint: n.Endpoint, Attempt: n.Attempt}
		if hinted.state && (!again || before.Attempt != n.Attempt || before.State != n.State || before.Errnr != n.Errnr) {
			change.State, change.Errnr = n.State, n.Errnr
		}
		if hinted.progress && (!again || !sameProgress(before.Progress, n.Progress)) {
			change.Progress = n.Progress
		}
		for hints := range h.all {
			if !hints.wants(change) {
				continue
			}
			if change.State != "" || change.Progress != nil {
				hints.add(change)
			}
			hints.wake.Raise()
		}
	}
	for hints := range h.all {
		if pending.leftOut > 0 {
			hints.addLeftOut(pending.leftOut)
			hints.wake.Raise()
		}
	}
}
