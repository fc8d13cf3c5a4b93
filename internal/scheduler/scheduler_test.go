package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// TestFires creates the task of a slot, which starts at once, and not before.
func TestFires(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "1m", nil)
	s := w.scheduler()
	w.later(time.Minute-time.Second, s)
	w.want("backup", "")
	w.later(time.Second, s)
	w.want("backup", "1m0s FIRED")
	w.run(s)
	w.later(time.Minute, s)
	w.want("backup", "1m0s FIRED, 2m0s FIRED")
	for i, name := range []string{"backup-20260506T011524Z", "backup-20260506T011624Z"} {
		task := w.taskOf("backup", i)
		if task.Identifier != name || task.Status != tasker.Scheduled || !task.StartTime.Equal(began.Add(time.Duration(i+1)*time.Minute)) ||
			string(task.Payload) != `{"type":"worker"}` || task.CreatedBy != "schedule:backup" {
			t.Errorf("%+v", task)
		}
	}
	if len(w.start.starts) != 2 {
		t.Errorf("the starter expects tasks at %v", w.start.starts)
	}
}

// TestJitter delays tasks, always by the same.
func TestJitter(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "1h", func(d *tasker.ScheduleDefinition) { d.Jitter = "5m0s" })
	w.later(time.Hour, w.scheduler())
	slot := w.slots("backup")[0].Time
	delay := Delay("backup", slot, 5*time.Minute)
	if task := w.taskOf("backup", 0); !task.StartTime.Equal(slot.Add(delay)) || delay == 0 {
		t.Errorf("starts at %s, slot %s, delay %s", task.StartTime, slot, delay)
	}
	delays := map[time.Duration]bool{}
	for i := range 100 {
		d := Delay("backup", slot.Add(time.Duration(i)*time.Hour), 5*time.Minute)
		if d < 0 || d >= 5*time.Minute {
			t.Errorf("delay %s", d)
		}
		delays[d] = true
	}
	if len(delays) < 90 {
		t.Errorf("100 slots have %d delays", len(delays))
	}
	if d := Delay("backup", slot, 0); d != 0 {
		t.Errorf("delay %s without jitter", d)
	}
}

// TestMissed: what is too late does not fire, and says so.
func TestMissed(t *testing.T) {
	for _, test := range []struct {
		missed  tasker.MissedPolicy
		away    time.Duration
		catchUp string
		want    string
	}{
		{tasker.MissedLast, 20 * time.Minute, "1h", "20m0s FIRED"},
		{tasker.MissedLast, 65 * time.Minute, "1h", "20m0s MISSED, 40m0s MISSED, 1h0m0s FIRED"},
		{tasker.MissedLast, 75 * time.Minute, "10m", "20m0s MISSED, 40m0s MISSED, 1h0m0s MISSED"},
		{tasker.MissedAll, 65 * time.Minute, "30m", "20m0s MISSED, 40m0s FIRED, 1h0m0s FIRED"},
		{tasker.MissedAll, 65 * time.Minute, "1h", "20m0s FIRED, 40m0s FIRED, 1h0m0s FIRED"},
		{tasker.MissedSkip, 65 * time.Minute, "1h", "20m0s MISSED, 40m0s MISSED, 1h0m0s MISSED"},
		{tasker.MissedSkip, 60*time.Minute + 30*time.Second, "1h", "20m0s MISSED, 40m0s MISSED, 1h0m0s FIRED"},
		{tasker.MissedSkip, time.Minute, "1h", ""},
	} {
		t.Run(fmt.Sprint(test.missed, " ", test.away, " ", test.catchUp), func(t *testing.T) {
			w := newWorld(t)
			w.put("backup", "20m", func(d *tasker.ScheduleDefinition) { d.Missed, d.CatchUp = test.missed, test.catchUp })
			w.later(test.away, w.scheduler())
			w.want("backup", test.want)
			for _, slot := range w.slots("backup") {
				if (slot.Outcome == tasker.SlotFired) != (slot.Reason == "") {
					t.Errorf("%s: reason %q", slot.Outcome, slot.Reason)
				}
			}
			if next := w.schedule("backup").NextTime; next == nil || !next.After(w.clock.Now()) {
				t.Errorf("next %s", next)
			}
		})
	}
}

