package manager

import (
	"context"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
)

// finished is the report of a run that told so much and is over.
func (m *Manager) finished(told string) *report {
	r := newReport(m, ledger.Work{Attempt: 1}, tasker.LogTotals{}, m.log)
	r.Partial(handlers.Result(`"` + told + `"`))
	r.close(true)
	return r
}

func (r *report) given() bool {
	select {
	case <-r.flushed:
		return true
	default:
		return false
	}
}

// Runs end faster than what they told is stored, by a database that is not so
// slow that it counts as away: what waits stays bounded, the oldest is given up.
func TestReportsThatWaitAreBounded(t *testing.T) {
	m := idle(t, handlers.Func(nil))
	const each = 256 << 10
	const runs = 2 * maxOverSize / each
	reports := make([]*report, runs)
	for i := range reports {
		reports[i] = m.finished(strings.Repeat("x", each))
	}
	size := 0
	for _, w := range m.flusher.waiting {
		_, n := w.report.take()
		size += n
	}
	if size > maxOverSize || size < maxOverSize/2 {
		t.Errorf("%d bytes wait, the limit is %d", size, maxOverSize)
	}
	if !reports[0].given() || reports[runs-1].given() {
		t.Error("it was not the oldest that was given up")
	}
}

// A report that comes when nobody stores any more keeps nobody waiting.
func TestReportsAfterTheEnd(t *testing.T) {
	m := idle(t, handlers.Func(nil))
	ctx, cancel := context.WithCancel(t.Context())
	before := m.finished("hello")
	cancel()
	m.flusher.run(ctx)
	if after := m.finished("hello"); !before.given() || !after.given() {
		t.Errorf("given: %v, %v", before.given(), after.given())
	}
	if n := len(m.flusher.waiting); n != 0 {
		t.Errorf("%d wait", n)
	}
}
