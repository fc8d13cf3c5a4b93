package manager

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/spool"
)

const (
	// spoolAfter is how long the database may take to store an end before it is
	// written to disk as well. If the database is known to be unavailable, that
	// happens at once. A busy database takes some tenths of a second; then the
	// disk, synced twice per end, must not make things worse.
	spoolAfter = 250 * time.Millisecond
	// spoolRetry is the pause after a failed write to the disk.
	spoolRetry = time.Second
)

// spooler keeps the ends of attempts on disk while the database does not store
// them.
type spooler struct {
	spool  *spool.Spool // nil if there is none
	dbDown *atomic.Bool
	log    *slog.Logger
	// unsaved counts the ends that are in memory only; see [control].
	unsaved *atomic.Int64
	late    sync.Mutex // held during a write to the disk after spoolAfter
}

// pendingWrite is an end that waits for the database, on its way to the disk.
type pendingWrite struct {
	s   *spooler
	end ledger.End

	mu      sync.Mutex
	timer   *time.Timer
	entry   *spool.Entry // nil while the end is in memory only
	removed bool
}

// hold writes an end to the disk after a short time, unless it is removed before.
func (s *spooler) hold(end ledger.End) *pendingWrite {
	w := &pendingWrite{s: s, end: end}
	if s.spool == nil {
		return w
	}
	s.unsaved.Add(1)
	if s.dbDown.Load() && w.write() {
		return w
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(spoolAfter, w.writeLate)
	return w
}

// remove deletes an entry whose end is stored.
func (s *spooler) remove(entry spool.Entry) {
	if err := s.spool.Remove(entry); err != nil {
		s.log.Warn("could not remove a stored result from the spool", "endpoint", entry.Endpoint, "task_id", entry.TaskID, "err", err)
	}
}

// writeLate writes the end to the disk, with retries. One end at a time is
// written: meanwhile the database stores most of the others.
func (w *pendingWrite) writeLate() {
	w.s.late.Lock()
	done := w.write()
	w.s.late.Unlock()
	if done {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.removed {
		w.timer.Reset(spoolRetry)
	}
}

// write writes the end to the disk now and reports whether it is there.
func (w *pendingWrite) write() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.s.spool == nil || w.removed || w.entry != nil {
		return w.entry != nil
	}
	entry, err := w.s.spool.Keep(w.end)
	if err != nil {
		w.s.log.Error("could not write a result to the spool: it is in memory only",
			"endpoint", w.end.Endpoint, "task_id", w.end.TaskID, "err", err)
		return false
	}
	w.entry = &entry
	w.s.unsaved.Add(-1)
	return true
}

// remove takes the end off the disk, or keeps it from being written.
func (w *pendingWrite) remove() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.s.spool == nil {
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.removed = true
	if w.entry == nil {
		w.s.unsaved.Add(-1)
		return
	}
	w.s.remove(*w.entry)
}
