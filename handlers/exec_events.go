package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/taskerhq/tasker/handlers/internal/proc"
)

const (
	// maxEvent bounds a line on file descriptor 3, in bytes.
	maxEvent = 1 << 20
	// maxComplaints bounds what the log says of lines that are no events.
	maxComplaints = 5
)

// event is a line that a program writes to file descriptor 3. It has one
// member.
type event struct {
	Progress *struct {
		Done    int64  `json:"done"`
		Total   int64  `json:"total"`
		Message string `json:"message"`
	} `json:"progress"`
	Log *struct {
		Level   string `json:"level"` // info where it is empty
		Message string `json:"message"`
	} `json:"log"`
	Partial json.RawMessage `json:"partial"`
}

// events hands on what a program tells while it runs.
type events struct {
	ctx   context.Context //nolint:containedctx // of the one run that it is for
	req   *Request
	log   *slog.Logger
	lines *proc.Lines
	wrong int
}

func newEvents(ctx context.Context, req *Request) *events {
	e := &events{ctx: context.WithoutCancel(ctx), req: req, log: logger(req)}
	e.lines = &proc.Lines{Limit: maxEvent, Each: e.line, TooLong: func(size int64) {
		e.complain(fmt.Errorf("it has %d bytes, and the limit is %d", size, maxEvent), nil)
	}}
	return e
}

// logger is the task's log, which a request need not have.
func logger(req *Request) *slog.Logger {
	if req.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return req.Log
}

func (e *events) line(line []byte) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	if err := e.tell(line); err != nil {
		e.complain(err, line)
	}
}

func (e *events) tell(line []byte) error {
	var ev event
	dec := json.NewDecoder(bytes.NewReader(bytes.ToValidUTF8(line, []byte("\uFFFD"))))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ev); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	told := 0
	if ev.Log != nil {
		var level slog.Level
		if ev.Log.Level != "" {
			if err := level.UnmarshalText([]byte(ev.Log.Level)); err != nil {
				return fmt.Errorf("the level %q is none of debug, info, warn and error", clipped(ev.Log.Level))
			}
		}
		e.log.Log(e.ctx, level, ev.Log.Message) //nolint:sloglint // the program's own words
		told++
	}
	if ev.Progress != nil {
		e.req.Progress(ev.Progress.Done, ev.Progress.Total, ev.Progress.Message)
		told++
	}
	if ev.Partial != nil {
		e.req.Partial(ev.Partial)
		told++
	}
	if told == 0 {
		return errors.New("it has none of progress, log and partial")
	}
	return nil
}

// complain says in the task's log that a line is no event: the first few times,
// and in the end how often.
func (e *events) complain(err error, line []byte) {
	e.wrong++
	if e.wrong <= maxComplaints {
		e.log.WarnContext(e.ctx, "a line on file descriptor 3 is no event", "err", err.Error(),
			"line", strings.ToValidUTF8(clipped(string(line[:min(len(line), maxLine)])), "\uFFFD"))
	}
}

func (e *events) finish() {
	e.lines.Flush()
	if more := e.wrong - maxComplaints; more > 0 {
		e.log.WarnContext(e.ctx, "more lines on file descriptor 3 were no events", "lines", more)
	}
}
