package store_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
)

// nightly is a definition.
func nightly() tasker.ScheduleDefinition {
	return tasker.ScheduleDefinition{
		Cron: "30 2 * * *", TimeZone: "UTC", CatchUp: "1h0m0s", Missed: tasker.MissedLast, Overlap: tasker.OverlapSkip,
		Task: []byte(`{"type":"worker","payload":{"a<b":1}}`),
	}
}

// hourly puts a schedule whose slots are full hours.
func hourly(name string) ledger.SchedulePut {
	return ledger.SchedulePut{
		Name: name, Definition: nightly(), By: "me",
		Next: func(_, now time.Time) time.Time { return now.Truncate(time.Hour).Add(time.Hour) },
	}
}

func (f fixture) put(t *testing.T, put ledger.SchedulePut) tasker.Schedule {
	t.Helper()
	schedule, _, err := f.Schedules.PutSchedule(t.Context(), put)
	if err != nil {
		t.Fatal(err)
	}
	return schedule
}

func (f fixture) schedule(t *testing.T, name string) tasker.Schedule {
	t.Helper()
	schedule, err := f.Schedules.FindSchedule(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return schedule
}

// until advances the clock to a time.
func (f fixture) until(at time.Time) { f.clock.advance(at.Sub(f.Now())) }

// slots returns what became of the slots of a schedule, newest first, by the time since
// the full hour in which it was created.
func (f fixture) slots(t *testing.T, schedule tasker.Schedule) (list []string) {
	t.Helper()
	slots, err := f.Schedules.ListSlots(t.Context(), schedule.ID, time.Time{}, 5000)
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range slots {
		list = append(list, slot.Time.Sub(schedule.CreatedTime.Truncate(time.Hour)).String()+" "+string(slot.Outcome))
	}
	return list
}

// firing returns the step that fires the next slot of a schedule.
func firing(schedule tasker.Schedule) ledger.ScheduleStep {
	slot := *schedule.NextTime
	next := slot.Add(time.Hour)
	return ledger.ScheduleStep{
		Schedule: schedule, Next: &next, Due: &next,
		Slots: []tasker.ScheduleSlot{{Time: slot, Outcome: tasker.SlotFired}},
		Task: &tasker.Task{
			Type: "worker", Identifier: tasker.SlotIdentifier(schedule.Name, slot), Payload: []byte("1"), Status: tasker.Scheduled,
			Start: tasker.Start{At: slot},
		},
	}
}

// fire fires the next slot of a schedule, and returns its task.
func (f fixture) fire(t *testing.T, name string) tasker.Task {
	t.Helper()
	stepped, err := f.Schedules.StepSchedule(t.Context(), firing(f.schedule(t, name)))
	if err != nil || !stepped.Done || !stepped.Created {
		t.Fatalf("not fired: %+v, %v", stepped, err)
	}
	return stepped.Task
}

func TestPutSchedule(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		put := hourly("backup")
		put.Version = new(int64(1))
		_, _, err := f.Schedules.PutSchedule(t.Context(), put)
		wantCode(t, err, tasker.Conflict)
		put.Version = new(int64(0))
		first, created, err := f.Schedules.PutSchedule(t.Context(), put)
		next := f.Now().Truncate(time.Hour).Add(time.Hour)
		if err != nil || !created || first.Version != 1 || first.CreatedBy != "me" || first.Pause != nil || !first.NextTime.Equal(next) ||
			!first.CreatedTime.Equal(f.Now()) || string(first.Definition.Task) != `{"type":"worker","payload":{"a<b":1}}` {
			t.Fatalf("%+v, created %t, %v", first, created, err)
		}
		if got := f.schedule(t, "backup"); got.Version != 1 || !got.NextTime.Equal(next) || string(got.Definition.Task) != string(first.Definition.Task) {
			t.Errorf("stored %+v", got)
		}
		_, _, err = f.Schedules.PutSchedule(t.Context(), put) // version 0
		wantCode(t, err, tasker.Conflict)

		// The same again changes nothing.
		f.clock.advance(time.Minute)
		put.Version, put.By = nil, "you"
		if again := f.put(t, put); again.Version != 1 || again.Revision != first.Revision || again.ChangedBy != "me" {
			t.Errorf("again %+v", again)
		}
		put.Definition.Missed, put.Version = tasker.MissedAll, new(int64(1))
		second := f.put(t, put)
		if second.Version != 2 || second.ChangedBy != "you" || second.CreatedBy != "me" || !second.CreatedTime.Equal(first.CreatedTime) ||
			!second.ChangedTime.Equal(f.Now()) {
			t.Errorf("second %+v", second)
		}

		// What is due and did not fire before a change is missed.
		f.until(next)
		put.Definition.Missed, put.Version = tasker.MissedSkip, nil
		third := f.put(t, put)
		if got := f.slots(t, third); !slices.Equal(got, []string{"1h0m0s MISSED"}) || !third.NextTime.Equal(next.Add(time.Hour)) {
			t.Errorf("slots %q, next %s", got, third.NextTime)
		}

		// A PUT pauses and resumes, or leaves that as it is.
		put.Paused = new(true)
		if got := f.put(t, put); got.Pause == nil || got.Pause.By != "you" || got.Version != 4 {
			t.Errorf("paused %+v", got)
		}
		put.Paused, put.Definition.Overlap = nil, tasker.OverlapAllow
		if got := f.put(t, put); got.Pause == nil {
			t.Errorf("no longer paused: %+v", got)
		}
		put.Paused = new(false)
		if got := f.put(t, put); got.Pause != nil {
			t.Errorf("still paused: %+v", got)
		}

		f.put(t, hourly("a"))
		f.put(t, hourly("c"))
		list, err := f.Schedules.ListSchedules(t.Context(), "a", 1)
		if err != nil || len(list) != 1 || list[0].Name != "backup" {
			t.Errorf("the second page is %+v, %v", list, err)
		}
		wantCode(t, f.Schedules.DeleteSchedule(t.Context(), "backup", new(int64(1))), tasker.Conflict)
		if err := f.Schedules.DeleteSchedule(t.Context(), "backup", nil); err != nil {
			t.Error(err)
		}
		wantCode(t, f.Schedules.DeleteSchedule(t.Context(), "backup", nil), tasker.NotFound)
		_, err = f.Schedules.FindSchedule(t.Context(), "backup")
		wantCode(t, err, tasker.NotFound)
		if got := f.slots(t, third); len(got) > 0 {
			t.Errorf("slots %q are left", got)
		}
	})
}

