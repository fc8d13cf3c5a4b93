package store_test

import (
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// A manager that was paused between taking its lease and adopting, and was
// replaced meanwhile, must not treat its successor's runs as interrupted.
func TestAdoptionByAManagerThatWasReplaced(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one")
		f.clock.advance(2 * lease)
		f.acquire(t, managerB, "a")
		f.receive(t, managerB, incoming(task, "a", tasker.Running))
		work, err := f.Attempts.InterruptedWork(t.Context(), managerA, "a", 10)
		if err != nil || len(work) != 0 {
			t.Errorf("the successor's run is given as interrupted: %+v, %v", work, err)
		}
	})
}

// A manager marked as lost before it has adopted its predecessor's runs adopts
// them all the same: nobody else would.
func TestAdoptionOfWhatIsLost(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task, waits := f.send(t, "runs"), f.send(t, "waits")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(waits, "a", tasker.Received))
		f.clock.advance(2 * lease)
		f.acquire(t, managerB, "a")
		f.clock.advance(2 * lease)
		if lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil || len(lost) != 2 {
			t.Fatalf("lost %v, %v", lost, err)
		}
		if u, err := f.Attempts.UnfinishedWork(t.Context(), managerB, "a"); err != nil || u != (ledger.Unfinished{Lost: true}) {
			t.Errorf("unfinished: %+v, %v", u, err)
		}
		work, err := f.Attempts.InterruptedWork(t.Context(), managerB, "a", 10)
		if err != nil || len(work) != 1 || work[0].Task.ID != task.ID || work[0].Attempt != 1 {
			t.Fatalf("interrupted: %+v, %v", work, err)
		}
		f.finish(t, finish(task, "a", 1, tasker.ResultFailed))
		if work, err := f.Attempts.InterruptedWork(t.Context(), managerB, "a", 10); err != nil || len(work) != 0 {
			t.Errorf("interrupted: %+v, %v", work, err)
		}
	})
}

// The answer to recording or starting an attempt is lost with the manager's
// connection, and its endpoint was marked lost when it reconnects: the attempt
// has begun all the same, and nobody else runs it.
func TestBegunAndLost(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		recorded, waited := f.send(t, "recorded"), f.send(t, "waited")
		f.receive(t, managerA, incoming(recorded, "a", tasker.Running), incoming(waited, "a", tasker.Received))
		key := tasker.ResultKey{TaskID: waited.ID, Endpoint: "a"}
		begin := []ledger.Start{{ResultKey: key}}
		if started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerA, begin)); err != nil || !started[0] {
			t.Fatalf("started %v, %v", started, err)
		}
		f.clock.advance(time.Hour)
		if lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil || len(lost) != 2 {
			t.Fatalf("lost %v, %v", lost, err)
		}
		again := f.receive(t, managerA, incoming(recorded, "a", tasker.Running))[0]
		if again.Outcome != ledger.Duplicate || !again.Own || again.State != tasker.Running || again.Attempt != 1 {
			t.Errorf("the recorded one is given as %+v", again)
		}
		begin = append(begin, ledger.Start{ResultKey: tasker.ResultKey{TaskID: recorded.ID, Endpoint: "a"}})
		started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerA, begin))
		if err != nil || !started[0] || !started[1] {
			t.Errorf("started %v, %v", started, err)
		}
		if started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerB, begin)); err != nil || started[0] || started[1] {
			t.Errorf("another manager started %v, %v", started, err)
		}
	})
}

// A result that waits for its next attempt shows why, also after it was lost
// and came back.
func TestBackFromLostSaysWhy(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		again := finish(task, "a", 1, tasker.Retrying)
		again.RetryDelay = time.Hour
		f.finish(t, again)
		f.clock.advance(time.Minute)
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-time.Second), 10); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"a"}); err != nil {
			t.Fatal(err)
		}
		results, err := f.Results.TaskResults(t.Context(), task.ID)
		if err != nil || results[0].State != tasker.Retrying || results[0].Errnr != 1 || results[0].Errmsg != "it failed" {
			t.Errorf("%+v, %v", results, err)
		}
	})
}

// TestLateFinishOfAnInterruptedAttempt is not stored, even while the result of
// the interruption is LOST.
func TestLateFinishOfAnInterruptedAttempt(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.clock.advance(2 * lease)
		f.acquire(t, managerB, "a")
		if !f.finish(t, finish(task, "a", 1, tasker.Retrying))[0] {
			t.Fatal("the interruption is not stored")
		}
		f.clock.advance(2 * lease)
		if lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil || len(lost) != 1 {
			t.Fatalf("lost %v, %v", lost, err)
		}
		if f.finish(t, finish(task, "a", 1, tasker.ResultDone))[0] {
			t.Error("the end of an attempt that was interrupted is stored")
		}
		if n, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"a"}); err != nil || n != 1 || f.states(t, task)["a"] != tasker.Retrying {
			t.Errorf("%d are back, %v: %v", n, err, f.states(t, task))
		}
	})
}
