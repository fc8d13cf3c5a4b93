package manager

import (
	"context"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
)

// finished returns the report of an ended run with a partial result.
func (m *Manager) finished(partial string) *report {
	r := m.telemetry.report(ledger.Work{Attempt: 1}, tasker.LogTotals{}, m.log)
	r.Partial(handlers.Result(`"` + partial + `"`))
	r.close(true)
	return r
}

func (r *report) done() bool {
	select {
	case <-r.flushed:
		return true
	default:
		return false
	}
}

// If runs end faster than a slow database stores their reports, those that wait stay
// bounded: the oldest are dropped.
func TestReportsThatWaitAreBounded(t *testing.T) {
	m := idle(t, handlers.Func(nil))
	const each = 256 << 10
	const runs = 2 * maxEndedSize / each
	reports := make([]*report, runs)
	for i := range reports {
		reports[i] = m.finished(strings.Repeat("x", each))
	}
	size := 0
	for _, w := range m.telemetry.waiting {
		_, n := w.report.take()
		size += n
	}
	if size > maxEndedSize || size < maxEndedSize/2 {
		t.Errorf("%d bytes wait, want at most %d", size, maxEndedSize)
	}
	if !reports[0].done() || reports[runs-1].done() {
		t.Error("dropped another than the oldest")
	}
}

// A report that comes after the end does not block.
func TestReportsAfterTheEnd(t *testing.T) {
	m := idle(t, handlers.Func(nil))
	ctx, cancel := context.WithCancel(t.Context())
	before := m.finished("hello")
	cancel()
	m.telemetry.run(ctx)
	if after := m.finished("hello"); !before.done() || !after.done() {
		t.Errorf("done: %v, %v", before.done(), after.done())
	}
	if n := len(m.telemetry.waiting); n != 0 {
		t.Errorf("%d wait", n)
	}
}
