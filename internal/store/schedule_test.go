package store_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// later creates a task that starts in a minute.
func (f fixture) later(t *testing.T, identifier string, change func(*tasker.Task)) tasker.Task {
	t.Helper()
	given := tasker.Task{
		Type: "worker", Identifier: identifier, Payload: []byte(`{"foo":"bar"}`), Status: tasker.Scheduled, Start: tasker.Start{In: time.Minute},
	}
	if change != nil {
		change(&given)
	}
	task, created, err := f.Tasks.CreateTask(t.Context(), given)
	if err != nil || !created {
		t.Fatalf("CreateTask: created %v, %v", created, err)
	}
	return task
}

func listing(endpoints ...string) func(*tasker.Task) {
	return func(t *tasker.Task) { t.Endpoints = endpoints }
}

func selecting(t *tasker.Task) {
	t.Select, t.Limit, t.Expect, t.Plan = []string{"role=web"}, "50%", &tasker.Expect{Min: new(1)}, "sha256:12"
}

// startDue starts what is due, and returns the identifiers.
func (f fixture) startDue(t *testing.T) (started, choosing []tasker.Task, names string) {
	t.Helper()
	started, choosing, err := f.Schedule.StartDue(t.Context(), 10, lease)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, task := range append(slices.Clone(started), choosing...) {
		list = append(list, task.Identifier)
	}
	return started, choosing, strings.Join(list, " ")
}

func (f fixture) named(t *testing.T, identifier string) tasker.Task {
	t.Helper()
	task, err := f.Tasks.FindTask(t.Context(), "worker", identifier)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// A task that is to start later is for nobody until then, and is for whoever is
// registered when it starts.
func TestSchedule(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		if _, ok, err := f.Schedule.NextStart(t.Context()); ok || err != nil {
			t.Fatalf("a start of nothing: %t, %v", ok, err)
		}
		f.acquire(t, managerA, "a")
		all, listed := f.later(t, "all", nil), f.later(t, "listed", listing("a", "c"))
		now := f.Now()
		for _, task := range []tasker.Task{all, listed, f.named(t, "all")} {
			if task.Status != tasker.Scheduled || !task.StartTime.Equal(now.Add(time.Minute)) || task.AcceptedTime == nil ||
				!task.AcceptedTime.Equal(now) || len(task.Expected) > 0 || len(targetsOf(t, f, task.ID)) > 0 {
				t.Errorf("scheduled %+v", task)
			}
		}
		next, ok, err := f.Schedule.NextStart(t.Context())
		if err != nil || !ok || !next.Equal(all.StartTime) {
			t.Errorf("the next start is at %s, %t, %v", next, ok, err)
		}
		if unsent, err := f.Outbox.ClaimUnsent(t.Context(), 10, lease); err != nil || len(unsent) > 0 {
			t.Errorf("the relay sends %+v, %v", unsent, err)
		}
		f.clock.advance(time.Minute - time.Microsecond)
		if _, _, names := f.startDue(t); names != "" {
			t.Errorf("%s started too early", names)
		}
		f.acquire(t, managerA, "b")
		f.clock.advance(time.Microsecond)
		started, _, names := f.startDue(t)
		if names != "all listed" {
			t.Fatalf("%s started", names)
		}
		for i, want := range [][]string{{"a", "b"}, {"a", "c"}} {
			task := started[i]
			if task.Status != tasker.Created || string(task.Payload) != `{"foo":"bar"}` || !slices.Equal(targetsOf(t, f, task.ID), want) {
				t.Errorf("%+v, targets %v", task, targetsOf(t, f, task.ID))
			}
			stored := f.named(t, task.Identifier)
			if stored.Status != tasker.Created || !slices.Equal(stored.Expected, want) || !stored.StartTime.Equal(next) {
				t.Errorf("stored %+v", stored)
			}
			// What the task lists comes back as it was given.
			if diff := cmp.Diff(stored.Endpoints, task.Endpoints); diff != "" {
				t.Error(diff)
			}
		}
		if _, _, names := f.startDue(t); names != "" {
			t.Errorf("%s started twice", names)
		}
		// The process that started them dies: the relay of another one sends them.
		if unsent, err := f.Outbox.ClaimUnsent(t.Context(), 10, lease); err != nil || len(unsent) > 0 {
			t.Errorf("the relay sends %+v at once, %v", unsent, err)
		}
		f.clock.advance(time.Minute)
		unsent, err := f.Outbox.ClaimUnsent(t.Context(), 10, lease)
		if err != nil || len(unsent) != 2 || unsent[0].Attempt != 2 {
			t.Errorf("the relay sends %+v, %v", unsent, err)
		}
		sent, err := f.Outbox.MarkSent(t.Context(), unsent[0].Task, nil)
		if err != nil || sent.Status != tasker.Sent {
			t.Errorf("sent %+v, %v", sent, err)
		}
	})
}

