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
// kept at once.
const spoolAfter = 100 * time.Millisecond

// keeping is the end of an attempt on its way into the spool.
type keeping struct {
	timer *time.Timer
	keep  func()

	mu    sync.Mutex
	done  bool // kept or, at the end, not wanted
	entry *spool.Entry
	drop  func(spool.Entry)
}

// keepLater keeps the end of an attempt after a short time, unless it is
// removed before.
func (m *Manager) keepLater(ctx context.Context, finish tasker.Finish) *keeping {
	k := &keeping{}
	if m.spool == nil {
		k.keep, k.timer = func() {}, time.NewTimer(0)
		return k
	}
	k.drop = func(entry spool.Entry) { m.unspool(ctx, entry) }
	k.keep = func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.done {
			return
		}
		k.done = true
		entry, err := m.spool.Keep(finish)
		if err != nil {
			m.log.ErrorContext(ctx, "a result that waits for the database is in memory only", "endpoint", finish.Endpoint, "task_id", finish.TaskID, "err", err)
			return
		}
		k.entry = &entry
	}
	if m.away.Load() {
		k.keep()
	}
	k.timer = time.AfterFunc(spoolAfter, k.keep)
	return k
}

// now keeps the end at once, and tells whether it is kept.
func (k *keeping) now() bool {
	k.timer.Stop()
	k.keep()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.entry != nil
}

// remove takes the end out of the spool, or keeps it from going there.
func (k *keeping) remove() {
	k.timer.Stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.done = true
	if k.entry != nil {
		k.drop(*k.entry)
	}
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
