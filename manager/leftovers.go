package manager

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/spool"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// leftovers are the ends of attempts in the spool that an earlier manager could
// not store. Their attempts have ended, and are not interrupted.
type leftovers struct {
	spooler   *spooler
	completer *completer
	pools     *pools
	prompts   prompts
	log       *slog.Logger

	mu       sync.Mutex
	attempts map[tasker.ResultKey]int
}

// leftover is one of them.
type leftover struct {
	spool.Entry
	failures int // see completer.storeAlone
	warned   bool
}

func newLeftovers(s *spooler, c *completer, p *pools, prompts prompts, log *slog.Logger) *leftovers {
	return &leftovers{spooler: s, completer: c, pools: p, prompts: prompts, log: log, attempts: map[tasker.ResultKey]int{}}
}

func (l *leftovers) has(key tasker.ResultKey, attempt int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.attempts[key] == attempt
}

func (l *leftovers) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.attempts)
}

func (l *leftovers) remove(key tasker.ResultKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.attempts, key)
}

// read returns the ends in the spool, those of an endpoint oldest first.
func (l *leftovers) read(ctx context.Context, endpoints []string) []*leftover {
	if l.spooler.spool == nil {
		return nil
	}
	var found []*leftover
	for _, endpoint := range endpoints {
		entries, err := l.spooler.spool.Entries(endpoint)
		if err != nil {
			l.log.ErrorContext(ctx, "could not read all of the spool", "endpoint", endpoint, "err", err)
		}
		for _, entry := range entries {
			l.mu.Lock()
			l.attempts[entry.ResultKey] = entry.Attempt
			l.mu.Unlock()
			found = append(found, &leftover{Entry: entry})
		}
	}
	return found
}

// deliver stores the ends one after the other, and retries those that the
// database does not accept, until ctx ends.
func (l *leftovers) deliver(ctx context.Context, waiting []*leftover) {
	for pause := minAlonePause; len(waiting) > 0; pause = min(3*pause, maxAlonePause) {
		waiting = slices.DeleteFunc(waiting, func(end *leftover) bool { return ctx.Err() == nil && l.store(ctx, end) })
		if len(waiting) > 0 && clock.Sleep(ctx, pause) != nil {
			return
		}
	}
}

// store stores one end and reports whether it is done with.
func (l *leftovers) store(ctx context.Context, left *leftover) bool {
	log := l.log.With("endpoint", left.Endpoint, "task_id", left.TaskID, "attempt", left.Attempt, "state", left.State)
	end, err := l.spooler.spool.Load(left.Entry)
	if err != nil {
		log.ErrorContext(ctx, "could not read a spooled result: its attempt counts as interrupted", "err", err)
		l.remove(left.ResultKey)
		l.prompts[left.Endpoint].suspect.Raise()
		return true
	}
	done, err := l.completer.storeAlone(ctx, end, &left.failures)
	switch {
	case err != nil: // the manager stops
		return false
	case done.err != nil:
		if !left.warned {
			log.ErrorContext(ctx, "could not store a spooled result: retrying", "err", done.err)
		}
		left.warned = true
		return false
	case done.stored:
		log.InfoContext(ctx, "spooled result stored", "stored_as", done.state)
	default:
		log.WarnContext(ctx, "spooled result not stored: its attempt is not the current one or was stored before",
			"errnr", end.Errnr, "errmsg", end.Errmsg, "payload", string(end.Payload))
	}
	l.spooler.remove(left.Entry)
	l.remove(left.ResultKey)
	if done.state == tasker.Retrying {
		due := l.completer.database.Now().Add(end.RetryDelay)
		for _, p := range l.pools.at(left.Endpoint) {
			p.retries.by(due)
		}
	}
	return true
}