// TestLongOutage: however many slots were missed, the schedule goes on, and says how
// many there were.
func TestLongOutage(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "1m", func(d *tasker.ScheduleDefinition) { d.Missed = tasker.MissedAll })
	w.later(100*24*time.Hour, w.scheduler())
	slots := w.slots("backup")
	fired, missed := 0, 0
	for _, slot := range slots {
		switch slot.Outcome {
		case tasker.SlotFired:
			fired++
		case tasker.SlotMissed:
			missed++
		}
	}
	// Those up to an hour late fire. The oldest of those that are kept tells of
	// others, as long as it is kept.
	if fired != 61 || fired+missed != 1000 {
		t.Errorf("%d fired, %d are MISSED", fired, missed)
	}
	w.later(time.Minute, w.scheduler())
	if last := w.slots("backup")[999]; last.Outcome != tasker.SlotFired || !last.Time.Equal(w.clock.Now()) {
		t.Errorf("the last is %+v", last)
	}
}

func TestDuty(t *testing.T) {
	t.Parallel()
	d := tasker.ScheduleDefinition{Every: "1m", CatchUp: "366h0m0s", Missed: tasker.MissedAll}
	table, err := TableOf(tasker.Schedule{Definition: d, CreatedTime: began})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ due, fire, missed, unseen int }{
		{0, 0, 0, 0}, {1, 1, 0, 0}, {100, 100, 0, 0}, {101, 100, 1, 0}, {1100, 100, 1000, 0}, {1101, 100, 1000, 1}, {5000, 100, 1000, 3900},
	} {
		now := began.Add(time.Duration(test.due)*time.Minute + time.Second)
		work := dutyOf(d, table, table.Next(began), now)
		if len(work.fire) != test.fire || len(work.missed) != test.missed || work.unseen != test.unseen || !work.next.After(now) {
			t.Errorf("%d due: %d fire, %d missed, %d unseen, next %s", test.due, len(work.fire), len(work.missed), work.unseen, work.next)
		}
		if test.unseen > 0 && !strings.Contains(work.missed[0].Reason, fmt.Sprintf("%d before", test.unseen)) {
			t.Errorf("reason %q", work.missed[0].Reason)
		}
		if test.missed > 0 && !work.missed[len(work.missed)-1].Time.Before(work.fire[0]) {
			t.Errorf("%d due: missed up to %s, fire from %s", test.due, work.missed[len(work.missed)-1].Time, work.fire[0])
		}
	}
}

func TestOverlapSkip(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", func(d *tasker.ScheduleDefinition) { d.Overlap = tasker.OverlapSkip })
	s := w.scheduler()
	w.later(5*time.Minute, s)
	w.begin()
	w.later(5*time.Minute, s)
	w.want("backup", "5m0s FIRED, 10m0s SKIPPED_OVERLAP")
	if got := w.slots("backup")[1].Reason; got != "task worker/backup-20260506T011924Z runs" {
		t.Errorf("reason %q", got)
	}
	w.end("backup", 0, tasker.ResultFailed)
	w.later(5*time.Minute, s)
	w.want("backup", "5m0s FIRED, 10m0s SKIPPED_OVERLAP, 15m0s FIRED")
}

// TestOverlapQueue: one slot waits, and fires when the task of the earlier one ends.
func TestOverlapQueue(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", func(d *tasker.ScheduleDefinition) { d.Overlap = tasker.OverlapQueue })
	s := w.scheduler()
	w.later(5*time.Minute, s)
	w.begin()
	w.later(5*time.Minute, s)
	w.want("backup", "5m0s FIRED")
	if got := w.schedule("backup").QueuedTime; got == nil || !got.Equal(w.clock.Now()) {
		t.Errorf("waiting %s", got)
	}
	w.later(5*time.Minute, s)
	w.want("backup", "5m0s FIRED, 15m0s SKIPPED_OVERLAP")
	w.later(queuePeriod, s)
	w.want("backup", "5m0s FIRED, 15m0s SKIPPED_OVERLAP")
	w.end("backup", 0, tasker.ResultDone)
	w.later(queuePeriod, w.scheduler()) // another process
	w.want("backup", "5m0s FIRED, 10m0s FIRED, 15m0s SKIPPED_OVERLAP")
	if got := w.schedule("backup"); got.QueuedTime != nil || !got.NextTime.Equal(began.Add(20*time.Minute)) {
		t.Errorf("%+v", got)
	}
}

