package api

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
)

const (
	// maxTold bounds the results of which the hub remembers what it told last.
	maxTold = 10_000
	// hintPause is the least time between two readings of what hints name.
	hintPause = 100 * time.Millisecond
	// maxLeftOut bounds the number of changes that an event says it leaves out.
	maxLeftOut = 1_000_000
)

// hint says of a result that it may have changed, and how.
type hint struct{ state, progress bool }

// pendingHints are the results that events have named since the last reading. Whoever
// has the broker's password can send events, so they are not told on: what they
// name is read from the database, and what is not there is nothing.
type pendingHints struct {
	keys    []tasker.ResultKey
	hints   map[tasker.ResultKey]hint
	leftOut int
}

// add merges a hint with what waits of the same result.
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

// verify reads what hints name and tells the streams of all tasks, until ctx
// ends.
func (h *hub) verify(ctx context.Context) {
	told := map[tasker.ResultKey]tasker.ResultNews{}
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
			// The tasks are read from time to time all the same.
			h.log.DebugContext(ctx, "the results that events name cannot be read", "err", err)
			pending.leftOut += len(pending.keys)
		}
		h.tellResults(pending, news, told)
		if len(told) > maxTold {
			clear(told)
		}
		pause := time.NewTimer(max(hintPause, 4*time.Since(begun)))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
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

// tellResults hands what was read to the streams of all tasks. What was told
// before is not told again, but has them look for what follows from it.
func (h *hub) tellResults(pending pendingHints, news []tasker.ResultNews, told map[tasker.ResultKey]tasker.ResultNews) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range news {
		before, again := told[n.ResultKey]
		told[n.ResultKey] = n
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
			signal(hints.wake)
		}
	}
	for hints := range h.all {
		if pending.leftOut > 0 {
			hints.addLeftOut(pending.leftOut)
			signal(hints.wake)
		}
	}
}
