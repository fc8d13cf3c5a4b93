package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

func (f fixture) cancel(t *testing.T, task tasker.Task, endpoints ...string) tasker.CancelOutcome {
	t.Helper()
	outcome, err := f.Cancels.CancelTask(t.Context(), cancelOf(task, endpoints...))
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

func cancelOf(task tasker.Task, endpoints ...string) tasker.CancelRequest {
	return tasker.CancelRequest{Type: task.Type, Identifier: task.Identifier, Endpoints: endpoints, By: "ann", Reason: "wrong file"}
}

// wantSets compares an outcome with "stopped / stopping / finished before / unreachable".
func wantSets(t *testing.T, o tasker.CancelOutcome, want string) {
	t.Helper()
	var sets []string
	for _, set := range [][]string{o.Stopped, o.Stopping, o.FinishedBefore, o.Unreachable} {
		sets = append(sets, strings.Join(set, " "))
	}
	if got := strings.Join(sets, "/"); got != want {
		t.Errorf("the sets are %q, want %q", got, want)
	}
}

// A cancellation finds each endpoint at another step, and says so; the same again
// changes nothing.
func TestCancelTask(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "done", "failed", "retrying", "running", "waiting", "away", "lost", "missing")
		task := f.send(t, "one", "done", "failed", "retrying", "running", "waiting", "away", "lost", "missing")
		f.receive(t, managerA, incoming(task, "done", tasker.Running), incoming(task, "failed", tasker.Running),
			incoming(task, "retrying", tasker.Running), incoming(task, "running", tasker.Running),
			incoming(task, "waiting", tasker.Received), incoming(task, "lost", tasker.Received), incoming(task, "away", tasker.Running))
		retry := finish(task, "retrying", 1, tasker.Retrying)
		retry.RetryDelay = time.Hour
		f.finish(t, finish(task, "done", 1, tasker.ResultDone), finish(task, "failed", 1, tasker.ResultFailed), retry)
		f.clock.advance(2 * lease)
		for _, name := range []string{"done", "failed", "retrying", "running", "waiting", "missing"} {
			if held, err := f.Endpoints.Heartbeat(t.Context(), managerA, []string{name}, lease); err != nil || !held {
				t.Fatal(held, err)
			}
		}
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil {
			t.Fatal(err)
		}
		mark, err := f.Endpoints.CommandMark(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const want = "lost missing retrying waiting/running/done failed/away"
		for range 2 {
			wantSets(t, f.cancel(t, task), want)
		}
		if n := f.rows(t, "cancels"); n != 1 {
			t.Errorf("%d cancellations are stored, want 1", n)
		}
		if again, err := f.Endpoints.CommandMark(t.Context()); err != nil || again == mark {
			t.Errorf("the mark stays %s, %v", mark, err)
		}
		found := f.find(t, task)
		if found.Status != tasker.Canceling || found.Cancel == nil || found.Cancel.By != "ann" || found.Cancel.Reason != "wrong file" ||
			!found.Cancel.At.Equal(f.Now()) || !found.Cancel.All {
			t.Errorf("%s, %+v", found.Status, found.Cancel)
		}
		if r := f.result(t, task, "missing"); r.State != tasker.ResultCanceled || r.Errnr != tasker.ErrnrCanceled ||
			r.Errmsg != "canceled by ann: wrong file" || r.Attempt != 0 || !r.CancelRequested {
			t.Errorf("%+v", r)
		}
		if r := f.result(t, task, "running"); r.State != tasker.Running || !r.CancelRequested {
			t.Errorf("%+v", r)
		}
		at, err := f.Endpoints.CommandsAt(t.Context(), []string{"away", "done", "missing", "running"})
		if err != nil || !slices.Equal(at, []ledger.Commands{{Canceled: true}, {}, {}, {Canceled: true}}) {
			t.Errorf("told to stop: %v, %v", at, err)
		}
		f.finish(t, finish(task, "running", 1, tasker.ResultCanceled), finish(task, "away", 1, tasker.ResultDone))
		f.aggregate(t, task.ID)
		if status := f.status(t, task); status != tasker.Canceled {
			t.Errorf("it ended %s", status)
		}
		wantSets(t, f.cancel(t, task), "lost missing retrying running waiting//away done failed/")
	})
}