func TestOverlapAllow(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", nil)
	s := w.scheduler()
	for range 3 {
		w.later(5*time.Minute, s)
		w.begin()
	}
	w.want("backup", "5m0s FIRED, 10m0s FIRED, 15m0s FIRED")
}

// TestOverlapCancel cancels the task of the earlier slot, and fires when it has
// stopped.
func TestOverlapCancel(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", func(d *tasker.ScheduleDefinition) { d.Overlap = tasker.OverlapCancel })
	s := w.scheduler()
	w.later(5*time.Minute, s)
	w.begin()
	w.later(5*time.Minute, s)
	w.want("backup", "5m0s FIRED")
	first := w.taskOf("backup", 0)
	if first.Status != tasker.Canceling || first.Cancel == nil || first.Cancel.By != "schedule backup" {
		t.Errorf("the first is %s, canceled by %+v", first.Status, first.Cancel)
	}
	w.later(5*time.Minute, s) // it has not stopped
	w.want("backup", "5m0s FIRED, 10m0s SKIPPED_OVERLAP")
	w.end("backup", 0, tasker.ResultCanceled)
	w.later(queuePeriod, s)
	w.want("backup", "5m0s FIRED, 10m0s SKIPPED_OVERLAP, 15m0s FIRED")
	// One that has not begun stops at once.
	w.later(5*time.Minute-queuePeriod, s)
	w.want("backup", "5m0s FIRED, 10m0s SKIPPED_OVERLAP, 15m0s FIRED, 20m0s FIRED")
	if got := w.taskOf("backup", 2).Status; got != tasker.Canceled {
		t.Errorf("the third is %s", got)
	}
}

// TestPause: slots pass, and do not fire later.
func TestPause(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", func(d *tasker.ScheduleDefinition) { d.Overlap = tasker.OverlapQueue })
	s := w.scheduler()
	w.later(5*time.Minute, s)
	w.begin()
	w.later(5*time.Minute, s) // waits
	pause := func(pause *tasker.SchedulePause) {
		t.Helper()
		if _, err := w.store.Schedules.PauseSchedule(t.Context(), "backup", tasker.ScheduleExpect{}, pause); err != nil {
			t.Fatal(err)
		}
	}
	pause(&tasker.SchedulePause{By: "me", Reason: "moving"})
	w.later(13*time.Minute, s)
	w.want("backup", "5m0s FIRED, 10m0s PAUSED, 15m0s PAUSED, 20m0s PAUSED")
	if got := w.slots("backup")[1].Reason; got != "paused by me: moving" {
		t.Errorf("reason %q", got)
	}
	w.end("backup", 0, tasker.ResultDone)
	pause(nil)
	w.later(2*time.Minute, s)
	w.want("backup", "5m0s FIRED, 10m0s PAUSED, 15m0s PAUSED, 20m0s PAUSED, 25m0s FIRED")

	// No process looks until it is resumed.
	pause(&tasker.SchedulePause{By: "me"})
	w.clock.advance(13 * time.Minute)
	pause(nil)
	w.later(time.Minute, s)
	w.want("backup", "5m0s FIRED, 10m0s PAUSED, 15m0s PAUSED, 20m0s PAUSED, 25m0s FIRED, 30m0s PAUSED, 35m0s PAUSED")
	if got := w.schedule("backup").NextTime; !got.Equal(began.Add(40 * time.Minute)) {
		t.Errorf("next %s", got)
	}
}

