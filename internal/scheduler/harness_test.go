package scheduler

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const manager = "01AAAAAAAAAAAAAAAAAAAAAAAA"

// fakeClock is a clock that a test moves.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fakeTasks makes tasks of type worker, unless it is told to fail.
type fakeTasks struct {
	mu  sync.Mutex
	err error
}

func (f *fakeTasks) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeTasks) ScheduledTask(_ context.Context, body json.RawMessage) (tasker.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return tasker.Task{Type: "worker", Payload: body, Status: tasker.Scheduled}, f.err
}

// fakeStarter remembers when tasks are due.
type fakeStarter struct {
	mu     sync.Mutex
	starts []time.Time
}

func (f *fakeStarter) Expect(start time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts = append(f.starts, start)
}

// fakeCanceler cancels in the database, without telling anybody.
type fakeCanceler struct{ store *store.Store }

func (f fakeCanceler) Cancel(ctx context.Context, request tasker.CancelRequest) (tasker.CancelOutcome, error) {
	return f.store.Cancels.CancelTask(ctx, request)
}

// scheduleStore is the store that a Scheduler uses.
type scheduleStore struct {
	store.Schedules
}

// world is what a Scheduler works with.
type world struct {
	t     *testing.T
	clock *fakeClock
	store *store.Store
	tasks *fakeTasks
	start *fakeStarter
	log   *slog.Logger
}

// began is when the clock begins.
var began = time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC)

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	c := &fakeClock{now: began}
	s, err := store.Open(store.Config{URI: "sqlite://" + filepath.Join(t.TempDir(), "tasker.db")}, log, store.WithClock(c.Now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, _, err := s.Schema.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &world{t: t, clock: c, store: s, tasks: &fakeTasks{}, start: &fakeStarter{}, log: log}
}

// scheduler returns another process.
func (w *world) scheduler() *Scheduler { return w.schedulerWith(scheduleStore{w.store.Schedules}) }

func (w *world) schedulerWith(s Store) *Scheduler {
	return New(Config{Store: s, Tasks: w.tasks, Starter: w.start, Canceler: fakeCanceler{w.store}, Log: w.log})
}

// put stores a schedule that fires every so often, unless change says otherwise.
func (w *world) put(name, every string, change func(*tasker.ScheduleDefinition)) tasker.Schedule {
	w.t.Helper()
	d := tasker.ScheduleDefinition{
		Every: every, TimeZone: "UTC", CatchUp: "1h0m0s", Missed: tasker.MissedLast, Overlap: tasker.OverlapAllow, Task: []byte(`{"type":"worker"}`),
	}
	if change != nil {
		change(&d)
	}
	schedule, _, err := w.store.Schedules.PutSchedule(w.t.Context(), ledger.SchedulePut{
		Name: name, Definition: d, By: "me", Next: func(created, now time.Time) time.Time {
			table, err := TableOf(tasker.Schedule{Name: name, Definition: d, CreatedTime: created})
			if err != nil {
				w.t.Error(err)
				return time.Time{}
			}
			return table.Next(now)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return schedule
}

func (w *world) schedule(name string) tasker.Schedule {
	w.t.Helper()
	schedule, err := w.store.Schedules.FindSchedule(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return schedule
}

// slots returns the slots of a schedule, oldest first.
func (w *world) slots(name string) []tasker.ScheduleSlot {
	w.t.Helper()
	slots, err := w.store.Schedules.ListSlots(w.t.Context(), w.schedule(name).ID, time.Time{}, 5000)
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Reverse(slots)
	return slots
}

// told returns what became of the slots, as minutes since the beginning.
func (w *world) told(name string) string {
	w.t.Helper()
	var list []string
	for _, slot := range w.slots(name) {
		list = append(list, slot.Time.Sub(began).Round(time.Second).String()+" "+string(slot.Outcome))
	}
	return strings.Join(list, ", ")
}

// want checks what became of the slots.
func (w *world) want(name, told string) {
	w.t.Helper()
	if got := w.told(name); got != told {
		w.t.Errorf("slots of %s:\n got %s\nwant %s", name, got, told)
	}
}

// run runs the loop once, which must succeed.
func (w *world) run(s *Scheduler) {
	w.t.Helper()
	if err := s.RunOnce(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// later advances the clock, and runs the loop once.
func (w *world) later(d time.Duration, s *Scheduler) {
	w.t.Helper()
	w.clock.advance(d)
	w.run(s)
}

// taskOf returns the task of the n-th slot.
func (w *world) taskOf(name string, n int) tasker.Task {
	w.t.Helper()
	task, err := w.store.Tasks.FindTask(w.t.Context(), "worker", w.slots(name)[n].Identifier)
	if err != nil {
		w.t.Fatal(err)
	}
	return task
}

// begin starts the tasks that are due, at endpoint a, which runs them.
func (w *world) begin() {
	w.t.Helper()
	ctx := w.t.Context()
	if _, err := w.store.Endpoints.AcquireEndpoint(ctx, tasker.Endpoint{Name: "a", Manager: manager, TaskTypes: []string{"worker"}}, time.Hour); err != nil {
		w.t.Fatal(err)
	}
	started, _, err := w.store.Schedule.StartDue(ctx, 100, time.Minute)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, task := range started {
		if task, err = w.store.Outbox.MarkSent(ctx, task, nil); err != nil {
			w.t.Fatal(err)
		}
		recorded, err := w.store.Inbox.ReceiveResults(ctx, []ledger.Incoming{{
			ResultKey:  tasker.ResultKey{TaskID: task.ID, Endpoint: "a"},
			Identifier: task.Identifier, Type: task.Type, State: tasker.Running, Manager: manager,
		}})
		if err != nil || recorded[0].Outcome != ledger.Recorded {
			w.t.Fatalf("%+v, %v", recorded, err)
		}
	}
}

// end ends the run of the n-th slot's task.
func (w *world) end(name string, n int, state tasker.ResultState) {
	w.t.Helper()
	task := w.taskOf(name, n)
	stored, err := w.store.Attempts.FinishAttempts(w.t.Context(), []ledger.End{
		{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Attempt: 1, State: state},
	})
	if err != nil || !stored[0] {
		w.t.Fatalf("the end is not stored: %v", err)
	}
	if _, err := w.store.Statuses.Aggregate(w.t.Context(), []int64{task.ID}, time.Minute); err != nil {
		w.t.Fatal(err)
	}
}
