package manager

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/spool"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// spoolAfter is how long the database may take to store a result before the
// result is kept on disk as well. Where it is known to be away, the result is
// kept at once. A database that is busy takes some tenths of a second, and
// then the disk, which is synced twice for each result, must not make it worse.
const spoolAfter = 250 * time.Millisecond

// spoolAgain is the pause before the next try where the disk did not take it.
const spoolAgain = time.Second

// keeping is the end of an attempt that waits for the database, on its way
// into the spool.
type keeping struct {
	m      *Manager
	ctx    context.Context // for the log
	finish ledger.End

	mu      sync.Mutex
	timer   *time.Timer
	entry   *spool.Entry // nil while it is in memory only
	removed bool
}

// keepLater keeps the end of an attempt after a short time, unless it is
// removed before.
func (m *Manager) keepLater(ctx context.Context, finish ledger.End) *keeping {
	k := &keeping{m: m, ctx: ctx, finish: finish}
	if m.spool == nil {
		return k
	}
	m.unkept.Add(1)
	if m.away.Load() && k.now() {
		return k
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(spoolAfter, k.keep)
	return k
}

// keep puts the end into the spool, and tries again later where the disk does
// not take it. One at a time goes there: of those that wait, the database stores
// most meanwhile.
func (k *keeping) keep() {
	k.m.spooling.Lock()
	kept := k.now()
	k.m.spooling.Unlock()
	if kept {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.removed {
		k.timer.Reset(spoolAgain)
	}
}

// now keeps the end at once, and tells whether it is kept.
func (k *keeping) now() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m.spool == nil || k.removed || k.entry != nil {
		return k.entry != nil
	}
	entry, err := k.m.spool.Keep(k.finish)
	if err != nil {
		k.m.log.ErrorContext(k.ctx, "a result that waits for the database is in memory only",
			"endpoint", k.finish.Endpoint, "task_id", k.finish.TaskID, "err", err)
		return false
	}
	k.entry = &entry
	k.m.unkept.Add(-1)
	return true
}

// remove takes the end out of the spool, or keeps it from going there.
func (k *keeping) remove() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m.spool == nil {
		return
	}
	if k.timer != nil {
		k.timer.Stop()
	}
	k.removed = true
	if k.entry == nil {
		k.m.unkept.Add(-1)
		return
	}
	k.m.unspool(k.ctx, *k.entry)
}

func (m *Manager) unspool(ctx context.Context, entry spool.Entry) {
	if err := m.spool.Remove(entry); err != nil {
		m.log.WarnContext(ctx, "a result that is stored stays in the spool: it will be recognized", "err", err)
	}
}

// pendingEnds are the attempts whose ends are in the spool of an earlier
// manager: they have ended, and are not interrupted.
type pendingEnds struct {
	mu   sync.Mutex
	list map[tasker.ResultKey]int // the attempts
}

func (p *pendingEnds) add(key tasker.ResultKey, attempt int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.list == nil {
		p.list = map[tasker.ResultKey]int{}
	}
	p.list[key] = attempt
}

func (p *pendingEnds) remove(key tasker.ResultKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.list, key)
}

func (p *pendingEnds) has(key tasker.ResultKey, attempt int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list[key] == attempt
}

func (p *pendingEnds) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.list)
}

// late is the end of an attempt that an earlier manager could not store.
type late struct {
	spool.Entry
	failures int // see storeAlone
	warned   bool
}

// readSpool returns the ends of attempts that earlier managers of the endpoints
// could not store, each endpoint's in the order in which they came.
func (m *Manager) readSpool(ctx context.Context) []*late {
	if m.spool == nil {
		return nil
	}
	var found []*late
	for _, endpoint := range m.cfg.Endpoints {
		entries, err := m.spool.Entries(endpoint)
		if err != nil {
			m.log.ErrorContext(ctx, "some of the spool cannot be read: it is left there", "endpoint", endpoint, "err", err)
		}
		for _, entry := range entries {
			m.pending.add(entry.ResultKey, entry.Attempt)
			found = append(found, &late{Entry: entry})
		}
	}
	return found
}

// deliverSpooled stores what earlier managers could not, one after the other,
// and tries on with what the database does not take, until ctx ends.
func (m *Manager) deliverSpooled(ctx context.Context, waiting []*late) {
	for pause := alonePause; len(waiting) > 0; pause = min(3*pause, refusedPause) {
		waiting = slices.DeleteFunc(waiting, func(l *late) bool { return ctx.Err() == nil && m.storeLate(ctx, l) })
		if len(waiting) > 0 && clock.Sleep(ctx, pause) != nil {
			return
		}
	}
}

// storeLate stores the end of an attempt out of the spool, and reports whether
// it is done with.
func (m *Manager) storeLate(ctx context.Context, l *late) bool {
	log := m.log.With("endpoint", l.Endpoint, "task_id", l.TaskID, "attempt", l.Attempt, "state", l.State)
	finish, err := m.spool.Load(l.Entry)
	if err != nil {
		log.ErrorContext(ctx, "a result of the spool cannot be read: it counts as interrupted", "err", err)
		m.pending.remove(l.ResultKey)
		m.doubt(l.Endpoint)
		return true
	}
	end, err := m.storeAlone(ctx, finish, &l.failures)
	switch {
	case err != nil: // the manager ends
		return false
	case end.err != nil:
		if !l.warned {
			log.ErrorContext(ctx, "the database does not take a result of the spool: it is tried again", "err", end.err)
		}
		l.warned = true
		return false
	case end.stored:
		log.InfoContext(ctx, "a result of the spool is stored", "stored_as", end.state)
	default:
		log.WarnContext(ctx, "a result of the spool was not stored: its attempt is not the current one, or it was stored before",
			"errnr", finish.Errnr, "errmsg", finish.Errmsg, "payload", string(finish.Payload))
	}
	m.unspool(ctx, l.Entry)
	m.pending.remove(l.ResultKey)
	if end.state == tasker.Retrying {
		for _, e := range m.all() {
			if e.endpoint == l.Endpoint {
				e.retryBy(m.store.Now().Add(finish.RetryDelay))
			}
		}
	}
	return true
}