func TestPauseSchedule(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		_, err := f.Schedules.PauseSchedule(t.Context(), "backup", tasker.ScheduleExpect{}, nil)
		wantCode(t, err, tasker.NotFound)
		before := f.put(t, hourly("backup"))
		for _, by := range []string{"me", "you"} { // the second finds it paused
			paused, err := f.Schedules.PauseSchedule(t.Context(), "backup", tasker.ScheduleExpect{}, &tasker.SchedulePause{By: by, Reason: "moving"})
			if err != nil || paused.Pause == nil || paused.Pause.By != "me" || paused.Pause.Reason != "moving" || paused.Version != 1 ||
				paused.Revision != before.Revision+1 {
				t.Errorf("paused %+v, %v", paused, err)
			}
		}
		// What a process read before the pause does not fire.
		if stepped, err := f.Schedules.StepSchedule(t.Context(), firing(before)); stepped.Done || err != nil {
			t.Errorf("fired although it is paused: %+v, %v", stepped, err)
		}
		f.clock.advance(time.Minute)
		resumed, err := f.Schedules.PauseSchedule(t.Context(), "backup", tasker.ScheduleExpect{}, nil)
		if err != nil || resumed.Pause != nil || !resumed.FailuresSince.Equal(f.Now()) || !resumed.NextTime.Equal(*before.NextTime) {
			t.Errorf("resumed %+v, %v", resumed, err)
		}
	})
}

