package store_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
)

// placed creates a task for so many endpoints of their own choice, and marks it as sent.
func (f fixture) placed(t *testing.T, identifier string, places tasker.Places, change func(*tasker.Task)) tasker.Task {
	t.Helper()
	given := tasker.Task{Type: "worker", Identifier: identifier, Payload: []byte("1"), Deliver: places}
	if change != nil {
		change(&given)
	}
	task, created, err := f.Tasks.CreateTask(t.Context(), given)
	if err == nil && created {
		task, err = f.Outbox.MarkSent(t.Context(), task, nil)
	}
	if err != nil || !created || task.Deliver != places || !slices.Equal(task.Endpoints, given.Endpoints) {
		t.Fatalf("created %v, %+v, %v", created, task, err)
	}
	return task
}

// take returns the identifiers of what an endpoint takes.
func (f fixture) take(t *testing.T, manager, endpoint string, limit int) string {
	t.Helper()
	tasks, err := f.Inbox.TakeTasks(t.Context(), manager, endpoint, "worker", limit)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, task := range tasks {
		if task.ID == 0 || task.Type != "worker" || task.StartTime.IsZero() {
			t.Errorf("took %+v", task)
		}
		list = append(list, task.Identifier)
	}
	return strings.Join(list, " ")
}

// wantTaken checks what endpoints take, each with room for two.
func (f fixture) wantTaken(t *testing.T, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range want {
			if !yield(name) {
				return
			}
		}
	}) {
		if got := f.take(t, managerA, name, 2); got != want[name] {
			t.Errorf("%s takes %q, want %q", name, got, want[name])
		}
	}
}

// wantPlaces checks who has a place of a task, and its summary.
func (f fixture) wantPlaces(t *testing.T, task tasker.Task, untaken, closed int, taken ...string) {
	t.Helper()
	got := f.find(t, task)
	if !slices.Equal(got.Expected, taken) || got.Untaken != untaken || got.Closed != closed {
		t.Errorf("%s: %v have a place, %d are untaken, %d closed; want %v, %d, %d", task.Identifier, got.Expected, got.Untaken,
			got.Closed, taken, untaken, closed)
	}
	s, err := f.Results.Summary(t.Context(), got, 10)
	if err != nil || s.Untaken != untaken || s.Closed != closed || s.Expected != len(taken)+untaken {
		t.Errorf("%s: %+v, %v", task.Identifier, s, err)
	}
}

func (f fixture) wantStatus(t *testing.T, task tasker.Task, want tasker.TaskStatus) {
	t.Helper()
	f.aggregate(t, task.ID)
	if got := f.find(t, task); got.Status != want {
		t.Errorf("%s is %s (%s), want %s", task.Identifier, got.Status, got.Errmsg, want)
	}
}

// So many endpoints as the task says take a place, and nobody else records it. The task
// ends when all of them have ended.
func TestPlaces(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		task := f.placed(t, "two", 2, nil)
		f.wantPlaces(t, task, 2, 0)
		if got := f.take(t, managerB, "a", 1); got != "" {
			t.Errorf("a manager that does not hold the endpoint takes %q", got)
		}
		f.wantTaken(t, map[string]string{"a": "two"})
		f.wantTaken(t, map[string]string{"a": "two"}) // the answer was lost
		f.wantPlaces(t, task, 1, 0, "a")
		wantOutcomes(t, f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "c", tasker.Running)),
			ledger.Recorded, ledger.Refused)
		f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		f.wantStatus(t, task, tasker.Sent)
		f.wantTaken(t, map[string]string{"a": "", "b": "two", "c": ""})
		f.wantPlaces(t, task, 0, 0, "a", "b")
		f.receive(t, managerA, incoming(task, "b", tasker.Running))
		f.finish(t, finish(task, "b", 1, tasker.ResultDone))
		f.wantStatus(t, task, tasker.Done)
		f.wantEmpty(t, "task_places")
		for _, places := range []tasker.Places{0, 1} {
			_, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
				Type: "worker", Identifier: "two", Payload: []byte("1"), Deliver: places,
			})
			if tasker.CodeOf(err) != tasker.Conflict {
				t.Errorf("the same identifier with %d places: %v", places, err)
			}
		}
	})
}

