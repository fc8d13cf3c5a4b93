package manager

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/livefeed"
	"github.com/taskerhq/tasker/internal/x/signal"
)

const (
	// firstFlush is the time from a run's first report to its being stored, and
	// flushPause the minimum time between two writes for one run.
	firstFlush, flushPause = 200 * time.Millisecond, time.Second
	// flushSize is roughly how much one write stores.
	flushSize = 1 << 20
	// maxEnded bounds the ended runs whose reports wait while the database is
	// unavailable or slow; beyond it the oldest are dropped.
	maxEnded = 64
	// maxEndedSize bounds the size of those reports at any time, and
	// reportOverhead is roughly what each takes besides its content.
	maxEndedSize, reportOverhead = 32 << 20, 4 << 10
	// flushTimeout is how long the end of an attempt waits for its last report.
	flushTimeout = 2 * time.Second
	// liveTries is how often an update may fail alone, while other statements
	// succeed, before its large parts are dropped.
	liveTries = 3
)

// storeReports is the operation of telemetry, for the log.
const storeReports = "store progress, logs and partial results"

// telemetry stores the progress, the log lines and the partial results of all
// runs, in common batches.
type telemetry struct {
	live      Live
	clock     Database
	db        *database
	events    *livefeed.Feed
	maxResult int
	wake      signal.Signal

	mu      sync.Mutex
	waiting []flush
	ended   int       // the number of ended runs in waiting
	size    int       // and roughly their size
	since   time.Time // when the current write began; zero if there is none
	closed  bool      // nothing is stored any more
}

// flush is a report that waits to be stored.
type flush struct {
	report *report
	due    time.Time
	ended  bool
	size   int // if ended
}

func newTelemetry(live Live, clock Database, db *database, events *livefeed.Feed, maxResult int) *telemetry {
	return &telemetry{live: live, clock: clock, db: db, events: events, maxResult: maxResult, wake: signal.New()}
}

// report returns the report of a run, which continues the log of the attempt's
// earlier steps.
func (t *telemetry) report(work ledger.Work, earlier tasker.LogTotals, log *slog.Logger) *report {
	return &report{
		sink: t, now: t.clock.Now, maxResult: t.maxResult,
		work: work, log: log, earlier: earlier, flushed: make(chan struct{}),
	}
}

// enqueue schedules a report that has something to store, and of which something
// was last taken at a time, or never if that is zero.
func (t *telemetry) enqueue(r *report, taken time.Time) {
	due := time.Now().Add(firstFlush)
	if next := taken.Add(flushPause); next.After(due) {
		due = next
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.waiting = append(t.waiting, flush{report: r, due: due})
	t.wake.Raise()
}

// enqueueLast schedules the rest of a report whose run has ended, of about the
// given size.
func (t *telemetry) enqueueLast(r *report, size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		close(r.flushed)
		return
	}
	t.waiting = slices.DeleteFunc(t.waiting, func(w flush) bool { return w.report == r })
	t.waiting = append(t.waiting, flush{report: r, due: time.Now(), ended: true, size: size + reportOverhead})
	t.ended++
	t.size += size + reportOverhead
	for t.ended > 1 && t.size > maxEndedSize || t.ended > maxEnded && t.stuck() {
		oldest := slices.IndexFunc(t.waiting, func(w flush) bool { return w.ended })
		t.uncount(t.waiting[oldest])
		close(t.waiting[oldest].report.flushed)
		t.waiting = slices.Delete(t.waiting, oldest, oldest+1)
	}
	t.wake.Raise()
}

// uncount accounts for a flush that no longer waits. The caller holds the lock.
func (t *telemetry) uncount(w flush) {
	if w.ended {
		t.ended--
		t.size -= w.size
	}
}

// run stores reports until ctx ends.
func (t *telemetry) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		due, next := t.due()
		if len(due) > 0 {
			t.write(ctx, due)
			continue
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-t.wake:
		case <-ctx.Done():
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.waiting {
		if w.ended {
			close(w.report.flushed)
		}
	}
	t.waiting, t.closed = nil, true
}

