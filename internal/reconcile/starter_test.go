package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/choice"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/wire"
)

func (w *world) starter() *starter {
	return newStarter(w, choice.Chooser{Endpoints: w, Clock: w}, w.dispatcher(), observe.Histogram{}, w.log)
}

// startDue runs the loop once, and waits for what it sends.
func (w *world) startDue(s *starter) {
	w.t.Helper()
	w.run(s.runOnce)
	s.wait()
}

// untilSent waits until tasks are sent: a busy machine may take longer than a
// dispatch waits.
func (w *world) untilSent(tasks ...tasker.Task) {
	w.t.Helper()
	w.until("tasks to be sent", func() bool {
		return !slices.ContainsFunc(tasks, func(task tasker.Task) bool { return w.stored(task).Status != tasker.Sent })
	})
}

// later creates a task that starts in a minute.
func (w *world) later(identifier string, change func(*tasker.Task)) tasker.Task {
	w.t.Helper()
	given := tasker.Task{
		Type: "worker", Identifier: identifier, Payload: []byte("1"), Status: tasker.Scheduled, Start: tasker.Start{In: time.Minute},
	}
	if change != nil {
		change(&given)
	}
	task, _, err := w.CreateTask(w.t.Context(), given)
	if err != nil {
		w.t.Fatal(err)
	}
	return task
}

// laterMany creates tasks that start in a minute.
func (w *world) laterMany(count int) []tasker.Task {
	w.t.Helper()
	tasks := make([]tasker.Task, count)
	for i := range tasks {
		tasks[i] = w.later(fmt.Sprint("t", i), nil)
	}
	return tasks
}

// published returns how often a task was published.
func (w *world) publishedTimes(task tasker.Task) int {
	w.broker.mu.Lock()
	defer w.broker.mu.Unlock()
	return w.broker.published[wire.MessageID(task.ID)]
}

// TestStarter sends tasks at their time, over several pages, and not before.
func TestStarter(t *testing.T) {
	w := newWorld(t)
	tasks := w.laterMany(2*startPage + 1)
	s := w.starter()
	w.startDue(s)
	w.expect(tasker.Scheduled, tasks...)
	w.clock.advance(time.Minute)
	w.startDue(s)
	w.untilSent(tasks...)
	w.clock.advance(grace)
	w.run(w.relay().runOnce)
	for _, task := range tasks {
		if n := w.publishedTimes(task); n != 1 {
			t.Errorf("task %s was published %d times", task.Identifier, n)
		}
	}
}