// A step is done as a whole, once.
func TestStepSchedule(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		schedule := f.put(t, hourly("backup"))
		if due, err := f.Schedules.DueSchedules(t.Context(), 10); err != nil || len(due) > 0 {
			t.Errorf("due %+v, %v", due, err)
		}
		next, ok, err := f.Schedules.NextDue(t.Context())
		if err != nil || !ok || !next.Equal(*schedule.NextTime) {
			t.Errorf("the next one is due at %s, %t, %v", next, ok, err)
		}
		f.until(*schedule.NextTime)
		due, err := f.Schedules.DueSchedules(t.Context(), 10)
		if err != nil || len(due) != 1 || due[0].Name != "backup" {
			t.Fatalf("due %+v, %v", due, err)
		}
		step := firing(due[0])
		stepped, err := f.Schedules.StepSchedule(t.Context(), step)
		if err != nil || !stepped.Done || !stepped.Created || stepped.Task.Status != tasker.Scheduled ||
			stepped.Task.Identifier != tasker.SlotIdentifier("backup", *schedule.NextTime) {
			t.Fatalf("%+v, %v", stepped, err)
		}
		if again, err := f.Schedules.StepSchedule(t.Context(), step); err != nil || again.Done {
			t.Errorf("done twice: %+v, %v", again, err)
		}
		slots, err := f.Schedules.ListSlots(t.Context(), schedule.ID, time.Time{}, 10)
		if err != nil || len(slots) != 1 || slots[0].TaskID != stepped.Task.ID || slots[0].Identifier != stepped.Task.Identifier ||
			slots[0].Type != "worker" || !slots[0].RecordedTime.Equal(f.Now()) {
			t.Errorf("slots %+v, %v", slots, err)
		}
		if _, _, started := f.startDue(t); started != stepped.Task.Identifier {
			t.Errorf("started %q", started)
		}
		if got := f.schedule(t, "backup"); !got.NextTime.Equal(f.Now().Add(time.Hour)) || got.Version != 1 {
			t.Errorf("stored %+v", got)
		}
	})
}

// A task with the identifier of a slot may exist: the same is taken for it, another
// one is a conflict, and nothing is changed.
func TestStepFindsItsTask(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		schedule := f.put(t, hourly("backup"))
		f.until(*schedule.NextTime)
		step := firing(schedule)
		same, _, err := f.Tasks.CreateTask(t.Context(), *step.Task)
		if err != nil {
			t.Fatal(err)
		}
		stepped, err := f.Schedules.StepSchedule(t.Context(), step)
		if err != nil || !stepped.Done || stepped.Created || stepped.Task.ID != same.ID {
			t.Errorf("%+v, %v", stepped, err)
		}
		next := firing(f.schedule(t, "backup"))
		other := *next.Task
		other.Payload = []byte("2")
		if _, _, err := f.Tasks.CreateTask(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		_, err = f.Schedules.StepSchedule(t.Context(), next)
		wantCode(t, err, tasker.Conflict)
		if got := f.schedule(t, "backup"); !got.NextTime.Equal(*next.Schedule.NextTime) || len(f.slots(t, got)) != 1 {
			t.Errorf("changed although nothing was done: %+v, %q", got, f.slots(t, got))
		}
	})
}

// Of several processes one makes a step.
func TestStepsTogether(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.put(t, hourly("backup"))
		const slots = 20
		var mu sync.Mutex
		fired := map[string]int{}
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for {
					schedule, err := f.Schedules.FindSchedule(t.Context(), "backup")
					if err == nil {
						var stepped ledger.ScheduleStepped
						if stepped, err = f.Schedules.StepSchedule(t.Context(), firing(schedule)); stepped.Created {
							mu.Lock()
							fired[stepped.Task.Identifier]++
							mu.Unlock()
						}
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					done := len(fired) >= slots
					mu.Unlock()
					if done {
						return
					}
				}
			})
		}
		group.Wait()
		for identifier, n := range fired {
			if n != 1 {
				t.Errorf("%s was created %d times", identifier, n)
			}
		}
		if got := f.slots(t, f.schedule(t, "backup")); len(got) != len(fired) {
			t.Errorf("%d slots for %d tasks", len(got), len(fired))
		}
	})
}