// A task that nobody has taken is INCOMPLETE once it should have been.
func TestUntakenIsIncomplete(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.placed(t, "one", 1, nil)
		f.clock.advance(2 * time.Hour)
		if _, err := f.Statuses.Aggregate(t.Context(), []int64{task.ID}, time.Hour); err != nil {
			t.Fatal(err)
		}
		f.wantStatus(t, task, tasker.Incomplete)
		f.acquire(t, managerA, "a")
		f.wantTaken(t, map[string]string{"a": "one"})
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.finish(t, finish(task, "a", 1, tasker.ResultFailed))
		f.wantStatus(t, task, tasker.Failed)
	})
}

// Only candidates take a place, in the order of priority, and not before the start.
func TestPlacesInOrder(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		f.placed(t, "low", 1, nil)
		f.placed(t, "high", 1, func(t *tasker.Task) { t.Priority = 9 })
		f.placed(t, "listed", 1, func(t *tasker.Task) { t.Priority, t.Endpoints = 5, []string{"a", "x"} })
		later := f.later(t, "later", func(t *tasker.Task) { t.Deliver, t.Priority = 1, 9 })
		chosen := f.later(t, "chosen", func(t *tasker.Task) { selecting(t); t.Deliver, t.Plan = 2, "" })
		f.wantTaken(t, map[string]string{"b": "high low"})
		f.wantTaken(t, map[string]string{"a": "listed"})
		f.clock.advance(time.Minute)
		f.acquire(t, managerA, "a", "b")
		_, choosing, names := f.startDue(t)
		if names != "later chosen" || len(choosing) != 1 {
			t.Fatalf("%s are due", names)
		}
		f.wantPlaces(t, later, 1, 0)
		if _, _, err := f.Schedule.StartChosen(t.Context(), choosing[0], []string{"a"}, 1); tasker.CodeOf(err) != tasker.Invalid {
			t.Errorf("two places for one endpoint: %v", err)
		}
		if _, started, err := f.Schedule.StartChosen(t.Context(), choosing[0], []string{"a", "y"}, 2); err != nil || !started {
			t.Errorf("started: %v, %v", started, err)
		}
		f.wantPlaces(t, chosen, 2, 0)
		if got := f.take(t, managerA, "b", 4); got != "low high later" { // two of them again
			t.Errorf("b takes %q", got)
		}
		if got := f.take(t, managerA, "a", 4); got != "listed chosen" {
			t.Errorf("a takes %q", got)
		}
	})
}

// Endpoints that take at the same time take different places.
func TestPlacesRace(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const tasks = 12
		endpoints := []string{"a", "b", "c", "d"}
		f.acquire(t, managerA, endpoints...)
		for i := range tasks {
			f.placed(t, string(rune('p'+i/4))+string(rune('0'+i%4)), 1, nil)
		}
		f.placed(t, "three", 3, nil)
		var mu sync.Mutex
		taken := map[string]int{}
		var group sync.WaitGroup
		for _, name := range endpoints {
			group.Go(func() {
				got, err := f.Inbox.TakeTasks(t.Context(), managerA, name, "worker", 2*tasks)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				for _, task := range got {
					taken[task.Identifier]++
				}
			})
		}
		group.Wait()
		for identifier, n := range taken {
			if want := map[bool]int{true: 3, false: 1}[identifier == "three"]; n != want {
				t.Errorf("%d took %s, want %d", n, identifier, want)
			}
		}
		if len(taken) != tasks+1 {
			t.Errorf("%d tasks were taken, want %d", len(taken), tasks+1)
		}
	})
}

// Of several tasks that are taken at once, each is decided by itself, and they come in their
// order.
func TestPlacesTakenTogether(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		last := f.placed(t, "last", 1, nil)
		held, gone := f.placed(t, "held", 1, nil), f.placed(t, "gone", 2, nil)
		first := f.placed(t, "first", 1, func(t *tasker.Task) { t.Priority = 9 })
		f.placed(t, "others", 1, func(t *tasker.Task) { t.Endpoints = []string{"b"} })
		f.hold(t, subjects(held)["task"], tasker.Expiry{})
		if got := f.take(t, managerA, "a", 1); got != "first" {
			t.Fatalf("takes %q", got)
		}
		f.receive(t, managerA, incoming(first, "a", tasker.Running))
		f.cancel(t, gone)
		two := f.placed(t, "two", 2, func(t *tasker.Task) { t.Priority = 1 })
		if got := f.take(t, managerA, "a", 4); got != "two last" {
			t.Errorf("takes %q", got)
		}
		f.wantPlaces(t, last, 0, 0, "a")
		f.wantPlaces(t, two, 1, 0, "a")
		f.wantPlaces(t, held, 1, 0)
	})
}