// TestTwoStarters share the work: each task is sent once.
func TestTwoStarters(t *testing.T) {
	w := newWorld(t)
	tasks := w.laterMany(startPage + 50)
	w.clock.advance(time.Minute)
	var group errgroup.Group
	for range 2 {
		s := w.starter()
		group.Go(func() error {
			defer s.wait()
			return s.runOnce(t.Context())
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	w.untilSent(tasks...)
	for _, task := range tasks {
		if n := w.publishedTimes(task); n != 1 {
			t.Errorf("%s was published %d times", task.Identifier, n)
		}
	}
}

// TestStarterCrash: the process died after it had started a task, before it sent
// it. The relay of another one sends it, which leaves it alone at first.
func TestStarterCrash(t *testing.T) {
	w := newWorld(t)
	task := w.later("one", nil)
	w.clock.advance(time.Minute)
	if started, _, err := w.StartDue(t.Context(), startPage, chooseLease); err != nil || len(started) != 1 {
		t.Fatalf("started %v, %v", started, err)
	}
	// Here it died.
	w.startDue(w.starter())
	w.run(w.relay().runOnce)
	w.expect(tasker.Created, task)
	w.clock.advance(grace)
	w.run(w.relay().runOnce)
	w.untilSent(task)
	if n := w.publishedTimes(task); n != 1 {
		t.Errorf("it was published %d times", n)
	}
}

// TestStarterWithoutBroker: a task that is due starts, and the relay sends it.
func TestStarterWithoutBroker(t *testing.T) {
	w := newWorld(t)
	task := w.later("one", nil)
	w.clock.advance(time.Minute)
	w.broker.setAway(true)
	w.startDue(w.starter())
	w.expect(tasker.Created, task)
	w.broker.setAway(false)
	w.run(w.relay().runOnce)
	w.untilSent(task)
}

// TestStarterChooses whom a task is for when it starts, with the labels as of then.
func TestStarterChooses(t *testing.T) {
	w := newWorld(t)
	selects := func(text string) func(*tasker.Task) { return func(t *tasker.Task) { t.Select = []string{text} } }
	w.label("a", "web")
	web := w.later("web", selects("role=web"))
	none := w.later("none", selects("role=db"))
	nobody := w.later("nobody", func(t *tasker.Task) { t.Select, t.Expect = []string{"role=db"}, &tasker.Expect{Min: new(0)} })
	few := w.later("few", func(t *tasker.Task) { t.Expect = &tasker.Expect{Min: new(5)} })
	many := w.later("many", func(t *tasker.Task) { t.Expect = &tasker.Expect{Max: new(1)} })
	fits := w.later("fits", func(t *tasker.Task) { t.Expect = &tasker.Expect{Min: new(3), Max: new(3)} })
	limited := w.later("limited", func(t *tasker.Task) { t.Limit = "1" })
	plan := func(names ...string) func(*tasker.Task) {
		return func(t *tasker.Task) { t.Plan = choice.Digest(t, names) }
	}
	planned, changed := w.later("planned", plan("a", "b", "c")), w.later("changed", plan("a"))
	w.label("a", "mail")
	w.label("b", "web")
	w.label("c", "web")
	w.clock.advance(time.Minute)
	w.startDue(w.starter())

	w.untilSent(web, nobody, fits, limited, planned)
	for _, test := range []struct {
		task      tasker.Task
		endpoints []string // nil for all
	}{{web, []string{"b", "c"}}, {nobody, []string{}}, {fits, nil}, {planned, nil}} {
		if got := w.stored(test.task); !slices.Equal(got.Endpoints, test.endpoints) || (got.Endpoints == nil) != (test.endpoints == nil) {
			t.Errorf("%s is for %v", got.Identifier, got.Endpoints)
		}
	}
	if got := w.stored(limited); len(got.Endpoints) != 1 || *got.Chosen != 3 {
		t.Errorf("limited: %+v", got)
	}
	w.expect(tasker.Failed, none, few, many, changed)
	for _, test := range []struct {
		task tasker.Task
		why  string
	}{
		{none, "not started: expected at least 1 endpoint, the selector chose 0"},
		{few, `not started: expected at least 5 endpoints, task type "worker" has 3`},
		{many, `not started: expected at most 1 endpoint, task type "worker" has 3`},
		{changed, "not started: task is not as planned: its endpoints are others by now"},
	} {
		if got := w.stored(test.task); got.Errmsg != test.why {
			t.Errorf("%s: errmsg %q, want %q", got.Identifier, got.Errmsg, test.why)
		}
		if n := w.publishedTimes(test.task); n != 0 {
			t.Errorf("%s was published", test.task.Identifier)
		}
	}
}

// TestStarterTopic: a task that may not start beside an older one of its topic has failed,
// and says why; one that supersedes it starts.
func TestStarterTopic(t *testing.T) {
	w := newWorld(t)
	topic := func(on tasker.OnConflict) func(*tasker.Task) {
		return func(t *tasker.Task) { t.Topic, t.OnConflict = "nightly", on }
	}
	w.label("a", "web")
	older, _, err := w.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: "older", Payload: []byte("1"), Topic: "nightly"})
	if err != nil {
		t.Fatal(err)
	}
	refused := w.later("refused", topic(tasker.ConflictRefuse))
	w.clock.advance(time.Minute)
	w.startDue(w.starter())
	w.expect(tasker.Failed, refused)
	if why := w.stored(refused).Errmsg; !strings.HasPrefix(why, `not started: topic "nightly" of task type "worker"`) ||
		!strings.Contains(why, `"older" is CREATED`) {
		t.Errorf("errmsg %q", why)
	}
	newer := w.later("newer", topic(tasker.ConflictSupersede))
	w.clock.advance(time.Minute)
	w.startDue(w.starter())
	w.untilSent(newer)
	w.expect(tasker.Canceled, older)
}

// TestStarterChoiceFails: endpoints that could not be read are read again, and the
// task starts later.
func TestStarterChoiceFails(t *testing.T) {
	w := newWorld(t)
	w.label("a", "web")
	task := w.later("web", func(t *tasker.Task) { t.Select = []string{"role=web"} })
	w.clock.advance(time.Minute)
	s := w.starter()
	s.chooser.Endpoints = awayEndpoints{}
	w.startDue(s)
	w.expect(tasker.Scheduled, task)
	w.startDue(w.starter())
	w.expect(tasker.Scheduled, task) // claimed
	w.clock.advance(chooseLease)
	w.startDue(w.starter())
	w.untilSent(task)
}

type awayEndpoints struct{}

func (awayEndpoints) ListEndpoints(context.Context, tasker.EndpointQuery) ([]tasker.Endpoint, error) {
	return nil, errAway
}

// label registers an endpoint with a role.
func (w *world) label(name, role string) {
	w.t.Helper()
	holder, err := w.AcquireEndpoint(w.t.Context(), tasker.Endpoint{
		Name: name, Manager: manager, TaskTypes: []string{"worker"}, Labels: map[string]string{"role": role}, Host: "host", PID: 1,
	}, time.Second)
	if err != nil || holder != nil {
		w.t.Fatalf("AcquireEndpoint: holder %v, %v", holder, err)
	}
}

// fakeSchedule is a schedule in memory, by the time of a bubble. Its tasks are
// started, not sent.
type fakeSchedule struct {
	Schedule
	Dispatcher
	mu      sync.Mutex
	due     map[string]time.Time
	started map[string]time.Time
	looks   int
	away    bool
}

func (f *fakeSchedule) add(name string, start time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.due[name] = start
}

// startOf returns when a task was started; zero if it was not.
func (f *fakeSchedule) startOf(name string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started[name]
}

// looked returns how often the loop has looked.
func (f *fakeSchedule) looked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looks
}