// Nothing starts once a task is canceled: no first attempt, no retry, no next step,
// no message that is late, and no attempt that is given back.
func TestNothingStartsAfterCancel(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c", "d", "new")
		task := f.send(t, "one", "a", "b", "c", "d")
		key := func(endpoint string) tasker.ResultKey { return tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint} }
		f.receive(t, managerA, incoming(task, "a", tasker.Received), incoming(task, "b", tasker.Running),
			incoming(task, "c", tasker.Running))
		f.await(t, task, "c", 1, 2, bootA, true)
		wantSets(t, f.cancel(t, task), "a d/b c//")
		retry := finish(task, "b", 1, tasker.Retrying)
		if stored := f.finish(t, retry); !stored[0] {
			t.Error("the end of the attempt is not stored")
		}
		r := f.result(t, task, "b")
		if r.State != tasker.ResultCanceled || r.Errnr != tasker.ErrnrCanceled || r.RetryTime != nil {
			t.Errorf("it would be retried: %+v", r)
		}
		if history := f.attempts(t, task, "b"); len(history) != 1 || history[0].Errmsg != "it failed" {
			t.Errorf("the history lacks why the attempt failed: %+v", history)
		}
		started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerA, []ledger.Start{
			{ResultKey: key("a")}, {ResultKey: key("b"), Attempt: 1}, {ResultKey: key("c")}, {ResultKey: key("d")},
		}))
		if err != nil || slices.Contains(started, true) {
			t.Errorf("started %v, %v", started, err)
		}
		f.resume(t, managerA, task, "c", 1, false)
		f.await(t, task, "c", 1, 3, bootA, false)
		recordings := f.receive(t, managerA, incoming(task, "d", tasker.Running), incoming(task, "a", tasker.Running))
		wantOutcomes(t, recordings, ledger.Duplicate, ledger.Duplicate)
		for _, rec := range recordings {
			if rec.State != tasker.ResultCanceled {
				t.Errorf("%+v", rec)
			}
		}
		work, err := f.Attempts.CanceledWork(t.Context(), managerA, "c", 10)
		if err != nil || len(work) != 1 || work[0].Attempt != 1 || work[0].Canceled != "canceled by ann: wrong file" {
			t.Errorf("%+v, %v", work, err)
		}
		if u, err := f.Attempts.UnfinishedWork(t.Context(), managerA, "c"); err != nil || !u.Canceled {
			t.Errorf("%+v, %v", u, err)
		}
		f.clock.advance(2 * lease)
		f.acquire(t, managerB, "c")
		if w := f.interrupted(t, managerB, "c"); w.Canceled == "" {
			t.Errorf("the next manager is not told: %+v", w)
		}
	})
}

// What arrives of a canceled task at an endpoint that it did not expect is no dead
// letter; what was never sent never is; a task that has ended is not canceled.
func TestCancelWithoutEndpoints(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.create(t, "all")
		wantSets(t, f.cancel(t, task), "a///")
		if found := f.find(t, task); found.Status != tasker.Canceled || found.SentTime != nil {
			t.Errorf("%s, sent %v", found.Status, found.SentTime)
		}
		f.clock.advance(time.Hour)
		if claimed, err := f.Outbox.ClaimUnsent(t.Context(), 10, time.Minute); err != nil || len(claimed) > 0 {
			t.Errorf("it would be sent: %v, %v", claimed, err)
		}
		if marked, err := f.Outbox.MarkSent(t.Context(), task, nil); err != nil || marked.Status != tasker.Canceled {
			t.Errorf("%s, %v", marked.Status, err)
		}
		f.acquire(t, managerA, "a", "new")
		wantOutcomes(t, f.receive(t, managerA, incoming(task, "new", tasker.Running)), ledger.Duplicate)
		if n := f.rows(t, "task_results"); n != 1 {
			t.Errorf("%d results", n)
		}
		if found := f.catchUp(t, "new", time.Time{}, 10); len(found) > 0 {
			t.Errorf("it catches up with %v", found)
		}
		ended := f.send(t, "ended", "a")
		f.end(t, ended, tasker.ResultDone, "a")
		_, err := f.Cancels.CancelTask(t.Context(), cancelOf(ended))
		wantCode(t, err, tasker.Conflict)
		if !strings.Contains(err.Error(), "DONE") {
			t.Errorf("the error does not say how it ended: %v", err)
		}
		_, err = f.Cancels.CancelTask(t.Context(), cancelOf(tasker.Task{Type: "worker", Identifier: "none"}))
		wantCode(t, err, tasker.NotFound)
		// One that runs before its task is known to be sent.
		early := f.create(t, "early", "a")
		f.receive(t, managerA, incoming(early, "a", tasker.Running))
		wantSets(t, f.cancel(t, early), "/a//")
		if found := f.find(t, early); found.Status != tasker.Canceling || found.SentTime == nil {
			t.Errorf("%s, sent %v", found.Status, found.SentTime)
		}
	})
}