// Slots that did not fire can be replaced, others not; the newest are kept.
func TestSlots(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		schedule := f.put(t, hourly("backup"))
		began := *schedule.NextTime
		step := ledger.ScheduleStep{Schedule: schedule, Next: schedule.NextTime, Due: schedule.NextTime}
		for i := range store.KeptSlots + 5 {
			step.Slots = append(step.Slots, tasker.ScheduleSlot{
				Time: began.Add(time.Duration(i) * time.Minute), Outcome: tasker.SlotMissed, Reason: strings.Repeat("ü", 1000),
			})
		}
		if stepped, err := f.Schedules.StepSchedule(t.Context(), step); err != nil || !stepped.Done {
			t.Fatalf("%+v, %v", stepped, err)
		}
		got := f.slots(t, schedule)
		if len(got) != store.KeptSlots || got[len(got)-1] != "1h5m0s MISSED" {
			t.Errorf("%d slots are kept, the last is %s", len(got), got[len(got)-1])
		}
		page, err := f.Schedules.ListSlots(t.Context(), schedule.ID, began.Add(8*time.Minute), 2)
		if err != nil || len(page) != 2 || !page[0].Time.Equal(began.Add(7*time.Minute)) || len(page[0].Reason) != 1024 {
			t.Errorf("a page is %+v, %v", page, err)
		}
		schedule = f.schedule(t, "backup")
		slot := began.Add(7 * time.Minute)
		again := firing(schedule)
		again.Again, again.Next, again.Due = true, schedule.NextTime, schedule.NextTime
		again.Slots[0].Time, again.Task.Identifier = slot, tasker.SlotIdentifier("backup", slot)
		for i := range 2 { // the second finds its task
			again.Schedule = f.schedule(t, "backup")
			if stepped, err := f.Schedules.StepSchedule(t.Context(), again); err != nil || !stepped.Done || stepped.Created != (i == 0) {
				t.Errorf("again: %+v, %v", stepped, err)
			}
		}
		fired, err := f.Schedules.FiredSlots(t.Context(), schedule.ID, []time.Time{slot, slot.Add(time.Minute)})
		if err != nil || len(fired) != 1 || !fired[0].Time.Equal(slot) || fired[0].Identifier != tasker.SlotIdentifier("backup", slot) {
			t.Errorf("fired %+v, %v", fired, err)
		}
	})
}

// TestRunningSlots: a task runs while an endpoint has it and has not finished it. One
// that is missing or lost does not keep the next slot from firing.
func TestRunningSlots(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		schedule := f.put(t, hourly("backup"))
		f.until(*schedule.NextTime)
		running := func(want int, when string) {
			t.Helper()
			slots, err := f.Schedules.RunningSlots(t.Context(), schedule.ID)
			if err != nil || len(slots) != want {
				t.Errorf("%s: %+v run, %v, want %d", when, slots, err, want)
			}
		}
		running(0, "before")
		task := f.fire(t, "backup")
		running(1, "SCHEDULED")
		f.startDue(t)
		running(1, "CREATED")
		task, err := f.Outbox.MarkSent(t.Context(), f.named(t, task.Identifier), nil)
		if err != nil {
			t.Fatal(err)
		}
		running(1, "just sent")
		f.clock.advance(11 * time.Second)
		running(0, "nobody has received it")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		running(1, "a runs it")
		f.clock.advance(2 * time.Minute)
		if _, err := f.Statuses.Aggregate(t.Context(), []int64{task.ID}, time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := f.status(t, task); got != tasker.Incomplete {
			t.Errorf("it is %s", got)
		}
		running(1, "a runs it, b is away")
		f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		running(0, "a has finished, b is away")
		f.receive(t, managerA, incoming(task, "b", tasker.Received))
		running(1, "b has received it")
		if _, err := f.Cancels.CancelTask(t.Context(), tasker.CancelRequest{Type: "worker", Identifier: task.Identifier}); err != nil {
			t.Fatal(err)
		}
		running(0, "canceled")

		// Lost ones do not count.
		lost := f.fire(t, "backup")
		f.until(*f.schedule(t, "backup").NextTime)
		f.startDue(t)
		if lost, err = f.Outbox.MarkSent(t.Context(), f.named(t, lost.Identifier), nil); err != nil {
			t.Fatal(err)
		}
		f.acquire(t, managerA, "a", "b")
		f.receive(t, managerA, incoming(lost, "a", tasker.Running))
		running(1, "a runs the next one")
		f.clock.advance(time.Hour)
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-time.Minute), 10); err != nil {
			t.Fatal(err)
		}
		running(0, "a is lost")
	})
}

