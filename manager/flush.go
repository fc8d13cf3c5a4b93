package manager

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/ledger"
)

const (
	// flushFirst is how long after a run's first word it is stored, flushPause
	// what lies between two times afterwards.
	flushFirst, flushPause = 200 * time.Millisecond, time.Second
	// flushSize is about how much is stored at once.
	flushSize = 1 << 20
	// maxOver bounds the runs that are over and still wait to be stored: where
	// the database does not take what they told, the oldest are given up.
	maxOver = 64
	// maxOverSize bounds what they told, also where the database is only slower
	// than the runs, and overhead is about what each of them takes besides.
	maxOverSize, overhead = 32 << 20, 4 << 10
	// flushWait is how long the end of an attempt waits for what it told.
	flushWait = 2 * time.Second
)

// flusher stores what all runs tell, together.
type flusher struct {
	m    *Manager
	wake chan struct{}

	mu      sync.Mutex
	waiting []flush
	over    int       // of waiting: those whose run is over
	size    int       // and about what they take
	since   time.Time // when the present write began; zero where there is none
	ended   bool      // nothing is stored any more
}

// flush is a report that waits to be stored.
type flush struct {
	report *report
	due    time.Time
	over   bool
	size   int // of one that is over
}

func newFlusher(m *Manager) *flusher { return &flusher{m: m, wake: make(chan struct{}, 1)} }

// add takes a report that has something to be stored, of which something was
// taken before at a time; zero means never.
func (f *flusher) add(r *report, taken time.Time) {
	due := time.Now().Add(flushFirst)
	if again := taken.Add(flushPause); again.After(due) {
		due = again
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	f.waiting = append(f.waiting, flush{report: r, due: due})
	f.poke()
}

// hurry takes a report whose run is over: there is its last to be stored, of
// about that size.
func (f *flusher) hurry(r *report, size int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		close(r.flushed)
		return
	}
	f.waiting = slices.DeleteFunc(f.waiting, func(w flush) bool { return w.report == r })
	f.waiting = append(f.waiting, flush{report: r, due: time.Now(), over: true, size: size + overhead})
	f.over++
	f.size += size + overhead
	for f.over > 1 && f.size > maxOverSize || f.over > maxOver && f.stuck() {
		oldest := slices.IndexFunc(f.waiting, func(w flush) bool { return w.over })
		f.taken(f.waiting[oldest])
		close(f.waiting[oldest].report.flushed)
		f.waiting = slices.Delete(f.waiting, oldest, oldest+1)
	}
	f.poke()
}

// taken counts one that does not wait any more. The caller holds the lock.
func (f *flusher) taken(w flush) {
	if w.over {
		f.over--
		f.size -= w.size
	}
}

func (f *flusher) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run stores until ctx ends.
func (f *flusher) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		reports, next := f.due()
		if len(reports) > 0 {
			f.write(ctx, reports)
			continue
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-f.wake:
		case <-ctx.Done():
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.waiting {
		if w.over {
			close(w.report.flushed)
		}
	}
	f.waiting, f.ended = nil, true
}

// due gives up to 100 of the reports that are due, those first whose run is
// over, and otherwise the time until the next one is.
func (f *flusher) due() (reports []flush, next time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(f.waiting, func(a, b flush) int {
		if a.over != b.over {
			if a.over {
				return -1
			}
			return 1
		}
		return a.due.Compare(b.due)
	})
	now := time.Now()
	n := 0
	for n < len(f.waiting) && n < batchSize && !f.waiting[n].due.After(now) {
		f.taken(f.waiting[n])
		n++
	}
	if n == 0 {
		if len(f.waiting) == 0 {
			return nil, time.Hour
		}
		return nil, f.waiting[0].due.Sub(now)
	}
	reports = slices.Clone(f.waiting[:n])
	f.waiting = slices.Delete(f.waiting, 0, n)
	return reports, 0
}

// write stores what reports have, in parts of about [flushSize].
func (f *flusher) write(ctx context.Context, reports []flush) {
	var updates []ledger.LiveUpdate
	var part []*report
	total := 0
	save := func() {
		f.save(ctx, updates, part)
		updates, part, total = nil, nil, 0
	}
	for _, w := range reports {
		update, size := w.report.take()
		if total > 0 && total+size > flushSize {
			save()
		}
		if size > 0 {
			updates, part = append(updates, update), append(part, w.report)
			total += size
		}
	}
	save()
	for _, w := range reports {
		if w.over {
			close(w.report.flushed)
		}
	}
}

// liveTries is how often what a handler told may fail alone, while the database
// takes other statements, before the large parts of it are dropped.
const liveTries = 3

// save stores updates, however long the database is away, or until ctx ends.
// What the database does not take is dropped.
func (f *flusher) save(ctx context.Context, updates []ledger.LiveUpdate, reports []*report) {
	if len(updates) == 0 {
		return
	}
	f.begin(time.Now())
	defer f.begin(time.Time{})
	outcomes, err := inParts(ctx, f.m, storeLive, liveTries, updates, f.m.saveLive)
	if err != nil {
		return
	}
	for i, update := range updates {
		r := reports[i]
		err := outcomes[i].err
		for err != nil && !isRefusal(err) {
			// The database may have come back since: then all of it is stored.
			if err = f.saveOnce(ctx, update); err == nil || f.saveSmall(ctx, update) {
				break
			}
			again, ended := inParts(ctx, f.m, storeLive, liveTries, updates[i:i+1], f.m.saveLive)
			if ended != nil {
				return
			}
			err = again[0].err
		}
		if err != nil {
			r.log.WarnContext(ctx, "the database does not take what the handler told: that is lost", "err", err)
			continue
		}
		change := changed(&r.work.Task, update.Endpoint, update.Attempt, "")
		change.Progress, change.Log = update.Progress, len(update.Lines) > 0 || update.Totals.Complete && update.Totals.Lines > 0
		f.m.changes.add(change)
	}
}

// storeLive says what is stored.
const storeLive = "store what the handlers tell"

// saveSmall stores what is small of an update, and reports whether that works:
// then the rest is what the database does not take.
func (f *flusher) saveSmall(ctx context.Context, update ledger.LiveUpdate) bool {
	update.Partial, update.Lines = nil, nil
	return f.saveOnce(ctx, update) == nil
}

func (f *flusher) saveOnce(ctx context.Context, update ledger.LiveUpdate) error {
	return try(ctx, func(ctx context.Context) error { return f.m.store.SaveLive(ctx, []ledger.LiveUpdate{update}) })
}

// saveLive stores updates, for [inParts].
func (m *Manager) saveLive(ctx context.Context, updates []ledger.LiveUpdate) ([]struct{}, error) {
	return make([]struct{}, len(updates)), m.store.SaveLive(ctx, updates)
}

func (f *flusher) begin(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.since = at
}

// stuck tells whether the database is away, as far as is known, or slow. The
// caller holds the lock.
func (f *flusher) stuck() bool {
	return f.m.away.Load() || !f.since.IsZero() && time.Since(f.since) > flushWait
}

// await waits until the last of a report is stored: for a short time only, and
// not at all where the database is known to be away or slow.
func (f *flusher) await(r *report) {
	select {
	case <-r.flushed:
		return
	default:
	}
	f.mu.Lock()
	stuck := f.stuck()
	f.mu.Unlock()
	if stuck {
		return
	}
	limit := time.NewTimer(flushWait)
	defer limit.Stop()
	select {
	case <-r.flushed:
	case <-limit.C:
	}
}