// TestTriggerKeepsWhatWaits: a schedule that is triggered is looked at again when it was
// to be.
func TestTriggerKeepsWhatWaits(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", func(d *tasker.ScheduleDefinition) { d.Overlap = tasker.OverlapQueue })
	s := w.scheduler()
	w.later(5*time.Minute, s)
	w.begin()
	w.later(5*time.Minute, s) // waits
	if _, err := w.store.Schedules.PauseSchedule(t.Context(), "backup", tasker.ScheduleExpect{}, &tasker.SchedulePause{By: "me"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Trigger(t.Context(), "backup", "me", tasker.ScheduleExpect{}); err != nil {
		t.Fatal(err)
	}
	w.later(queuePeriod, s)
	w.want("backup", "5m0s FIRED, 10m0s PAUSED, 10m0s FIRED")
}

// TestPauseOnFailures: the schedule pauses itself, until somebody resumes it.
func TestPauseOnFailures(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", func(d *tasker.ScheduleDefinition) { d.PauseOnFailures = 2 })
	s := w.scheduler()
	w.later(5*time.Minute, s)
	w.begin()
	w.end("backup", 0, tasker.ResultFailed)
	w.tasks.fail(tasker.Errorf(tasker.Invalid, "no"))
	w.later(5*time.Minute, s)
	w.tasks.fail(nil)
	w.later(5*time.Minute, s)
	w.later(5*time.Minute, s)
	w.want("backup", "5m0s FIRED, 10m0s FAILED, 15m0s PAUSED, 20m0s PAUSED")
	if pause := w.schedule("backup").Pause; pause == nil || pause.By != "tasker" || pause.Reason != "the last 2 slots failed" {
		t.Errorf("paused by %+v", pause)
	}
	w.clock.advance(time.Second)
	if _, err := w.store.Schedules.PauseSchedule(t.Context(), "backup", tasker.ScheduleExpect{}, nil); err != nil {
		t.Fatal(err)
	}
	w.later(5*time.Minute, s)
	w.want("backup", "5m0s FIRED, 10m0s FAILED, 15m0s PAUSED, 20m0s PAUSED, 25m0s FIRED")
}

// TestTaskThatCannotBeCreated: the slot fails with the reason, and the next one fires. An
// outage is waited for.
func TestTaskThatCannotBeCreated(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", nil)
	s := w.scheduler()
	w.tasks.fail(tasker.FieldErrorf("/type", `task type "worker" not found`))
	w.later(5*time.Minute, s)
	w.want("backup", "5m0s FAILED")
	if got := w.slots("backup")[0]; got.Reason != `task type "worker" not found` || got.Identifier != "" {
		t.Errorf("%+v", got)
	}
	w.clock.advance(5 * time.Minute)
	for _, outage := range []error{tasker.Errorf(tasker.Unavailable, "down"), errors.New("odd"), context.DeadlineExceeded} {
		w.tasks.fail(outage)
		if err := s.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "schedule backup") {
			t.Errorf("an outage: %v", err)
		}
		w.want("backup", "5m0s FAILED")
	}
	w.tasks.fail(nil)
	w.later(30*time.Second, s)
	w.want("backup", "5m0s FAILED, 10m0s FIRED")

	// The identifier of the next slot is taken by somebody else's task.
	_, _, err := w.store.Tasks.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: "backup-20260506T012924Z"})
	if err != nil {
		t.Fatal(err)
	}
	w.later(5*time.Minute, s)
	w.want("backup", "5m0s FAILED, 10m0s FIRED, 15m0s FAILED")
	w.later(5*time.Minute, s)
	w.want("backup", "5m0s FAILED, 10m0s FIRED, 15m0s FAILED, 20m0s FIRED")
}