// What was asked for makes a request the same, not the time that follows from it.
func TestScheduleIsPartOfTheRequest(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		first := f.later(t, "a", nil)
		f.clock.advance(time.Hour)
		given := tasker.Task{Type: "worker", Identifier: "a", Payload: []byte(`{"foo":"bar"}`), Start: tasker.Start{In: time.Minute}}
		for _, status := range []tasker.TaskStatus{tasker.Scheduled, ""} {
			given.Status = status
			same, created, err := f.Tasks.CreateTask(t.Context(), given)
			if err != nil || created || same.ID != first.ID || !same.StartTime.Equal(first.StartTime) {
				t.Errorf("again: %+v, created %t, %v", same, created, err)
			}
			if _, found, err := f.Tasks.SameTask(t.Context(), given); !found || err != nil {
				t.Errorf("again: found %t, %v", found, err)
			}
		}
		for _, start := range []tasker.Start{{}, {In: time.Hour}, {At: first.StartTime}} {
			given.Start = start
			if _, _, err := f.Tasks.CreateTask(t.Context(), given); tasker.CodeOf(err) != tasker.Conflict {
				t.Errorf("%s: %v", start, err)
			}
		}
		// One that starts in time passed is stored as it was judged.
		past := f.later(t, "past", func(t *tasker.Task) { t.Status, t.Start = "", tasker.Start{At: first.StartTime} })
		if past.Status != tasker.Created || past.AcceptedTime != nil || !past.StartTime.Equal(f.Now()) {
			t.Errorf("in the past: %+v", past)
		}
	})
}

// The endpoints of a task with selectors are chosen by the process that has claimed
// it, and by another one if that dies.
func TestScheduleChoice(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		f.later(t, "chosen", selecting)
		f.later(t, "counted", func(t *tasker.Task) { t.Expect = &tasker.Expect{Max: new(2)} })
		f.later(t, "refused", selecting)
		f.clock.advance(time.Minute)
		started, choosing, names := f.startDue(t)
		if len(started) > 0 || names != "chosen counted refused" || choosing[0].Status != tasker.Scheduled ||
			choosing[0].Plan != "sha256:12" || *choosing[0].Expect.Min != 1 || choosing[0].Limit != "50%" || choosing[0].Chosen != nil {
			t.Fatalf("started %v, choosing %+v", started, choosing)
		}
		if _, _, names := f.startDue(t); names != "" {
			t.Errorf("%s claimed twice", names)
		}
		f.clock.advance(lease)
		if _, _, again := f.startDue(t); again != names {
			t.Errorf("%s claimed after the end of the process that chose", again)
		}

		chosen, ok, err := f.Schedule.StartChosen(t.Context(), choosing[0], []string{"b"}, 2)
		if err != nil || !ok || chosen.Status != tasker.Created || !slices.Equal(chosen.Endpoints, []string{"b"}) || *chosen.Chosen != 2 {
			t.Errorf("chosen: %+v, %t, %v", chosen, ok, err)
		}
		if got := f.named(t, "chosen"); !slices.Equal(got.Endpoints, []string{"b"}) || *got.Chosen != 2 || got.Plan != "sha256:12" ||
			!slices.Equal(got.Expected, []string{"b"}) || !slices.Equal(got.Select, []string{"role=web"}) {
			t.Errorf("chosen: stored %+v", got)
		}
		counted, ok, err := f.Schedule.StartChosen(t.Context(), choosing[1], nil, 2)
		if err != nil || !ok || counted.Endpoints != nil || !slices.Equal(targetsOf(t, f, counted.ID), []string{"a", "b"}) {
			t.Errorf("counted: %+v, %t, %v", counted, ok, err)
		}
		for _, endpoints := range [][]string{nil, {"a"}} {
			if _, ok, err := f.Schedule.StartChosen(t.Context(), choosing[0], endpoints, 1); ok || err != nil {
				t.Errorf("started twice: %t, %v", ok, err)
			}
		}

		reason := strings.Repeat("ü", 2000)
		if ok, err := f.Schedule.FailScheduled(t.Context(), choosing[2], reason); !ok || err != nil {
			t.Errorf("failed: %t, %v", ok, err)
		}
		failed := f.named(t, "refused")
		if failed.Status != tasker.Failed || failed.Errmsg != reason[:1024] || len(failed.Expected) > 0 {
			t.Errorf("failed: stored %.200v, %d bytes of errmsg", failed, len(failed.Errmsg))
		}
		for i := range choosing {
			if ok, err := f.Schedule.FailScheduled(t.Context(), choosing[i], "late"); ok || err != nil {
				t.Errorf("%s failed again: %t, %v", choosing[i].Identifier, ok, err)
			}
		}
		if _, ok, err := f.Schedule.NextStart(t.Context()); ok || err != nil {
			t.Errorf("one is still to be started: %t, %v", ok, err)
		}
	})
}