// Only the named endpoints stop, and the task ends as the others do.
func TestCancelEndpoints(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		task := f.send(t, "one", "a", "b", "c")
		_, err := f.Cancels.CancelTask(t.Context(), cancelOf(task, "a", "x"))
		wantCode(t, err, tasker.Invalid)
		if !strings.Contains(err.Error(), `"x"`) || f.rows(t, "task_results") > 0 {
			t.Errorf("%v", err)
		}
		for range 2 {
			wantSets(t, f.cancel(t, task, "a"), "a///")
		}
		if n := f.rows(t, "cancels"); n != 1 {
			t.Errorf("%d cancellations", n)
		}
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running), incoming(task, "c", tasker.Running))
		f.finish(t, finish(task, "b", 1, tasker.ResultDone))
		_, err = f.Cancels.CancelTask(t.Context(), cancelOf(task, "b"))
		wantCode(t, err, tasker.Conflict)
		wantSets(t, f.cancel(t, task, "a", "b", "c"), "a/c/b/")
		if found := f.find(t, task); found.Status != tasker.Sent || found.Cancel == nil || found.Cancel.All {
			t.Errorf("%s, %+v", found.Status, found.Cancel)
		}
		f.finish(t, finish(task, "c", 1, tasker.ResultFailed))
		f.aggregate(t, task.ID)
		if status := f.status(t, task); status != tasker.Failed {
			t.Errorf("one failed, and the task is %s", status)
		}
		wantSets(t, f.cancel(t, task, "a"), "a///")
		_, err = f.Cancels.CancelTask(t.Context(), cancelOf(task))
		wantCode(t, err, tasker.Conflict)
		two := f.send(t, "two", "a", "b")
		f.cancel(t, two, "a")
		f.end(t, two, tasker.ResultDone, "b")
		if status := f.status(t, two); status != tasker.Canceled {
			t.Errorf("one was canceled, and the task is %s", status)
		}
	})
}

// A removed endpoint does not keep a task CANCELING, and old tasks are purged with
// their cancellations.
func TestCanceledEndpointNeverComesBack(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one", "a", "b")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.clock.advance(2 * lease)
		wantSets(t, f.cancel(t, task), "b///a")
		f.detach(t, f.remove(t, managerA, "a"), 1)
		if status := f.status(t, task); status != tasker.Canceled {
			t.Errorf("without the endpoint the task is %s", status)
		}
		f.acquire(t, managerB, "a")
		stays := f.send(t, "stays", "a")
		f.receive(t, managerB, incoming(stays, "a", tasker.Running))
		f.cancel(t, stays)
		f.clock.advance(2 * month)
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil {
			t.Fatal(err)
		}
		f.clock.advance(2 * month)
		purged, err := f.Retention.PurgeIncomplete(t.Context(), "worker", f.Now().Add(-month), 10)
		if err != nil || !slices.Equal(purged, []int64{stays.ID}) {
			t.Errorf("purged %v, %v", purged, err)
		}
		f.purgeTasks(t, f.Now(), nil, 10)
		if n := f.rows(t, "cancels"); n != 0 {
			t.Errorf("%d cancellations are left", n)
		}
	})
}

// A task that is to start later never does, and is canceled as a whole.
func TestCancelScheduled(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.later(t, "one", listing("a"))
		_, err := f.Cancels.CancelTask(t.Context(), cancelOf(task, "a"))
		wantCode(t, err, tasker.Conflict)
		for range 2 {
			wantSets(t, f.cancel(t, task), "///")
		}
		if found := f.find(t, task); found.Status != tasker.Canceled || found.Cancel == nil || found.SentTime != nil {
			t.Errorf("%s, %+v", found.Status, found)
		}
		f.clock.advance(time.Hour)
		if _, _, names := f.startDue(t); names != "" {
			t.Errorf("started %s", names)
		}
	})
}
