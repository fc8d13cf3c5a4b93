package reconcile

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker"
)

func (f *faultyStore) PurgeTasks(ctx context.Context, taskType string, endedBefore time.Time, except []int64, limit int) (int, []int64,
	error,
) {
	if err := f.enter("PurgeTasks " + taskType); err != nil {
		return 0, nil, err
	}
	return f.Retention.PurgeTasks(ctx, taskType, endedBefore, except, limit)
}

func (f *faultyStore) PurgeResults(ctx context.Context, purgedBefore time.Time, limit int) (int, bool, error) {
	if err := f.enter("PurgeResults"); err != nil {
		return 0, false, err
	}
	return f.Retention.PurgeResults(ctx, purgedBefore, limit)
}

const hour = time.Hour

func (w *world) purge(retention map[string]time.Duration) *purge {
	p := newPurge(w, w, Config{Retention: retention}, w.log)
	p.pause = 0
	return p
}

// done makes a task of a type that is DONE now.
func (w *world) done(taskType, identifier string) tasker.Task {
	w.t.Helper()
	task, _, err := w.CreateTask(w.t.Context(), tasker.Task{Type: taskType, Identifier: identifier, Endpoints: []string{"console1"}})
	if err != nil {
		w.t.Fatal(err)
	}
	task = w.sent(task)
	w.receive(task, "console1")
	w.finish(task, tasker.ResultDone, "console1")
	if _, err := w.Statuses.Aggregate(w.t.Context(), []int64{task.ID}, wait); err != nil {
		w.t.Fatal(err)
	}
	return task
}

func (w *world) exists(task tasker.Task) bool {
	w.t.Helper()
	_, err := w.FindTask(w.t.Context(), task.Type, task.Identifier)
	if err != nil && tasker.CodeOf(err) != tasker.NotFound {
		w.t.Fatal(err)
	}
	return err == nil
}

// TestPurge deletes by the retention of each type, or by the default for types
// not configured; never tasks that have not ended.
func TestPurge(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	long, short, forever, unknown := w.done("long", "a"), w.done("short", "a"), w.done("forever", "a"), w.done("unknown", "a")
	running := w.send("running", "console1") // a worker
	w.receive(running, "console1")
	waiting, unsent := w.send("waiting", "console1"), w.create("unsent")
	p := w.purge(map[string]time.Duration{"long": 48 * hour, "short": hour, "forever": 0, "worker": hour})
	all := []tasker.Task{short, long, unknown, forever, running, waiting, unsent}
	for _, step := range []struct {
		advance time.Duration
		gone    int // of all, in their order
	}{
		{hour, 0}, {time.Microsecond, 1}, {47 * hour, 2}, {tasker.DefaultRetention - 48*hour - time.Microsecond, 2}, {
			time.Microsecond,
			3,
		}, {10 * 365 * 24 * hour, 3},
	} {
		w.clock.advance(step.advance)
		w.run(p.runOnce)
		for i, task := range all {
			if w.exists(task) != (i >= step.gone) {
				t.Errorf("at %s: the task %s/%s exists: %v", w.clock.Now(), task.Type, task.Identifier, w.exists(task))
			}
		}
	}
	if n := len(w.results(forever)) + len(w.results(running)); n != 2 {
		t.Errorf("%d results of tasks that are kept", n)
	}
}

// TestPurgeByANewRetention, set while the reconciler runs.
func TestPurgeByANewRetention(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	kept, task := w.done("kept", "a"), w.done("worker", "a")
	r := New(Config{Retention: map[string]time.Duration{"worker": 48 * hour, "kept": hour}}, w.parts(), w.broker, w.dispatcher(), w.log)
	r.SetRetention(map[string]time.Duration{"worker": hour, "kept": 48 * hour})
	w.clock.advance(2 * hour)
	w.run(r.elected[slices.IndexFunc(r.elected, func(l loop) bool { return l.name == "purge" })].runOnce)
	if w.exists(task) || !w.exists(kept) {
		t.Errorf("the task exists: %v, the one to be kept: %v", w.exists(task), w.exists(kept))
	}
}

