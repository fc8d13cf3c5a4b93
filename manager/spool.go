package manager

import (
	"context"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/spool"
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
	finish tasker.Finish

	mu      sync.Mutex
	timer   *time.Timer
	entry   *spool.Entry // nil while it is in memory only
	removed bool
}

// keepLater keeps the end of an attempt after a short time, unless it is
// removed before.
func (m *Manager) keepLater(ctx context.Context, finish tasker.Finish) *keeping {
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

// deliverSpooled stores what earlier managers of an endpoint could not, in
// the order in which it came.
func (m *Manager) deliverSpooled(ctx context.Context, endpoint string) error {
	if m.spool == nil {
		return nil
	}
	entries, err := m.spool.Entries(endpoint)
	if err != nil {
		m.log.ErrorContext(ctx, "some of the spool cannot be read: it is left there", "endpoint", endpoint, "err", err)
	}
	for _, entry := range entries {
		ends, err := m.storeFinishes(ctx, []tasker.Finish{entry.Finish})
		if err != nil {
			return err
		}
		log := m.log.With("endpoint", endpoint, "task_id", entry.TaskID, "attempt", entry.Attempt, "state", entry.State)
		switch {
		case ends[0].err != nil:
			log.ErrorContext(ctx, "a result of the spool could not be stored: it is left there", "err", ends[0].err)
			continue
		case ends[0].stored:
			log.InfoContext(ctx, "a result of the spool is stored")
		default:
			log.WarnContext(ctx, "a result of the spool was not stored: its attempt is not the current one, or it was stored before",
				"errnr", entry.Errnr, "errmsg", entry.Errmsg, "payload", string(entry.Payload))
		}
		m.unspool(ctx, entry)
	}
	return nil
}
