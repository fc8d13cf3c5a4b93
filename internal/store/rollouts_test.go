package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/rollout"
)

// A rollout goes from wave to wave as these end, with a soak after each, and the task ends
// with the last one.
func TestRolloutWaves(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 10, `{"batch":[1,"30%","100%"],"pause":"30s"}`)
		if r := fl.task.Rollout; r.State != "RUNNING" || r.Wave != 1 || r.HaltsAt != 1 || len(r.Waves) != 3 || r.Waves[1].Size != 2 ||
			r.Endpoints != 10 || fl.task.Status != tasker.Created {
			t.Errorf("the answer has %+v", r)
		}
		fl.want(t, rollout.Running, 1, 1)
		if status := fl.status(t, fl.task); status != tasker.Sent {
			t.Errorf("it is %s", status)
		}
		// Nobody else has it: neither by a message, nor by catching up.
		refused := fl.receive(t, managerA, incoming(fl.task, "e02", tasker.Running))
		if refused[0].Outcome != ledger.Refused {
			t.Errorf("an endpoint of the second wave: %+v", refused)
		}
		wantUnreceived(t, f, "e01", "r")
		wantUnreceived(t, f, "e02", "")
		fl.end(t, tasker.ResultDone, "e01")
		fl.want(t, rollout.Soaking, 1, 1)
		if task, r := fl.found(t); task.Status != tasker.Sent || !r.Until.Equal(f.Now().Add(30*time.Second)) || task.Unopened != 9 {
			t.Errorf("%s, until %v, %d not open", task.Status, r.Until, task.Unopened)
		}
		fl.after(t, 29*time.Second)
		fl.want(t, rollout.Soaking, 1, 1)
		fl.after(t, time.Second)
		fl.want(t, rollout.Running, 2, 3)
		wantUnreceived(t, f, "e02", "r")
		fl.end(t, tasker.ResultDone, "e02", "e03")
		fl.after(t, 30*time.Second)
		fl.want(t, rollout.Running, 3, 10)
		fl.end(t, tasker.ResultDone, fl.names[3:]...)
		fl.want(t, rollout.Done, 3, 10)
		if status := fl.status(t, fl.task); status != tasker.Done {
			t.Errorf("it ended %s", status)
		}
		if due, err := f.Rollouts.OpenRollouts(t.Context(), nil, 10); err != nil || len(due) > 0 {
			t.Errorf("open: %v, %v", due, err)
		}
		if !slices.Equal(fl.sent, fl.names) {
			t.Errorf("sent to %v", fl.sent)
		}
		want := "[RUNNING 1 SOAKING 1 RUNNING 2 SOAKING 2 RUNNING 3 RUNNING 3 DONE 3]"
		if got := fmt.Sprint(slices.DeleteFunc(fl.moves, func(m string) bool { return m == "" })); !strings.HasSuffix(got, "DONE 3]") {
			t.Errorf("it went %s, want %s", got, want)
		}
	})
}