// TestOneBrokenSchedule does not hold up the others.
func TestOneBrokenSchedule(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", nil)
	broken := w.put("broken", "4m", nil)
	d := broken.Definition
	d.Every, d.Cron, d.TimeZone = "", "@daily", "Nowhere/At_All"
	_, _, err := w.store.Schedules.PutSchedule(t.Context(), ledger.SchedulePut{
		Name: "broken", Definition: d, Next: func(_, now time.Time) time.Time { return now.Add(time.Minute) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s := w.scheduler()
	w.clock.advance(5 * time.Minute)
	if err := s.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "Nowhere/At_All") {
		t.Errorf("the broken one: %v", err)
	}
	w.want("backup", "5m0s FIRED")
	w.run(s) // it is looked at again in a minute
}

// TestTrigger creates tasks besides the slots, whatever there is.
func TestTrigger(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", func(d *tasker.ScheduleDefinition) { d.Overlap = tasker.OverlapSkip })
	s := w.scheduler()
	if _, err := s.Trigger(t.Context(), "nothing", "me", tasker.ScheduleExpect{}); tasker.CodeOf(err) != tasker.NotFound {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := w.store.Schedules.PauseSchedule(t.Context(), "backup", tasker.ScheduleExpect{}, &tasker.SchedulePause{By: "me"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"backup-20260506T011424.000001Z", "backup-20260506T011524.000001Z"} {
		slot, err := s.Trigger(t.Context(), "backup", "you", tasker.ScheduleExpect{})
		if err != nil || slot.Identifier != want || slot.Type != "worker" || slot.By != "you" || slot.Outcome != tasker.SlotFired {
			t.Errorf("%+v, %v", slot, err)
		}
		w.begin()
		w.clock.advance(time.Minute)
	}
	w.want("backup", "0s FIRED, 1m0s FIRED")
	w.tasks.fail(tasker.Errorf(tasker.Invalid, "no"))
	if _, err := s.Trigger(t.Context(), "backup", "me", tasker.ScheduleExpect{}); tasker.CodeOf(err) != tasker.Invalid {
		t.Errorf("invalid: %v", err)
	}
	w.tasks.fail(nil)
	// What was triggered counts for the overlap.
	if _, err := w.store.Schedules.PauseSchedule(t.Context(), "backup", tasker.ScheduleExpect{}, nil); err != nil {
		t.Fatal(err)
	}
	w.later(3*time.Minute, s)
	w.want("backup", "0s FIRED, 1m0s FIRED, 5m0s SKIPPED_OVERLAP")
}

// TestBackfill creates the tasks of slots that did not fire, once.
func TestBackfill(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", func(d *tasker.ScheduleDefinition) { d.Missed = tasker.MissedLast })
	s := w.scheduler()
	w.later(23*time.Minute, s)
	w.want("backup", "5m0s MISSED, 10m0s MISSED, 15m0s MISSED, 20m0s FIRED")
	from, to := began.Add(10*time.Minute), began.Add(22*time.Minute)
	for i, dry := range []bool{true, false, false} {
		slots, err := s.Backfill(t.Context(), "backup", from, to, "me", dry)
		if err != nil || len(slots) != 3 || slots[0].Identifier != "backup-20260506T012424Z" || slots[0].Fired != (i == 2) || !slots[2].Fired {
			t.Errorf("dry %t: %+v, %v", dry, slots, err)
		}
		if dry {
			w.want("backup", "5m0s MISSED, 10m0s MISSED, 15m0s MISSED, 20m0s FIRED")
		} else {
			w.want("backup", "5m0s MISSED, 10m0s FIRED, 15m0s FIRED, 20m0s FIRED")
		}
	}
	if slot := w.slots("backup")[1]; slot.By != "me" || slot.Reason != "" {
		t.Errorf("%+v", slot)
	}
	for _, test := range []struct {
		from, to time.Time
		text     string
	}{
		{to, from, "before from"},
		{from, began.Add(time.Hour), "not in the past"},
	} {
		if _, err := s.Backfill(t.Context(), "backup", test.from, test.to, "me", true); tasker.CodeOf(err) != tasker.Invalid ||
			!strings.Contains(err.Error(), test.text) {
			t.Errorf("%s to %s: %v", test.from, test.to, err)
		}
	}
	// What is due is left to the loop.
	w.clock.advance(5 * time.Minute)
	if slots, err := s.Backfill(t.Context(), "backup", from, w.clock.Now(), "me", false); err != nil || len(slots) != 3 {
		t.Errorf("%+v, %v", slots, err)
	}
	w.later(600*time.Minute, s)
	if _, err := s.Backfill(t.Context(), "backup", began, w.clock.Now(), "me", true); tasker.CodeOf(err) != tasker.Invalid {
		t.Errorf("too many: %v", err)
	}
	if _, err := s.Backfill(t.Context(), "nothing", from, to, "me", true); tasker.CodeOf(err) != tasker.NotFound {
		t.Errorf("of nothing: %v", err)
	}
}

// dyingStore is the store of a process that dies: its steps are stored or not, and it
// does not learn which.
type dyingStore struct {
	scheduleStore
	random *rand.Rand
}

var errDied = tasker.Errorf(tasker.Unavailable, "the process died")

func (s *dyingStore) StepSchedule(ctx context.Context, step ledger.ScheduleStep) (ledger.ScheduleStepped, error) {
	switch s.random.IntN(3) {
	case 0:
		return ledger.ScheduleStepped{}, errDied
	case 1:
		if _, err := s.scheduleStore.StepSchedule(ctx, step); err != nil {
			return ledger.ScheduleStepped{}, err
		}
		return ledger.ScheduleStepped{}, errDied
	}
	return s.scheduleStore.StepSchedule(ctx, step)
}

// TestOneTaskPerSlot: two processes, which die and are replaced at the slots of a schedule
// that fires every second, make one task per slot.
func TestOneTaskPerSlot(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "1s", func(d *tasker.ScheduleDefinition) { d.Missed = tasker.MissedAll })
	const slots = 200
	for i := range slots {
		w.clock.advance(time.Second)
		var group sync.WaitGroup
		for n := range uint64(2) {
			group.Go(func() {
				s := w.schedulerWith(&dyingStore{scheduleStore{w.store.Schedules}, rand.New(rand.NewPCG(uint64(i), n))})
				if err := s.RunOnce(t.Context()); err != nil && !errors.Is(err, errDied) {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	w.run(w.scheduler())
	seen := map[string]bool{}
	for i, slot := range w.slots("backup") {
		if slot.Outcome != tasker.SlotFired || !slot.Time.Equal(began.Add(time.Duration(i+1)*time.Second)) || seen[slot.Identifier] {
			t.Errorf("slot %d: %+v", i, slot)
		}
		seen[slot.Identifier] = true
	}
	tasks, _, err := w.store.Tasks.ListTasks(t.Context(), tasker.TaskQuery{Type: "worker", Limit: 2 * slots})
	if err != nil || len(tasks) != slots || len(seen) != slots {
		t.Errorf("%d tasks and %d slots, %v, want %d", len(tasks), len(seen), err, slots)
	}
	for _, task := range tasks {
		if !seen[task.Identifier] {
			t.Errorf("task %s has no slot", task.Identifier)
		}
	}
}

// TestUpcoming tells local times, and where the clocks change.
func TestUpcoming(t *testing.T) {
	t.Parallel()
	schedule := tasker.Schedule{Name: "backup", Definition: tasker.ScheduleDefinition{Cron: "30 2 * * *", TimeZone: "Europe/Berlin", Jitter: "1m0s"}}
	table, err := TableOf(schedule)
	if err != nil {
		t.Fatal(err)
	}
	slots := Upcoming(table, "backup", schedule.Definition, time.Date(2027, 3, 26, 12, 0, 0, 0, time.UTC), 3)
	for i, want := range []struct{ utc, local, change string }{
		{"2027-03-27T01:30:00Z", "2027-03-27T02:30:00+01:00", ""},
		{"2027-03-28T01:30:00Z", "2027-03-28T03:30:00+02:00", "1h0m0s"},
		{"2027-03-29T00:30:00Z", "2027-03-29T02:30:00+02:00", ""},
	} {
		got := slots[i]
		if got.Time.Format(time.RFC3339) != want.utc || got.Local.Format(time.RFC3339) != want.local || got.ClockChange != want.change ||
			got.StartTime.Before(got.Time) || !got.StartTime.Before(got.Time.Add(time.Minute)) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// fakeStore is a store in memory, by the time of a bubble.
type fakeStore struct {
	Store
	mu   sync.Mutex
	due  time.Time
	seen []time.Time
}

func (f *fakeStore) Now() time.Time { return time.Now() }

func (f *fakeStore) NextDue(context.Context) (time.Time, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.due, !f.due.IsZero(), nil
}

func (f *fakeStore) DueSchedules(context.Context, int) ([]tasker.Schedule, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, time.Now())
	if !f.due.IsZero() && !time.Now().Before(f.due) {
		f.due = time.Time{}
	}
	return nil, nil
}

func (f *fakeStore) set(due time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.due = due
}

// lastSeen returns when schedules were last looked at.
func (f *fakeStore) lastSeen() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[len(f.seen)-1]
}

// looks returns how often schedules were looked at.
func (f *fakeStore) looks() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

// TestIsOnTime sleeps until the next schedule is due, and wakes when one has changed.
func TestIsOnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{}
		s := New(Config{Store: f})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			for ctx.Err() == nil {
				if err := s.RunOnce(ctx); err != nil {
					t.Error(err)
				}
				s.Pause(ctx)
			}
		})
		synctest.Wait()
		for _, d := range []time.Duration{7 * time.Millisecond, 300 * time.Millisecond} {
			due := time.Now().Add(d)
			f.set(due)
			s.Changed()
			time.Sleep(d)
			synctest.Wait()
			if got := f.lastSeen(); !got.Equal(due) {
				t.Errorf("looked at %s, want %s", got, due)
			}
		}
		// What another process changed is seen within the period.
		before := f.looks()
		time.Sleep(time.Hour)
		synctest.Wait()
		looks := f.looks() - before
		if most, least := int(time.Hour/(Period*3/4))+1, int(time.Hour/(Period*5/4))-1; looks < least || looks > most {
			t.Errorf("looked %d times in an hour, want %d-%d", looks, least, most)
		}
		stop()
		running.Wait()
	})
}

// hurriedStore lets somebody else act after a schedule was read, once.
type hurriedStore struct {
	scheduleStore
	first func()
}

func (s *hurriedStore) FindSchedule(ctx context.Context, name string) (tasker.Schedule, error) {
	schedule, err := s.scheduleStore.FindSchedule(ctx, name)
	if first := s.first; first != nil {
		s.first = nil
		first()
	}
	return schedule, err
}

// ListSlots is read after the schedule; what comes after it is found by the step.
func (s *hurriedStore) ListSlots(ctx context.Context, id int64, before time.Time, limit int) ([]tasker.ScheduleSlot, error) {
	slots, err := s.scheduleStore.ListSlots(ctx, id, before, limit)
	if first := s.first; first != nil {
		s.first = nil
		first()
	}
	return slots, err
}

// lateStore lets somebody else act after the slots were read, too.
type lateStore struct{ hurriedStore }

func (s *lateStore) FindSchedule(ctx context.Context, name string) (tasker.Schedule, error) {
	return s.scheduleStore.FindSchedule(ctx, name)
}

// TestTriggerExpected: of two people who trigger a schedule with the same latest slot before
// their eyes, one creates a task, whenever the other one comes.
func TestTriggerExpected(t *testing.T) {
	w := newWorld(t)
	w.put("backup", "5m", nil)
	trigger := func(s *Scheduler, by string, expect tasker.ScheduleExpect) (tasker.ScheduleSlot, error) {
		w.clock.advance(time.Second)
		return s.Trigger(t.Context(), "backup", by, expect)
	}
	latest := time.Time{}
	for _, between := range []func(first func()) Store{
		func(first func()) Store { return &hurriedStore{scheduleStore{w.store.Schedules}, first} },
		func(first func()) Store { return &lateStore{hurriedStore{scheduleStore{w.store.Schedules}, first}} },
	} {
		seen := tasker.ScheduleExpect{Latest: new(latest)}
		before := len(w.slots("backup"))
		s := w.schedulerWith(between(func() {
			slot, err := trigger(w.scheduler(), "ann", seen)
			if err != nil {
				t.Error(err)
			}
			latest = slot.Time
		}))
		if _, err := trigger(s, "bob", seen); tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), "FIRED by ann") {
			t.Errorf("both were heard: %v", err)
		}
		if got := len(w.slots("backup")); got != before+1 {
			t.Errorf("%d tasks, want one", got-before)
		}
	}
	for _, expect := range []tasker.ScheduleExpect{{Version: new(int64(7))}, {Pause: new(began)}, {Latest: new(time.Time{})}} {
		if _, err := trigger(w.scheduler(), "bob", expect); tasker.CodeOf(err) != tasker.Conflict {
			t.Errorf("%+v: %v", expect, err)
		}
	}
	all := tasker.ScheduleExpect{Version: new(int64(1)), Pause: new(time.Time{}), Latest: &latest}
	if _, err := trigger(w.scheduler(), "bob", all); err != nil {
		t.Error(err)
	}
}
