package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/proc"
	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	// maxEvent bounds a line on file descriptor 3, in bytes.
	maxEvent = 1 << 20
	// maxWarnings bounds the warnings about lines that are not events.
	maxWarnings = 5
	// maxShown bounds what a message shows of a program's output, in bytes.
	maxShown = 100
)

// event is a line that a program writes to file descriptor 3, with one or more of
// its members.
type event struct {
	Progress *struct {
		Done    int64  `json:"done"`
		Total   int64  `json:"total"`
		Message string `json:"message"`
	} `json:"progress"`
	Log *struct {
		Level   string `json:"level"` // empty for info
		Message string `json:"message"`
	} `json:"log"`
	Partial json.RawMessage `json:"partial"`
}

// events reports the events of one run.
type events struct {
	ctx     context.Context //nolint:containedctx // the run's, for its log
	req     *handlers.Request
	lines   *proc.Lines
	invalid int
}

func newEvents(ctx context.Context, req *handlers.Request) *events {
	e := &events{ctx: context.WithoutCancel(ctx), req: req}
	e.lines = &proc.Lines{Limit: maxEvent, Each: e.line, TooLong: func(size int64) {
		e.warn(fmt.Errorf("must have at most %d bytes, got %d", maxEvent, size), nil)
	}}
	return e
}

func (e *events) line(line []byte) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	if err := e.report(line); err != nil {
		e.warn(err, line)
	}
}

func (e *events) report(line []byte) error {
	var ev event
	dec := json.NewDecoder(bytes.NewReader(bytes.ToValidUTF8(line, []byte("\uFFFD"))))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ev); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the JSON object")
	}
	if ev.Log == nil && ev.Progress == nil && ev.Partial == nil {
		return errors.New("must have progress, log or partial")
	}
	if ev.Log != nil {
		var level slog.Level
		if ev.Log.Level != "" {
			if err := level.UnmarshalText([]byte(ev.Log.Level)); err != nil {
				return fmt.Errorf("level must be debug, info, warn or error, got %q", text.Shorten(ev.Log.Level, maxShown))
			}
		}
		e.req.Logger().Log(e.ctx, level, ev.Log.Message) //nolint:sloglint // the program's own words
	}
	if ev.Progress != nil {
		e.req.Progress(ev.Progress.Done, ev.Progress.Total, ev.Progress.Message)
	}
	if ev.Partial != nil {
		e.req.Partial(ev.Partial)
	}
	return nil
}

// warn logs the first few lines that are not events, and [events.finish] how many
// there were.
func (e *events) warn(err error, line []byte) {
	e.invalid++
	if e.invalid <= maxWarnings {
		e.req.Logger().WarnContext(e.ctx, "invalid event on file descriptor 3", "err", err.Error(),
			"line", strings.ToValidUTF8(text.Shorten(string(line[:min(len(line), maxLine)]), maxShown), "\uFFFD"))
	}
}

func (e *events) finish() {
	e.lines.Flush()
	if more := e.invalid - maxWarnings; more > 0 {
		e.req.Logger().WarnContext(e.ctx, "more invalid events on file descriptor 3", "lines", more)
	}
}
