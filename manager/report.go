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
	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	// maxMessage bounds a progress message, in bytes.
	maxMessage = 1 << 10
	// updateOverhead is roughly what an update takes besides lines and partial
	// results.
	updateOverhead = 256
)

// reportSink takes reports that have something to store; see [telemetry].
type reportSink interface {
	enqueue(r *report, taken time.Time)
	enqueueLast(r *report, size int)
}

// report collects what one run reports, in bounded memory. No call blocks, and a
// run that reports nothing costs nothing.
type report struct {
	sink      reportSink
	now       func() time.Time
	maxResult int
	work      ledger.Work
	log       *slog.Logger  // the manager's, with the attributes of the run
	flushed   chan struct{} // closed once there is nothing left to store

	mu       sync.Mutex
	closed   bool               // the run has ended: ignore what comes now
	complete bool               // and so has the attempt
	used     bool               // something was reported
	queued   bool               // the sink has it
	earlier  tasker.LogTotals   // of the attempt's earlier steps
	lines    *tasklog.Collector // nil until the first line
	progress *tasker.Progress   // not taken yet
	partial  json.RawMessage    // the last one
	fresh    bool               // partial is not taken yet
	taken    time.Time          // when something was last taken
}

var _ handlers.Reporter = (*report)(nil)

// Progress implements [handlers.Reporter].
func (r *report) Progress(done, total int64, message string) {
	message = strings.ToValidUTF8(strings.Clone(text.Cut(message, maxMessage)), "\uFFFD")
	now := r.now()
	r.update(func() {
		r.progress = &tasker.Progress{Done: max(done, 0), Total: max(total, 0), Message: message, Time: now}
	})
}

// Partial implements [handlers.Reporter].
func (r *report) Partial(result handlers.Result) {
	result, deep := attempt.Shallow(result)
	switch {
	case len(result) > r.maxResult:
		r.warn(fmt.Sprintf("partial result dropped: %d bytes, the limit is %d", len(result), r.maxResult))
		return
	case !json.Valid(result) || !utf8.Valid(result):
		r.warn(fmt.Sprintf("partial result dropped: not JSON, begins with %.100q", result))
		return
	}
	if deep {
		r.warn("partial result stored as text: " + attempt.TooDeep)
	}
	result = bytes.Clone(result)
	r.update(func() { r.partial, r.fresh = result, true })
}

// Line implements [handlers.Reporter].
func (r *report) Line(stream, text string) {
	if stream != tasker.StreamStderr {
		stream = tasker.StreamStdout
	}
	r.line(stream, "", text)
}

// logger returns the log of the task. Its lines are stored with the attempt; the
// manager's own log has them at debug level.
func (r *report) logger() *slog.Logger {
	return slog.New(tasklog.NewHandler(taskLevel{r.log}, func(_ time.Time, level slog.Level, text string) {
		r.line(tasker.StreamLog, tasklog.LevelName(level), text)
	}))
}

// taskLevel is the level from which on tasks may log: info, or debug if the
// manager's own log has that level.
type taskLevel struct{ log *slog.Logger }

func (l taskLevel) Level() slog.Level {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (r *report) warn(text string) { r.line(tasker.StreamLog, "warn", text) }

func (r *report) line(stream, level, text string) {
	now := r.now()
	added := r.update(func() {
		if r.lines == nil {
			r.lines = tasklog.New(r.earlier)
		}
		r.lines.Add(stream, level, now, text)
	})
	if added && r.log.Enabled(context.Background(), slog.LevelDebug) {
		r.log.Debug("task logged a line", "stream", stream, "line", text)
	}
}

// update changes what is to be stored, and reports whether the run had not ended
// before.
func (r *report) update(change func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	change()
	r.used = true
	if !r.queued {
		r.queued = true
		r.sink.enqueue(r, r.taken)
	}
	return true
}

// last returns the last partial result.
func (r *report) last() json.RawMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.partial
}

// stop ends the run: later reports are ignored.
func (r *report) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// close ends the report and has what is left stored at once. complete is true if
// the attempt has ended, and not only one of its steps.
func (r *report) close(complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.complete = true, complete
	if !r.used && (!complete || r.earlier.Lines == 0) {
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
	r.sink.enqueueLast(r, size)
}

// take returns what is to be stored now and its approximate size, which is 0 if
// there is nothing.
func (r *report) take() (update ledger.LiveUpdate, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	update = ledger.LiveUpdate{
		ResultKey: r.work.Key(), Attempt: r.work.Attempt, Progress: r.progress, Totals: r.earlier,
	}
	if r.progress != nil || r.complete {
		size = updateOverhead
	}
	if r.fresh {
		update.Partial = r.partial
		size += updateOverhead + len(r.partial)
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