// TestWaitingUntilExpired: what has expired before it ran does not count as running.
func TestWaitingUntilExpired(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		schedule := f.put(t, hourly("backup"))
		f.until(*schedule.NextTime)
		step := firing(schedule)
		step.Task.Expiry.After = time.Minute
		stepped, err := f.Schedules.StepSchedule(t.Context(), step)
		if err != nil {
			t.Fatal(err)
		}
		f.startDue(t)
		task, err := f.Outbox.MarkSent(t.Context(), f.named(t, stepped.Task.Identifier), nil)
		if err != nil {
			t.Fatal(err)
		}
		f.receive(t, managerA, incoming(task, "a", tasker.Received))
		for _, want := range []int{1, 0} {
			if slots, err := f.Schedules.RunningSlots(t.Context(), schedule.ID); err != nil || len(slots) != want {
				t.Errorf("%+v run, %v, want %d", slots, err, want)
			}
			f.clock.advance(time.Minute)
		}
	})
}

func TestFailedInARow(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		schedule := f.put(t, hourly("backup"))
		failed := func(n int, want bool, when string) {
			t.Helper()
			if got, err := f.Schedules.FailedInARow(t.Context(), f.schedule(t, "backup"), n); err != nil || got != want {
				t.Errorf("%s: %d failed in a row: %t, %v", when, n, got, err)
			}
		}
		failed(1, false, "before")
		f.until(*schedule.NextTime)
		for i := range 3 {
			task := f.fire(t, "backup")
			failed(i+1, false, "SCHEDULED")
			if ok, err := f.Schedule.FailScheduled(t.Context(), task, "no"); err != nil || !ok {
				t.Fatalf("%t, %v", ok, err)
			}
			failed(i+1, true, "FAILED")
			failed(i+2, false, "FAILED")
		}
		step := firing(f.schedule(t, "backup"))
		step.Task, step.Slots[0].Outcome = nil, tasker.SlotFailed
		if _, err := f.Schedules.StepSchedule(t.Context(), step); err != nil {
			t.Fatal(err)
		}
		failed(4, true, "with one that was not created")
		step = firing(f.schedule(t, "backup"))
		step.Task, step.Slots[0].Outcome = nil, tasker.SlotMissed
		if _, err := f.Schedules.StepSchedule(t.Context(), step); err != nil {
			t.Fatal(err)
		}
		failed(4, true, "a missed one does not count")
		f.clock.advance(time.Second)
		for _, pause := range []*tasker.SchedulePause{{By: "me"}, nil} {
			if _, err := f.Schedules.PauseSchedule(t.Context(), "backup", tasker.ScheduleExpect{}, pause); err != nil {
				t.Fatal(err)
			}
		}
		failed(1, false, "resumed")
		f.fire(t, "backup")
		failed(1, false, "one that is open")
	})
}

// Schedules are read in the order in which they are due.
func TestDueOrder(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for i := range 5 {
			put := hourly(fmt.Sprint("s", i))
			put.Next = func(_, now time.Time) time.Time { return now.Add(time.Duration(5-i) * time.Second) }
			f.put(t, put)
		}
		never := hourly("never")
		never.Next = func(time.Time, time.Time) time.Time { return time.Time{} }
		if got := f.put(t, never); got.NextTime != nil {
			t.Errorf("next %s", got.NextTime)
		}
		f.clock.advance(3 * time.Second)
		due, err := f.Schedules.DueSchedules(t.Context(), 2)
		if err != nil || len(due) != 2 || due[0].Name != "s4" || due[1].Name != "s3" {
			t.Errorf("due %+v, %v", due, err)
		}
		f.clock.advance(time.Hour)
		if due, err = f.Schedules.DueSchedules(t.Context(), 10); err != nil || len(due) != 5 {
			t.Errorf("due %+v, %v", due, err)
		}
	})
}

// A schedule with a task that cannot be stored is as it was.
func TestStepIsDoneAsAWhole(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		schedule := f.put(t, hourly("backup"))
		step := firing(schedule)
		step.Task.Payload = []byte("{")
		_, err := f.Schedules.StepSchedule(t.Context(), step)
		wantCode(t, err, tasker.Malformed)
		if got := f.schedule(t, "backup"); got.Revision != schedule.Revision || len(f.slots(t, got)) > 0 {
			t.Errorf("changed although nothing was done: %+v", got)
		}
		f.fire(t, "backup")
	})
}
