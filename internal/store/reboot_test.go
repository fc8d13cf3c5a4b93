package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

const (
	bootA = "3f0c7e1a-6f0e-4d39-9a44-0d4a3f6f2b11"
	bootB = "9b1d2c55-2b7a-4f6e-8c61-7a0b1c2d3e4f"
)

func (f fixture) await(t *testing.T, task tasker.Task, endpoint string, attempt, step int, boot string, want bool) {
	t.Helper()
	stored, err := f.Attempts.AwaitReboot(t.Context(), tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, attempt, step, boot)
	if err != nil || stored != want {
		t.Fatalf("AwaitReboot(%d, %d): %v, %v, want %v", attempt, step, stored, err, want)
	}
}

func (f fixture) resume(t *testing.T, manager string, task tasker.Task, endpoint string, attempt int, want bool) {
	t.Helper()
	resumed, err := f.Attempts.ResumeAttempts(t.Context(), startsOf(manager,
		[]ledger.Start{{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Attempt: attempt}}))
	if err != nil || len(resumed) != 1 || resumed[0] != want {
		t.Fatalf("ResumeAttempts(%s, %d): %v, %v, want %v", manager, attempt, resumed, err, want)
	}
}

// interrupted returns the one result that a manager finds interrupted.
func (f fixture) interrupted(t *testing.T, manager, endpoint string) ledger.Work {
	t.Helper()
	work, err := f.Attempts.InterruptedWork(t.Context(), manager, endpoint, 10)
	if err != nil || len(work) != 1 {
		t.Fatalf("interrupted: %+v, %v", work, err)
	}
	return work[0]
}

func TestReboot(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Received))
		f.await(t, task, "a", 0, 2, bootA, false) // it does not run
		f.restart(t, task, "a", 0)
		began := f.Now()
		f.await(t, task, "a", 2, 2, bootA, false) // another attempt
		f.await(t, task, "a", 1, 2, bootA, true)
		f.await(t, task, "a", 1, 2, bootA, true) // again, after a lost answer

		f.clock.advance(2 * lease) // the machine boots
		f.resume(t, managerB, task, "a", 1, false)
		f.acquire(t, managerB, "a")
		if w := f.interrupted(t, managerB, "a"); w.State != tasker.Running || w.Step != 2 || w.AwaitsReboot != bootA || w.Attempt != 1 {
			t.Errorf("%+v", w)
		}
		f.resume(t, managerB, task, "a", 0, false) // another attempt
		f.resume(t, managerA, task, "a", 1, false) // no longer holds the endpoint
		f.resume(t, managerB, task, "a", 1, true)
		f.resume(t, managerB, task, "a", 1, true) // again, after a lost answer
		if work, err := f.Attempts.InterruptedWork(t.Context(), managerB, "a", 10); err != nil || len(work) != 0 {
			t.Errorf("it runs, and is given as interrupted: %+v, %v", work, err)
		}
		r := f.result(t, task, "a")
		if r.State != tasker.Running || r.Attempt != 1 || !r.LastModifiedTime.Equal(began) {
			t.Errorf("%+v", r)
		}
		if a := f.attempts(t, task, "a"); len(a) != 1 || !a[0].StartTime.Equal(began) {
			t.Errorf("%+v", a)
		}
		f.await(t, task, "a", 1, 2, bootA, false) // late, for the step before
		f.await(t, task, "a", 1, 3, bootB, true)
		f.resume(t, managerB, task, "a", 1, true) // by the same manager
		if !f.finish(t, finish(task, "a", 1, tasker.ResultDone))[0] {
			t.Error("its end was not stored")
		}
		f.resume(t, managerB, task, "a", 1, false)
		f.await(t, task, "a", 1, 4, bootB, false)
	})
}

// An attempt that is not resumed fails like an interrupted one, and the next
// one begins at the first step.
func TestRebootThatDidNotCome(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.await(t, task, "a", 1, 2, bootA, true)
		f.clock.advance(2 * lease)
		f.acquire(t, managerB, "a")
		if !f.finish(t, finish(task, "a", 1, tasker.Retrying))[0] {
			t.Fatal("the interruption was not stored")
		}
		var awaits int
		if err := f.behind(t).QueryRowContext(t.Context(), "SELECT COUNT(awaits_reboot) FROM task_results").Scan(&awaits); err != nil ||
			awaits != 0 {
			t.Errorf("%d results await a reboot, %v", awaits, err)
		}
		f.resume(t, managerB, task, "a", 1, false)
		started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerB,
			[]ledger.Start{{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Attempt: 1}}))
		if err != nil || !started[0] {
			t.Fatal(started, err)
		}
		f.resume(t, managerB, task, "a", 2, false) // runs, and was not resumed
		f.clock.advance(2 * lease)
		f.acquire(t, managerA, "a")
		if w := f.interrupted(t, managerA, "a"); w.Step != 0 || w.AwaitsReboot != "" || w.Attempt != 2 {
			t.Errorf("%+v", w)
		}
	})
}

// A slow boot: the endpoint is marked lost meanwhile.
func TestRebootWhileLost(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task, plain := f.send(t, "one", "a"), f.send(t, "plain", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(plain, "a", tasker.Running))
		f.await(t, task, "a", 1, 2, bootA, true)
		f.clock.advance(time.Hour)
		if lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil || len(lost) != 2 {
			t.Fatalf("lost %v, %v", lost, err)
		}
		f.acquire(t, managerB, "a")
		starts := []ledger.Start{
			{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Attempt: 1},
			{ResultKey: tasker.ResultKey{TaskID: plain.ID, Endpoint: "a"}, Attempt: 1},
		}
		resumed, err := f.Attempts.ResumeAttempts(t.Context(), startsOf(managerB, starts))
		if err != nil || fmt.Sprint(resumed) != "[true false]" {
			t.Fatalf("%v, %v", resumed, err)
		}
		r := f.result(t, task, "a")
		if r.State != tasker.Running || r.Errnr != 0 || r.Errmsg != "" || !r.LastModifiedTime.Equal(f.Now()) {
			t.Errorf("%+v", r)
		}
		if f.states(t, plain)["a"] != tasker.Lost {
			t.Error("the other one is not LOST any more")
		}
		// Lost again, with the answer lost: it runs all the same.
		f.clock.advance(time.Hour)
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil {
			t.Fatal(err)
		}
		f.resume(t, managerB, task, "a", 1, true)
	})
}

// An attempt that awaits a reboot is not mistaken for one whose start got no
// answer: its handler has run.
func TestAwaitingARebootIsNotBegun(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		again := []ledger.Start{{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}}}
		if started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerA, again)); err != nil || !started[0] {
			t.Fatalf("started %v, %v", started, err)
		}
		f.await(t, task, "a", 1, 2, bootA, true)
		if started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerA, again)); err != nil || started[0] {
			t.Errorf("it awaits a reboot: started %v, %v", started, err)
		}
		f.clock.advance(2 * lease)
		f.acquire(t, managerB, "a")
		f.resume(t, managerB, task, "a", 1, true)
		if started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerB, again)); err != nil || started[0] {
			t.Errorf("it goes on: started %v, %v", started, err)
		}
	})
}
