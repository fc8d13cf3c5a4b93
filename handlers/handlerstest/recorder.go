package handlerstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/tasklog"
)

// recorder records what the current attempt reports.
type recorder struct {
	level     slog.Level
	maxResult int

	mu      sync.Mutex
	attempt Attempt
	changed chan struct{} // closed by the next change
}

func newRecorder(task Task) *recorder {
	return &recorder{level: task.LogLevel, maxResult: task.MaxResult, changed: make(chan struct{})}
}

func (r *recorder) begin(number int) {
	r.change(func(a *Attempt) { *a = Attempt{Number: number, Steps: 1, State: tasker.Running} })
}

func (r *recorder) change(how func(*Attempt)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	how(&r.attempt)
	close(r.changed)
	r.changed = make(chan struct{})
}

// snapshot returns the attempt so far, and a channel that is closed when it changes.
func (r *recorder) snapshot() (Attempt, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.attempt
	a.Progress, a.Partials, a.Lines = slices.Clone(a.Progress), slices.Clone(a.Partials), slices.Clone(a.Lines)
	return a, r.changed
}

// reporter records what one call of the handler reports, until it has returned.
type reporter struct {
	*recorder
	mu     sync.Mutex
	closed bool
}

var _ handlers.Reporter = (*reporter)(nil)

func (r *reporter) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

func (r *reporter) report(change func(*Attempt)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.change(change)
	}
}

func (r *reporter) Progress(done, total int64, message string) {
	r.report(func(a *Attempt) {
		a.Progress = append(a.Progress, tasker.Progress{Done: done, Total: total, Message: message, Time: now()})
	})
}

func (r *reporter) Partial(result handlers.Result) {
	switch {
	case len(result) > r.maxResult:
		r.line(tasker.StreamLog, "warn", fmt.Sprintf("partial result dropped: %d bytes, the limit is %d", len(result), r.maxResult))
	case !json.Valid(result) || !utf8.Valid(result):
		r.line(tasker.StreamLog, "warn", fmt.Sprintf("partial result dropped: not JSON, begins with %.100q", result))
	default:
		result = bytes.Clone(result)
		r.report(func(a *Attempt) { a.Partials = append(a.Partials, result) })
	}
}

func (r *reporter) Line(stream, text string) {
	if stream != tasker.StreamStderr {
		stream = tasker.StreamStdout
	}
	r.line(stream, "", text)
}

func (r *reporter) line(stream, level, text string) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	r.report(func(a *Attempt) {
		a.Lines = append(a.Lines, tasker.LogLine{Number: int64(len(a.Lines)), Time: now(), Stream: stream, Level: level, Text: text})
	})
}

func (r *reporter) logger() *slog.Logger {
	return slog.New(tasklog.NewHandler(r.level, func(_ time.Time, level slog.Level, text string) {
		r.line(tasker.StreamLog, tasklog.LevelName(level), text)
	}))
}