// Nothing is taken while a hold applies.
func TestPlacesHeld(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.placed(t, "one", 1, nil)
		for kind, subject := range subjects(task) {
			f.hold(t, subject, tasker.Expiry{})
			if got := f.take(t, managerA, "a", 1); got != "" {
				t.Errorf("%s held: takes %q", kind, got)
			}
			f.unhold(t, subject, true)
		}
		f.wantTaken(t, map[string]string{"a": "one"})
	})
}

// Nobody takes a place of a task that has ended, or is CANCELING, though it is still there: an
// older program, which knows nothing of places, leaves them.
func TestPlacesOfEndedTasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.placed(t, "one", 1, nil)
		for _, status := range append(slices.DeleteFunc(tasker.TaskStatuses(), func(s tasker.TaskStatus) bool {
			return !s.Final() && s != tasker.Canceling
		}), tasker.Sent) {
			if err := store.Exec(f.Store, "UPDATE tasks SET status = ? WHERE id = ?", status, task.ID); err != nil {
				t.Fatal(err)
			}
			want := ""
			if status == tasker.Sent {
				want = "one"
			}
			if got := f.take(t, managerA, "a", 1); got != want {
				t.Errorf("%s: takes %q, want %q", status, got, want)
			}
		}
	})
}

// A cancellation closes the places that nobody has taken, and such a task is not DONE.
func TestPlacesCanceled(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		begun, ended := f.placed(t, "begun", 3, nil), f.placed(t, "ended", 2, nil)
		untaken := f.placed(t, "untaken", 1, func(t *tasker.Task) { t.Endpoints = []string{"z"} })
		f.wantTaken(t, map[string]string{"a": "begun ended", "b": "begun ended"})
		f.receive(t, managerA, incoming(begun, "a", tasker.Running), incoming(ended, "a", tasker.Running))
		f.finish(t, finish(ended, "a", 1, tasker.ResultDone))
		f.cancel(t, untaken)
		f.wantStatus(t, untaken, tasker.Canceled)
		f.wantPlaces(t, untaken, 0, 1)
		if o := f.cancel(t, ended); !slices.Equal(o.Stopped, []string{"b"}) || !slices.Equal(o.FinishedBefore, []string{"a"}) {
			t.Errorf("canceled: %+v", o) // b had taken it
		}
		f.wantStatus(t, ended, tasker.Canceled)
		f.cancel(t, begun, "b")
		f.wantPlaces(t, begun, 1, 0, "a", "b")
		if o := f.cancel(t, begun); !slices.Equal(o.Stopping, []string{"a"}) {
			t.Errorf("canceled: %+v", o)
		}
		f.wantPlaces(t, begun, 0, 1, "a", "b")
		f.wantTaken(t, map[string]string{"c": ""})
		f.finish(t, finish(begun, "a", 1, tasker.ResultDone))
		f.wantStatus(t, begun, tasker.Canceled)

		// One has run, and nobody had taken the other place.
		half := f.placed(t, "half", 2, nil)
		f.wantTaken(t, map[string]string{"c": "half"})
		f.receive(t, managerA, incoming(half, "c", tasker.Running))
		f.finish(t, finish(half, "c", 1, tasker.ResultDone))
		f.cancel(t, half)
		f.wantStatus(t, half, tasker.Canceled)
		f.wantPlaces(t, half, 0, 1, "c")
	})
}