func TestReschedule(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.later(t, "a", nil)
		move := func(identifier string, start tasker.Start) (tasker.Task, error) {
			return f.Tasks.Reschedule(t.Context(), "worker", identifier, start)
		}
		if _, err := move("b", tasker.Start{In: time.Hour}); tasker.CodeOf(err) != tasker.NotFound {
			t.Errorf("of no task: %v", err)
		}
		f.clock.advance(time.Second)
		moved, err := move("a", tasker.Start{In: time.Hour})
		if want := f.Now().Add(time.Hour); err != nil || !moved.StartTime.Equal(want) || !moved.LastModifiedTime.Equal(f.Now()) ||
			moved.Status != tasker.Scheduled {
			t.Fatalf("moved to %+v, %v, want %s", moved, err, want)
		}
		f.clock.advance(time.Minute)
		if _, _, names := f.startDue(t); names != "" {
			t.Errorf("%s started at its old time", names)
		}
		if moved, err = move("a", tasker.Start{At: f.Now().Add(-time.Hour)}); err != nil || !moved.StartTime.Equal(f.Now()) {
			t.Fatalf("moved into the past: %+v, %v", moved, err)
		}
		if _, _, names := f.startDue(t); names != "a" {
			t.Errorf("%q started", names)
		}
		if _, err := move("a", tasker.Start{In: time.Hour}); tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), "CREATED") {
			t.Errorf("of a started task: %v", err)
		}

		// A change of the time during the choice counts.
		f.later(t, "chosen", selecting)
		f.clock.advance(time.Minute)
		_, choosing, _ := f.startDue(t)
		if _, err := move("chosen", tasker.Start{In: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := f.Schedule.StartChosen(t.Context(), choosing[0], []string{"a"}, 1); ok || err != nil {
			t.Errorf("started although it was moved: %t, %v", ok, err)
		}
		if ok, err := f.Schedule.FailScheduled(t.Context(), choosing[0], "late"); ok || err != nil {
			t.Errorf("failed although it was moved: %t, %v", ok, err)
		}
	})
}

// No endpoint gets a task before its time, whatever message it has.
func TestScheduledIsNotReceived(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		for i, task := range []tasker.Task{f.later(t, "all", nil), f.later(t, "listed", listing("a")), f.later(t, "chosen", selecting)} {
			got := f.receive(t, managerA, incoming(task, "a", tasker.Running))
			if got[0].Outcome != ledger.Refused || !strings.Contains(got[0].Reason, "starts at") || len(targetsOf(t, f, task.ID)) > 0 {
				t.Errorf("%d: %+v", i, got)
			}
		}
		if tasks, _, err := f.Inbox.UnreceivedTasks(t.Context(), "a", []string{"worker"}, time.Time{}, ledger.SentPosition{}, 10); err != nil || len(tasks) > 0 {
			t.Errorf("the endpoint finds %+v, %v", tasks, err)
		}
	})
}

// Of several processes one starts a task.
func TestStartDueTogether(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		const tasks = 60
		for i := range tasks {
			f.later(t, fmt.Sprint("t", i), nil)
		}
		f.clock.advance(time.Minute)
		var mu sync.Mutex
		times := map[string]int{}
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for {
					started, _, err := f.Schedule.StartDue(t.Context(), 7, lease)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for _, task := range started {
						times[task.Identifier]++
					}
					done := len(times) == tasks
					mu.Unlock()
					if done {
						return
					}
				}
			})
		}
		group.Wait()
		for identifier, n := range times {
			if n != 1 {
				t.Errorf("%s was started %d times", identifier, n)
			}
		}
	})
}