// A rollout is listed by its state, in pages, and says what has become of each wave.
func TestRolloutCounts(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 4, `{"batch":[1,"100%"],"max_failures":1,"wave_max_failures":"100%"}`)
		other := f.rollAt(t, 4, "s", `{"batch":[1,"100%"]}`)
		fl.end(t, tasker.ResultFailed, "e01")
		fl.end(t, tasker.ResultFailed, "e02")
		fl.want(t, rollout.Halted, 2, 4)
		task, _ := fl.found(t)
		public, progress, err := f.Rollouts.CountRollout(t.Context(), &task, time.Minute, 1)
		want := tasker.RolloutProgress{Total: tasker.RolloutCounts{Bad: 2, Unfinished: 2}, Waves: []tasker.WaveProgress{
			{N: 1, State: tasker.WaveEnded, RolloutCounts: tasker.RolloutCounts{Bad: 1}},
			{N: 2, State: tasker.WaveOpen, RolloutCounts: tasker.RolloutCounts{Bad: 1, Unfinished: 2}},
		}}
		if diff := cmp.Diff(want, progress); err != nil || diff != "" || public.State != "HALTED" || len(public.Bad) != 1 {
			t.Errorf("%+v, %v: %s", public, err, diff)
		}
		all := []string{"HALTED", "RUNNING", "DONE"}
		for name, test := range map[string]struct {
			q    tasker.RolloutQuery
			want []int64
		}{
			"both":         {tasker.RolloutQuery{States: all, Limit: 2}, []int64{other.task.ID, task.ID, 0}},
			"the first":    {tasker.RolloutQuery{States: all, Limit: 1}, []int64{other.task.ID, other.task.ID}},
			"the second":   {tasker.RolloutQuery{States: all, Limit: 1, Before: other.task.ID}, []int64{task.ID, 0}},
			"a state":      {tasker.RolloutQuery{States: []string{"HALTED"}, Limit: 5}, []int64{task.ID, 0}},
			"other states": {tasker.RolloutQuery{States: []string{"DONE", "PAUSED"}, Limit: 5}, []int64{0}},
			"its type":     {tasker.RolloutQuery{States: all, Types: []string{"other", task.Type}, Limit: 2}, []int64{other.task.ID, task.ID, 0}},
			"other types":  {tasker.RolloutQuery{States: all, Types: []string{"other"}, Limit: 1}, []int64{other.task.ID}},
			"few bytes":    {tasker.RolloutQuery{States: all, Limit: 2, MaxBytes: 1}, []int64{other.task.ID, other.task.ID}},
		} {
			tasks, next, err := f.Rollouts.ListRollouts(t.Context(), test.q)
			var got []int64
			for _, found := range tasks {
				got = append(got, found.ID)
			}
			if got = append(got, next); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%s: %v, %v, want %v", name, got, err, test.want)
			}
		}
	})
}

// wantUnreceived wants the tasks that an endpoint finds when it catches up.
func wantUnreceived(t *testing.T, f fixture, endpoint, want string) {
	t.Helper()
	tasks, _, err := f.Inbox.UnreceivedTasks(t.Context(), endpoint, []string{"worker"}, time.Time{}, ledger.SentPosition{}, 10)
	var names []string
	for _, task := range tasks {
		names = append(names, task.Identifier)
	}
	if got := strings.Join(names, " "); err != nil || got != want {
		t.Errorf("%s finds %q, want %q, %v", endpoint, got, want, err)
	}
}

// The sizes of small rollouts.
func TestRolloutSizes(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for _, test := range []struct {
			n      int
			object string
			want   string
		}{
			{1, `{"batch":[1,"10%","50%","100%"]}`, "1"},              // N = 1
			{2, `{"batch":[1,"10%","50%","100%"]}`, "1 1"},            // N smaller than the number of waves
			{3, `{"batch":"10%"}`, "1 1 1"},                           // 10 % of 3
			{50, `{"batch":[1,"10%","50%","100%"]}`, "1 4 20 25"},     // as in the documentation
			{5, `{"batch":2,"max_failures":"100%"}`, "2 2 1"},         // a single number
			{4, `{"batch":["100%"],"wave_max_failures":"100%"}`, "4"}, // all at once
		} {
			task := rolloutOf(t, test.object, numbered(test.n)...)
			task.Identifier = fmt.Sprintf("n%d-%d", test.n, len(test.object))
			created, _, err := f.Tasks.CreateTask(t.Context(), task)
			if err != nil {
				t.Fatal(err)
			}
			var sizes []string
			for _, w := range created.Rollout.Waves {
				sizes = append(sizes, fmt.Sprint(w.Size))
			}
			if got := strings.Join(sizes, " "); got != test.want {
				t.Errorf("%d endpoints, %s: waves of %s, want %s", test.n, test.object, got, test.want)
			}
		}
	})
}