// TestPurgeDelaysResults until nobody can be reading them.
func TestPurgeDelaysResults(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task := w.done("worker", "one")
	p := w.purge(map[string]time.Duration{"worker": hour})
	w.clock.advance(hour + time.Microsecond)
	w.run(p.runOnce)
	w.clock.advance(purgeDelay)
	w.run(p.runOnce)
	if len(w.results(task)) != 1 || w.exists(task) {
		t.Errorf("the task exists: %v, with %d results", w.exists(task), len(w.results(task)))
	}
	w.clock.advance(time.Microsecond)
	w.run(p.runOnce)
	if n := len(w.results(task)); n != 0 {
		t.Errorf("%d results are left", n)
	}
}

// TestPurgeInBatches deletes more than one batch, by two processes at once.
func TestPurgeInBatches(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	const batch, count = 20, 50
	for i := range count {
		w.done("worker", fmt.Sprint("t", i))
	}
	w.clock.advance(hour + time.Microsecond)
	purgeBoth := func() {
		t.Helper()
		var group errgroup.Group
		for range 2 {
			p := w.purge(map[string]time.Duration{"worker": hour})
			p.batch = batch
			group.Go(func() error { return p.runOnce(t.Context()) })
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	purgeBoth()
	w.clock.advance(purgeDelay + time.Microsecond)
	purgeBoth()
	for name, n := range w.count("tasks", "task_results", "purged_tasks") {
		if n != 0 {
			t.Errorf("%s has %d rows", name, n)
		}
	}
	if n := w.called("PurgeTasks worker"); n < 3 {
		t.Errorf("%d batches", n)
	}
}

func (w *world) count(names ...string) map[string]int64 {
	w.t.Helper()
	tables, err := w.Tables(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	rows := map[string]int64{}
	for _, table := range tables {
		rows[table.Name] = table.Rows
	}
	counted := map[string]int64{}
	for _, name := range names {
		counted[name] = rows[name]
	}
	return counted
}

// TestPurgeDies between the two steps, or in the second one: the next run, in
// any process, continues.
func TestPurgeDies(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task := w.done("worker", "one")
	p := w.purge(map[string]time.Duration{"worker": hour})
	w.clock.advance(hour + time.Microsecond)
	w.fail("PurgeResults", true)
	if err := p.runOnce(t.Context()); !errors.Is(err, errAway) {
		t.Fatalf("got %v", err)
	}
	if w.exists(task) || len(w.results(task)) != 1 {
		t.Fatalf("the task exists: %v, with %d results", w.exists(task), len(w.results(task)))
	}
	w.fail("PurgeResults", false)
	w.clock.advance(purgeDelay + time.Microsecond)
	w.run(w.purge(nil).runOnce)
	if n := len(w.results(task)); n != 0 {
		t.Errorf("%d results are left", n)
	}
}

// TestPurgeOneTypeFails: the other types do not wait for it.
func TestPurgeOneTypeFails(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	bad, good := w.done("bad", "a"), w.done("good", "a")
	w.clock.advance(tasker.DefaultRetention + time.Microsecond)
	w.fail("PurgeTasks bad", true)
	if err := w.purge(nil).runOnce(t.Context()); !errors.Is(err, errAway) || !strings.Contains(err.Error(), "bad") {
		t.Errorf("got %v", err)
	}
	if !w.exists(bad) || w.exists(good) {
		t.Errorf("bad exists: %v, good exists: %v", w.exists(bad), w.exists(good))
	}
}

// TestPurgeUnfinished keeps a task in an impossible state, and logs it once.
func TestPurgeUnfinished(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	broken, whole := w.done("worker", "broken"), w.done("worker", "whole")
	db, err := sql.Open("sqlite", "/"+strings.TrimPrefix(w.Name(), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), "UPDATE task_results SET state = 'RUNNING' WHERE task_id = ?", broken.ID); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	p := w.purge(nil)
	p.log = slog.New(slog.NewTextHandler(&log, nil))
	w.clock.advance(tasker.DefaultRetention + time.Microsecond)
	w.run(p.runOnce)
	w.run(p.runOnce)
	if !w.exists(broken) || w.exists(whole) {
		t.Errorf("broken exists: %v, whole exists: %v", w.exists(broken), w.exists(whole))
	}
	if n := strings.Count(log.String(), "task not deleted"); n != 1 {
		t.Errorf("it is logged %d times:\n%s", n, log.String())
	}
}
