package handlerstest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
)

// WantDone asserts that the task succeeded with a result, compared as JSON; an empty one
// means no result.
func (e Ended) WantDone(t testing.TB, result string) {
	t.Helper()
	if e.State != tasker.ResultDone {
		t.Errorf("the task is %s, errnr %d (%s); want %s%s", e.State, e.Errnr, e.Errmsg, tasker.ResultDone, e.log())
		return
	}
	if !equal(e.Result, []byte(result)) {
		t.Errorf("the result is %s\nwant %s%s", orNone(e.Result), orNone([]byte(result)), e.log())
	}
}

// WantFailed asserts that the task failed with an error number and a message that
// contains errmsg.
func (e Ended) WantFailed(t testing.TB, errnr int, errmsg string) {
	t.Helper()
	e.WantEnd(t, tasker.ResultFailed, errnr, errmsg)
}

// WantEnd asserts a state, an error number and a message that contains errmsg.
func (e Ended) WantEnd(t testing.TB, state tasker.ResultState, errnr int, errmsg string) {
	t.Helper()
	if e.State != state || e.Errnr != errnr || !strings.Contains(e.Errmsg, errmsg) {
		t.Errorf("the task is %s, errnr %d (%s)\nwant %s, errnr %d (...%s...)%s", e.State, e.Errnr, e.Errmsg, state, errnr, errmsg, e.log())
	}
}

// WantProgress asserts the last progress of the last attempt.
func (e Ended) WantProgress(t testing.TB, done, total int64) {
	t.Helper()
	if len(e.Progress) == 0 {
		t.Errorf("no progress, want %d of %d", done, total)
		return
	}
	if last := e.Progress[len(e.Progress)-1]; last.Done != done || last.Total != total {
		t.Errorf("the progress is %d of %d, want %d of %d", last.Done, last.Total, done, total)
	}
}

// WantLine asserts that a line of the last attempt's log or output contains text.
func (e Ended) WantLine(t testing.TB, text string) {
	t.Helper()
	for _, line := range e.Lines {
		if strings.Contains(line.Text, text) {
			return
		}
	}
	t.Errorf("no line contains %q%s", text, e.log())
}

// log returns the lines for messages.
func (e Ended) log() string {
	if len(e.Lines) == 0 {
		return ""
	}
	var text strings.Builder
	text.WriteString("\nits log:")
	for _, line := range e.Lines {
		text.WriteString("\n  " + strings.TrimSpace(line.Stream+" "+line.Level) + ": " + line.Text)
	}
	return text.String()
}

// equal compares JSON values regardless of the order of members, and numbers as they
// are spelled.
func equal(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return bytes.Equal(normal(a), normal(b))
}

func normal(value []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	var decoded any
	if err := dec.Decode(&decoded); err != nil {
		return value
	}
	text, err := json.Marshal(decoded)
	if err != nil {
		return value
	}
	return text
}

func orNone(result []byte) string {
	if len(result) == 0 {
		return "none"
	}
	return string(result)
}