// Too many bad endpoints halt a rollout: nothing starts any more, also where the task has
// been received; what runs finishes.
func TestRolloutHalts(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 10, `{"batch":["50%","100%"],"max_failures":1,"wave_max_failures":"100%"}`)
		fl.want(t, rollout.Running, 1, 5)
		fl.get(t, tasker.Received, "e04")
		fl.get(t, tasker.Running, "e03")
		fl.end(t, tasker.ResultFailed, "e01")
		fl.want(t, rollout.Running, 1, 5)
		fl.get(t, tasker.Running, "e02")
		f.finish(t, finish(fl.task, "e02", 1, tasker.ResultFailed))
		if halted := fl.advance(t); halted != "max_failures" {
			t.Errorf("halted by %q", halted)
		}
		fl.want(t, rollout.Halted, 1, 5)
		_, r := fl.found(t)
		if !slices.Equal(r.Bad, []string{"e01", "e02"}) || r.Reason != "bad endpoints: 2 of 10; the rollout halts at 2" || r.By != "" {
			t.Errorf("%+v", r)
		}
		total, waits, err := f.Inspection.WaitingRollouts(t.Context(), 10)
		if err != nil || total != 1 || waits[0].Identifier != "r" || waits[0].Rollout.State != "HALTED" || waits[0].Rollout.Reason != r.Reason {
			t.Errorf("waiting: %d, %+v, %v", total, waits, err)
		}
		if f.attempt(t, fl.task, "e04", 0) {
			t.Error("an attempt started")
		}
		rec := f.receive(t, managerA, incoming(fl.task, "e05", tasker.Running))
		if rec[0].Outcome != ledger.Duplicate || rec[0].State != tasker.Received {
			t.Errorf("what arrives: %+v", rec[0])
		}
		if len(fl.told) != 5 {
			t.Errorf("told %v", fl.told)
		}
		fl.ends(t, tasker.ResultDone, "e03")
		fl.want(t, rollout.Halted, 1, 5)
		fl.after(t, time.Hour)
		fl.want(t, rollout.Halted, 1, 5)
		if task, _ := fl.found(t); task.Status.Final() || task.Hold == nil || task.Hold.By != "rollout" {
			t.Errorf("%s, %+v", task.Status, task.Hold)
		}
	})
}

// All of the first wave are silent: they are unreached when the time to receive the task has
// passed, which counts from when their wave was opened, and the task is INCOMPLETE.
func TestRolloutUnreached(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 4, `{"batch":[2,"100%"]}`)
		fl.after(t, waveWait-time.Microsecond)
		fl.want(t, rollout.Running, 1, 2)
		if status := fl.status(t, fl.task); status != tasker.Sent {
			t.Errorf("it is %s", status)
		}
		fl.after(t, time.Microsecond)
		fl.want(t, rollout.Halted, 1, 2)
		task, r := fl.found(t)
		if task.Status != tasker.Incomplete || !slices.Equal(r.Bad, []string{"e01", "e02"}) || !strings.Contains(r.Reason, "unreached: 2") {
			t.Errorf("%s, %+v", task.Status, r)
		}

		// If they are ignored it goes on, and those of the next wave have the whole time.
		other := f.rollAgain(t, 4, `{"batch":[2,"100%"],"unreached":"ignore"}`)
		other.after(t, waveWait)
		other.want(t, rollout.Running, 2, 4)
		other.after(t, waveWait/2)
		if looks, err := f.unsettled(t, []int64{other.task.ID}, waveWait); err != nil || len(looks) > 0 {
			t.Errorf("behind: %v, %v", looks, err)
		}
		other.end(t, tasker.ResultDone, "e01", "e02", "e03", "e04")
		other.want(t, rollout.Done, 2, 4)
		if status := other.status(t, other.task); status != tasker.Done {
			t.Errorf("it ended %s", status)
		}
	})
}

// A task waits for a wave longer than endpoints have to receive it, and is not INCOMPLETE:
// nobody is missing before the time of an opened wave has passed.
func TestRolloutStaysSent(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 2, `{"batch":1,"approve":true}`)
		want := func(want tasker.TaskStatus) {
			t.Helper()
			if _, err := f.Statuses.Aggregate(t.Context(), []int64{fl.task.ID}, waveWait); err != nil {
				t.Fatal(err)
			}
			if status := fl.status(t, fl.task); status != want {
				t.Errorf("it is %s, want %s", status, want)
			}
		}
		fl.end(t, tasker.ResultDone, "e01")
		fl.after(t, 2*waveWait)
		fl.want(t, rollout.WaitingApproval, 1, 1)
		want(tasker.Sent)
		fl.approve(t, 0, true)
		fl.after(t, waveWait-time.Microsecond)
		want(tasker.Sent)
		fl.after(t, time.Microsecond)
		want(tasker.Incomplete)
	})
}

