package manager

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/attempt"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/tasklog"
)

// maxMessage bounds what is kept of a progress message, in bytes.
const maxMessage = 1 << 10

// report takes what one run tells, for the flusher. It is bounded, and no call
// waits for anything. A run that tells nothing costs nothing.
type report struct {
	m       *Manager
	work    ledger.Work
	log     *slog.Logger  // the manager's own, with the run's attributes
	flushed chan struct{} // closed when nothing more is to be stored

	mu       sync.Mutex
	closed   bool               // the run is over: what comes now is ignored
	complete bool               // and so is the attempt
	told     bool               // there was something to be stored
	queued   bool               // the flusher has it
	before   tasker.LogTotals   // of the attempt's earlier steps
	lines    *tasklog.Collector // nil until the first line
	progress *tasker.Progress   // not taken yet
	partial  json.RawMessage    // the last one
	fresh    bool               // partial is not taken yet
	taken    time.Time          // when the flusher took something last
}

var _ handlers.Reporter = (*report)(nil)

func newReport(m *Manager, work ledger.Work, before tasker.LogTotals, log *slog.Logger) *report {
	return &report{m: m, work: work, log: log, before: before, flushed: make(chan struct{})}
}

// Progress implements [handlers.Reporter].
func (r *report) Progress(done, total int64, message string) {
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	message = strings.ToValidUTF8(strings.Clone(message), "\uFFFD")
	now := r.m.store.Now()
	r.tell(func() {
		r.progress = &tasker.Progress{Done: max(done, 0), Total: max(total, 0), Message: message, Time: now}
	})
}

// Partial implements [handlers.Reporter].
func (r *report) Partial(result handlers.Result) {
	limit := r.m.cfg.MaxResult
	result, deep := attempt.Shallow(result)
	switch {
	case len(result) > limit:
		r.warn(fmt.Sprintf("a partial result of %d bytes is dropped: the limit is %d", len(result), limit))
		return
	case !json.Valid(result) || !utf8.Valid(result):
		r.warn(fmt.Sprintf("a partial result is dropped: it is not JSON, and begins with %.100q", result))
		return
	}
	if deep {
		r.warn("a partial result is kept as text: " + attempt.TooDeep)
	}
	result = bytes.Clone(result)
	r.tell(func() { r.partial, r.fresh = result, true })
}

// Line implements [handlers.Reporter].
func (r *report) Line(stream, text string) {
	if stream != tasker.StreamStderr {
		stream = tasker.StreamStdout
	}
	r.line(stream, "", text)
}

// logger gives the log of the task: its lines are for everybody who follows
// the task, and for the manager's own log only where that is told in detail.
func (r *report) logger() *slog.Logger {
	return slog.New(tasklog.NewHandler(taskLevel{r.log}, func(_ time.Time, level slog.Level, text string) {
		r.line(tasker.StreamLog, tasklog.LevelName(level), text)
	}))
}

// taskLevel is the level from which on tasks may log: info, or that of the
// manager's own log where it is lower.
type taskLevel struct{ log *slog.Logger }

func (l taskLevel) Level() slog.Level {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (r *report) warn(text string) { r.line(tasker.StreamLog, "warn", text) }

func (r *report) line(stream, level, text string) {
	now := r.m.store.Now()
	told := r.tell(func() {
		if r.lines == nil {
			r.lines = tasklog.New(r.before)
		}
		r.lines.Add(stream, level, now, text)
	})
	if told && r.log.Enabled(context.Background(), slog.LevelDebug) {
		r.log.Debug("the task logs", "stream", stream, "line", text)
	}
}

// tell changes what is to be stored, unless the run is over.
func (r *report) tell(change func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	change()
	r.told = true
	if !r.queued {
		r.queued = true
		r.m.flusher.add(r, r.taken)
	}
	return true
}

// last gives the last partial result.
func (r *report) last() json.RawMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.partial
}

// stop ends the run: what is told later does not count.
func (r *report) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// close ends the report, and has the flusher store at once what is left.
// complete tells that the attempt has ended, too, and not only a step of it.
func (r *report) close(complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.complete = true, complete
	if !r.told && (!complete || r.before.Lines == 0) {
		close(r.flushed)
		return
	}
	size := 0
	if r.fresh {
		size += len(r.partial)
	}
	if r.lines != nil {
		size += r.lines.Pending()
	}
	r.m.flusher.hurry(r, size)
}

// lineless is about what an update takes besides lines and partial results.
const lineless = 256

// take gives what is to be stored now, and about how much it is; 0 means that
// there is nothing.
func (r *report) take() (update ledger.LiveUpdate, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	update = ledger.LiveUpdate{
		ResultKey: r.work.Key(), Attempt: r.work.Attempt, Progress: r.progress, Totals: r.before,
	}
	if r.progress != nil || r.complete {
		size = lineless
	}
	if r.fresh {
		update.Partial = r.partial
		size += lineless + len(r.partial)
	}
	if r.lines != nil {
		part := r.lines.Take()
		update.Lines, update.Totals, update.DropFrom, update.DropTo = part.Lines, part.Totals, part.DropFrom, part.DropTo
		size += part.Size
	}
	update.Totals.Complete = r.complete
	r.progress, r.fresh, r.queued, r.taken = nil, false, false, time.Now()
	return update, size
}