// An expired task is not taken, and ends when those that had taken it have.
func TestPlacesExpire(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		expires := func(t *tasker.Task) { t.Expiry, t.AskedExpiry = tasker.Expiry{After: time.Hour}, true }
		f.acquire(t, managerA, "a", "b")
		half, none := f.placed(t, "half", 2, expires), f.placed(t, "none", 1, func(t *tasker.Task) { expires(t); t.Priority = 1 })
		f.cancel(t, f.placed(t, "other", 1, nil))
		if got := f.take(t, managerA, "b", 1); got != "none" {
			t.Fatalf("took %q", got)
		}
		f.wantTaken(t, map[string]string{"a": "half"})
		f.receive(t, managerA, incoming(half, "a", tasker.Running))
		f.clock.advance(time.Hour)
		f.acquire(t, managerA, "a", "b")
		if got := f.take(t, managerA, "b", 2); got != "none" { // which it has taken already
			t.Errorf("takes %q", got)
		}
		f.expire(t)
		f.wantStatus(t, half, tasker.Incomplete) // one runs
		f.wantStatus(t, none, tasker.Failed)
		f.finish(t, finish(half, "a", 1, tasker.ResultDone))
		f.wantStatus(t, half, tasker.Incomplete) // it must not be DONE
		f.clock.advance(time.Minute)
		f.expire(t)
		f.wantStatus(t, half, tasker.Failed)
		if got := f.find(t, half); got.Errmsg != "the task expired before 1 of 2 places were taken" {
			t.Errorf("%q", got.Errmsg)
		}
		f.wantEmpty(t, "task_places")
		f.acquire(t, managerA, "a", "b")
		f.retry(t, tasker.RetryRequest{
			Type: half.Type, Identifier: half.Identifier, Class: tasker.RetryAll, By: "ann", Expires: tasker.Expiry{After: time.Hour},
		})
		f.wantPlaces(t, half, 1, 0, "a")
		f.wantTaken(t, map[string]string{"a": "", "b": "half"})
	})
}

// A place that was taken and not used is given back once no manager holds the endpoint, and
// not before; one that was used is not.
func TestPlacesGivenBack(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		unused, used := f.placed(t, "unused", 1, nil), f.placed(t, "used", 1, nil)
		f.wantTaken(t, map[string]string{"a": "unused used"})
		f.receive(t, managerA, incoming(used, "a", tasker.Running))
		release := func(want ...int64) {
			t.Helper()
			if got, err := f.Endpoints.ReleasePlaces(t.Context(), 10); err != nil || !slices.Equal(got, want) {
				t.Errorf("given back: %v, %v; want %v", got, err, want)
			}
		}
		release()
		if n := f.rows(t, "place_claims"); n != 1 {
			t.Errorf("%d places may be unused, want 1", n)
		}
		f.clock.advance(2 * lease)
		f.acquire(t, managerA, "b")
		release(unused.ID)
		f.wantPlaces(t, unused, 1, 0)
		f.wantPlaces(t, used, 0, 0, "a")
		f.wantTaken(t, map[string]string{"b": "unused"})
		// Its manager is back, and still believes that it has the place.
		f.acquire(t, managerA, "a")
		wantOutcomes(t, f.receive(t, managerA, incoming(unused, "a", tasker.Running)), ledger.Refused)
		f.wantTaken(t, map[string]string{"a": ""})
	})
}

// A place that a removed endpoint had taken and not used is for others; one that it used is
// closed.
func TestPlacesOfARemovedEndpoint(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		unused, used := f.placed(t, "unused", 1, nil), f.placed(t, "used", 2, nil)
		f.wantTaken(t, map[string]string{"a": "unused used"})
		f.receive(t, managerA, incoming(used, "a", tasker.Running))
		f.detach(t, f.remove(t, managerA, "a"), 1)
		f.wantPlaces(t, unused, 1, 0)
		f.wantPlaces(t, used, 1, 1)
		f.wantTaken(t, map[string]string{"b": "unused used"})
		for _, task := range []tasker.Task{unused, used} {
			f.receive(t, managerA, incoming(task, "b", tasker.Running))
			f.finish(t, finish(task, "b", 1, tasker.ResultDone))
		}
		f.wantStatus(t, unused, tasker.Done)
		f.wantStatus(t, used, tasker.Canceled)
	})
}

// Nothing of a deleted task is left.
func TestPurgePlaces(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.placed(t, "one", 1, func(t *tasker.Task) { t.Endpoints = []string{"a", "b"} })
		f.wantTaken(t, map[string]string{"a": "one"})
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		f.wantStatus(t, task, tasker.Done)
		f.clock.advance(time.Hour)
		if n, _ := f.purgeTasks(t, f.Now(), nil, 10); n != 1 {
			t.Fatalf("%d tasks deleted", n)
		}
		f.clock.advance(time.Hour)
		f.purgeResults(t, f.Now(), 10)
		f.wantEmpty(t, "tasks", "task_places", "place_candidates", "place_claims", "task_targets", "task_results")
	})
}