// If the only failure is the last endpoint there is nothing left to halt: the rollout is
// DONE, and the task tells the failure.
func TestRolloutFailsLast(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 3, `{"batch":1}`)
		fl.end(t, tasker.ResultDone, "e01")
		fl.end(t, tasker.ResultDone, "e02")
		fl.want(t, rollout.Running, 3, 3)
		fl.end(t, tasker.ResultFailed, "e03")
		fl.want(t, rollout.Done, 3, 3)
		if status := fl.status(t, fl.task); status != tasker.Failed {
			t.Errorf("it ended %s", status)
		}
	})
}

// What becomes bad during a soak counts, also an endpoint that is lost; and if that one comes
// back as DONE it no longer counts, but the rollout stays halted.
func TestRolloutSoaks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 10, `{"batch":[2,"100%"],"pause":"10m","proceed_at":"50%"}`)
		fl.get(t, tasker.Running, "e02")
		fl.end(t, tasker.ResultDone, "e01")
		fl.want(t, rollout.Soaking, 1, 2)
		f.clock.advance(2 * lease)
		f.acquire(t, managerA, "e01")
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 100); err != nil {
			t.Fatal(err)
		}
		fl.advance(t)
		fl.want(t, rollout.Halted, 1, 2)
		if _, r := fl.found(t); !slices.Equal(r.Bad, []string{"e02"}) {
			t.Errorf("bad: %v", r.Bad)
		}
		f.acquire(t, managerA, "e02")
		if _, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"e02"}); err != nil {
			t.Fatal(err)
		}
		fl.ends(t, tasker.ResultDone, "e02")
		fl.want(t, rollout.Halted, 1, 2)
		if _, r := fl.found(t); len(r.Bad) > 0 {
			t.Errorf("bad: %v", r.Bad)
		}
	})
}

// A wave ends at its timeout: what runs on is late, which counts, and is named.
func TestRolloutWaveTimeout(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 10, `{"batch":[3,"100%"],"wave_timeout":"15m","max_failures":1,"wave_max_failures":1}`)
		fl.get(t, tasker.Running, "e03")
		fl.end(t, tasker.ResultDone, "e01", "e02")
		fl.after(t, 15*time.Minute-time.Second)
		fl.want(t, rollout.Running, 1, 3)
		fl.after(t, time.Second)
		fl.want(t, rollout.Running, 2, 10)
		if _, r := fl.found(t); !slices.Equal(r.Bad, []string{"e03"}) {
			t.Errorf("bad: %v", r.Bad)
		}
		fl.ends(t, tasker.ResultDone, "e03")
		if _, r := fl.found(t); len(r.Bad) > 0 {
			t.Errorf("bad: %v", r.Bad)
		}
	})
}

// A window opens as many endpoints as there is room for; with ramp it doubles.
func TestRolloutWindow(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 8, `{"max_concurrency":4,"ramp":true,"max_failures":1}`)
		fl.want(t, rollout.Running, 1, 1)
		fl.end(t, tasker.ResultDone, "e01")
		fl.want(t, rollout.Running, 3, 3)
		fl.end(t, tasker.ResultDone, "e02", "e03")
		fl.want(t, rollout.Running, 7, 7)
		fl.end(t, tasker.ResultFailed, "e04", "e05")
		fl.want(t, rollout.Halted, 7, 7)
		if _, r := fl.found(t); r.MaxConcurrency != 4 || !r.Ramp || r.BadAtMost != 5 || !slices.Equal(r.Bad, []string{"e04", "e05"}) {
			t.Errorf("%+v", r)
		}
	})
}