// due returns up to [batchSize] of the reports that are due, ended runs first, or
// else the time until the next one is.
func (t *telemetry) due() (due []flush, next time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.waiting, func(a, b flush) int {
		if a.ended != b.ended {
			if a.ended {
				return -1
			}
			return 1
		}
		return a.due.Compare(b.due)
	})
	now := time.Now()
	n := 0
	for n < len(t.waiting) && n < batchSize && !t.waiting[n].due.After(now) {
		t.uncount(t.waiting[n])
		n++
	}
	if n == 0 {
		if len(t.waiting) == 0 {
			return nil, time.Hour
		}
		return nil, t.waiting[0].due.Sub(now)
	}
	due = slices.Clone(t.waiting[:n])
	t.waiting = slices.Delete(t.waiting, 0, n)
	return due, 0
}

// write stores the content of reports, in parts of about [flushSize].
func (t *telemetry) write(ctx context.Context, due []flush) {
	var updates []ledger.LiveUpdate
	var reports []*report
	total := 0
	save := func() {
		t.save(ctx, updates, reports)
		updates, reports, total = nil, nil, 0
	}
	for _, w := range due {
		update, size := w.report.take()
		if total > 0 && total+size > flushSize {
			save()
		}
		if size > 0 {
			updates, reports = append(updates, update), append(reports, w.report)
			total += size
		}
	}
	save()
	for _, w := range due {
		if w.ended {
			close(w.report.flushed)
		}
	}
}

// save stores updates, however long the database is unavailable, or until ctx
// ends. It drops what the database does not accept.
func (t *telemetry) save(ctx context.Context, updates []ledger.LiveUpdate, reports []*report) {
	if len(updates) == 0 {
		return
	}
	t.setWriting(time.Now())
	defer t.setWriting(time.Time{})
	results, err := writeBatch(ctx, t.db, storeReports, liveTries, updates, t.saveAll)
	if err != nil {
		return
	}
	for i, update := range updates {
		err := results[i].err
		for err != nil && !isRefusal(err) {
			// The database may be available again: then all of it is stored.
			if err = t.saveOnce(ctx, update); err == nil || t.saveSmall(ctx, update) {
				break
			}
			once, ended := writeBatch(ctx, t.db, storeReports, liveTries, updates[i:i+1], t.saveAll)
			if ended != nil {
				return
			}
			err = once[0].err
		}
		r := reports[i]
		if err != nil {
			r.log.WarnContext(ctx, "telemetry dropped: it was refused", "err", err)
			continue
		}
		change := livefeed.ChangeOf(&r.work.Task, update.Endpoint, update.Attempt, "")
		change.Progress, change.Log = update.Progress, len(update.Lines) > 0 || update.Totals.Complete && update.Totals.Lines > 0
		t.events.Add(change)
	}
}

// saveSmall stores the small parts of an update and reports whether that works:
// then the database does not accept the rest.
func (t *telemetry) saveSmall(ctx context.Context, update ledger.LiveUpdate) bool {
	update.Partial, update.Lines = nil, nil
	return t.saveOnce(ctx, update) == nil
}

func (t *telemetry) saveOnce(ctx context.Context, update ledger.LiveUpdate) error {
	return call(ctx, func(ctx context.Context) error { return t.live.SaveLive(ctx, []ledger.LiveUpdate{update}) })
}

func (t *telemetry) saveAll(ctx context.Context, updates []ledger.LiveUpdate) ([]struct{}, error) {
	return make([]struct{}, len(updates)), t.live.SaveLive(ctx, updates)
}

func (t *telemetry) setWriting(since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since = since
}

// stuck reports whether the database is known to be unavailable or slow. The
// caller holds the lock.
func (t *telemetry) stuck() bool {
	return t.db.down.Load() || !t.since.IsZero() && time.Since(t.since) > flushTimeout
}

// await waits for a short time until the rest of a report is stored, and not at
// all if the database is known to be unavailable or slow.
func (t *telemetry) await(r *report) {
	select {
	case <-r.flushed:
		return
	default:
	}
	t.mu.Lock()
	stuck := t.stuck()
	t.mu.Unlock()
	if stuck {
		return
	}
	limit := time.NewTimer(flushTimeout)
	defer limit.Stop()
	select {
	case <-r.flushed:
	case <-limit.C:
	}
}