func (f *fakeSchedule) Now() time.Time { return time.Now() }

func (f *fakeSchedule) NextStart(context.Context) (next time.Time, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, start := range f.due {
		if !ok || start.Before(next) {
			next, ok = start, true
		}
	}
	return next, ok, nil
}

func (f *fakeSchedule) StartDue(context.Context, int, time.Duration) (started, choosing []tasker.Task, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.looks++; f.away {
		return nil, nil, errAway
	}
	for name, start := range f.due {
		if !start.After(time.Now()) {
			f.started[name] = time.Now()
			delete(f.due, name)
			started = append(started, tasker.Task{Identifier: name})
		}
	}
	return started, nil, nil
}

func (f *fakeSchedule) Dispatch(_ context.Context, task tasker.Task) (tasker.Task, error) {
	if strings.HasPrefix(task.Identifier, "unsent") {
		return task, broker.ErrNotConnected
	}
	return task, nil
}

// TestStarterIsOnTime sleeps until the next task is due, wakes for an earlier one,
// and finds within a second what other processes accepted.
func TestStarterIsOnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSchedule{due: map[string]time.Time{}, started: map[string]time.Time{}}
		log := slog.New(slog.DiscardHandler)
		s := newStarter(f, choice.Chooser{}, f, observe.Histogram{}, log)
		r := &Reconciler{starter: s, log: log}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var running sync.WaitGroup
		running.Go(func() {
			r.every(ctx, s.loop())
			s.wait()
		})
		began := time.Now()
		at := func(d time.Duration) time.Time { return began.Add(d) }
		synctest.Wait()
		own := func(name string, start time.Time) {
			f.add(name, start)
			r.Expect(start)
		}
		own("hour", at(time.Hour))
		own("soon", at(300*time.Millisecond))
		own("sooner", at(7*time.Millisecond))
		own("unsent", at(8*time.Millisecond))
		f.add("foreign", at(2*time.Second))
		f.add("sudden", at(10*time.Millisecond)) // another process accepted it, and died
		time.Sleep(time.Hour + time.Millisecond)
		for name, d := range map[string]time.Duration{
			"hour": time.Hour, "soon": 300 * time.Millisecond, "sooner": 7 * time.Millisecond, "unsent": 8 * time.Millisecond,
			"foreign": 2 * time.Second,
		} {
			if got := f.startOf(name); !got.Equal(at(d)) {
				t.Errorf("%s started after %s, want %s", name, got.Sub(began), d)
			}
		}
		if got := f.startOf("sudden").Sub(began); got < 10*time.Millisecond || got > 5*startPeriod/4 {
			t.Errorf("sudden started after %s", got)
		}
		if looks := f.looked(); looks > 2*int(time.Hour/startPeriod) {
			t.Errorf("the loop has looked %d times in an hour", looks)
		}

		// An outage is waited for.
		f.mu.Lock()
		f.away = true
		f.mu.Unlock()
		own("after", time.Now().Add(time.Millisecond))
		time.Sleep(time.Minute)
		f.mu.Lock()
		f.away = false
		f.mu.Unlock()
		time.Sleep(5 * startPeriod / 4)
		if f.startOf("after").IsZero() {
			t.Error("not started after an outage of the database")
		}
		stop()
		running.Wait()
	})
}

// TestStarterEndsItsWork: what was started when the process stops is still sent.
func TestStarterEndsItsWork(t *testing.T) {
	w := newWorld(t)
	tasks := w.laterMany(2 * maxSending)
	w.clock.advance(time.Minute)
	ctx, stop := context.WithCancel(t.Context())
	s := w.starter()
	r := &Reconciler{starter: s, log: w.log}
	l := s.loop()
	runOnce := l.runOnce
	l.runOnce = func(context.Context) error {
		stop()
		return runOnce(t.Context())
	}
	r.every(ctx, l)
	s.wait()
	w.untilSent(tasks...)
}