// A rollout that starts later decides on its endpoints then, and fails if it cannot have
// them.
func TestRolloutStartsLater(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		names := numbered(4)
		f.acquire(t, managerA, names...)
		later := rolloutOf(t, `{"batch":[1,"100%"],"order":"name"}`)
		later.Status, later.Start = tasker.Scheduled, tasker.Start{In: time.Minute}
		task, _, err := f.Tasks.CreateTask(t.Context(), later)
		if err != nil || task.Rollout == nil || task.Rollout.State != "" || f.rows(t, "rollouts") > 0 {
			t.Fatalf("%+v, %v", task.Rollout, err)
		}
		short := rolloutOf(t, `{"batch":[1,2],"order":"name"}`)
		short.Identifier, short.Status, short.Start = "short", tasker.Scheduled, tasker.Start{In: time.Minute}
		if _, _, err := f.Tasks.CreateTask(t.Context(), short); err != nil {
			t.Fatal(err)
		}
		act := tasker.RolloutAct{Type: "worker", Identifier: "r"}
		_, err = f.Rollouts.Approve(t.Context(), act, waveWait)
		if tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), "has not started") {
			t.Errorf("approved: %v", err)
		}
		f.clock.advance(time.Minute)
		started, choosing, err := f.Schedule.StartDue(t.Context(), 10, time.Minute)
		if err != nil || len(started) > 0 || len(choosing) != 2 {
			t.Fatalf("%v, %v, %v", started, choosing, err)
		}
		for _, claimed := range choosing {
			begun, ok, err := f.Schedule.StartChosen(t.Context(), claimed, names, 4)
			if claimed.Identifier == "short" {
				if tasker.CodeOf(err) != tasker.Invalid || !strings.Contains(err.Error(), "the waves end before the last of 4 endpoints") {
					t.Errorf("started: %v, %v", ok, err)
				}
				continue
			}
			if err != nil || !ok || begun.Rollout.Wave != 1 || !slices.Equal(begun.Endpoints, names) || *begun.Chosen != 4 {
				t.Errorf("%+v, %v, %v", begun, ok, err)
			}
		}
		fl := &fleet{fixture: f, task: task, names: names}
		fl.deliver(t, ledger.WaveClaim{TaskID: task.ID, Attempt: 1})
		fl.want(t, rollout.Running, 1, 1)
		fl.end(t, tasker.ResultDone, "e01")
		fl.want(t, rollout.Running, 2, 4)
	})
}

// Endpoints are tried in the order that the settings say, and silent ones are left out by
// name.
func TestRolloutFreezes(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		names := numbered(6)
		f.acquire(t, managerA, names[:2]...)
		f.clock.advance(10 * time.Minute)
		f.acquire(t, managerA, names[2:5]...)
		f.exec(t, `UPDATE endpoints SET labels = '{"zone":"b"}' WHERE name = 'e03'`)
		f.exec(t, `UPDATE endpoints SET labels = '{"zone":"a"}' WHERE name IN ('e04', 'e05')`)
		task := rolloutOf(t, `{"batch":[2,"100%"],"order":"label:zone","skip_silent":"5m"}`, names...)
		plan, err := f.Rollouts.PlanRollout(t.Context(), &task, names)
		if err != nil || plan.Endpoints != 3 || !slices.Equal(plan.Skipped, []string{"e01", "e02", "e06"}) || f.rows(t, "tasks") > 0 {
			t.Errorf("%+v, %v", plan, err)
		}
		created, _, err := f.Tasks.CreateTask(t.Context(), task)
		if err != nil || !slices.Equal(created.Endpoints, names[2:5]) || !slices.Equal(created.Rollout.Skipped, plan.Skipped) {
			t.Fatalf("%+v, %v", created, err)
		}
		fl := &fleet{fixture: f, task: created, names: names[2:5]}
		fl.deliver(t, ledger.WaveClaim{TaskID: created.ID, Attempt: 1})
		slices.Sort(fl.sent)
		if !slices.Equal(fl.sent, []string{"e04", "e05"}) {
			t.Errorf("the first wave is %v", fl.sent)
		}
		// The same POST is the same task, another rollout is another one.
		if again, isNew, err := f.Tasks.CreateTask(t.Context(), task); err != nil || isNew || again.ID != created.ID {
			t.Errorf("again: %v, %v", isNew, err)
		}
		task.Rollout = &tasker.Rollout{Settings: settingsOf(t, `{"batch":3}`)}
		if _, _, err := f.Tasks.CreateTask(t.Context(), task); tasker.CodeOf(err) != tasker.Conflict {
			t.Errorf("another one: %v", err)
		}
		silent := rolloutOf(t, `{"batch":1,"skip_silent":"5m"}`, names[:2]...)
		silent.Identifier = "silent"
		if _, _, err := f.Tasks.CreateTask(t.Context(), silent); tasker.CodeOf(err) != tasker.Invalid {
			t.Errorf("without endpoints: %v", err)
		}
		if n := f.rows(t, "rollouts"); n != 1 {
			t.Errorf("%d rollouts are stored", n)
		}
	})
}
