package store_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// A task that was canceled accepts starts again where it is retried, and only there; it
// says who canceled the rest.
func TestRetryCanceled(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		task := f.send(t, "one", "a", "b", "c")
		f.receive(t, managerA, incoming(task, "a", tasker.Received), incoming(task, "b", tasker.Running))
		wantSets(t, f.cancel(t, task), "a c/b//")
		f.refuses(t, retryOf(task, tasker.RetryAll), tasker.Conflict, "it is CANCELING")
		f.finish(t, finish(task, "b", 1, tasker.ResultCanceled))
		f.aggregate(t, task.ID)
		f.retry(t, retryOf(task, "", "a", "b"))
		found := f.find(t, task)
		if found.Status != tasker.Sent || found.Cancel == nil || found.Cancel.All || found.Cancel.By != "ann" {
			t.Errorf("%s, %+v", found.Status, found.Cancel)
		}
		if r := f.result(t, task, "b"); r.CancelRequested || r.State != tasker.Received {
			t.Errorf("%+v", r)
		}
		if !f.start(t, managerA, task, "a", 0) || !f.start(t, managerA, task, "b", 1) {
			t.Error("it does not start")
		}
		wantOutcomes(t, f.receive(t, managerA, incoming(task, "c", tasker.Running)), ledger.Duplicate)
		f.finish(t, finish(task, "a", 1, tasker.ResultDone), finish(task, "b", 2, tasker.ResultDone))
		f.aggregate(t, task.ID)
		if status := f.status(t, task); status != tasker.Canceled {
			t.Errorf("one is canceled still, and the task is %s", status)
		}
		f.retry(t, retryOf(task, tasker.RetryFailed))
		if found := f.find(t, task); found.Cancel != nil {
			t.Errorf("%+v", found.Cancel)
		}
		wantSets(t, f.cancel(t, task), "c//a b/") // once more
		// One that was never sent.
		unsent := f.create(t, "unsent", "a")
		f.refuses(t, retryOf(unsent, tasker.RetryAll), tasker.Conflict, "it is CREATED: no endpoint has it yet")
		f.cancel(t, unsent)
		f.retry(t, retryOf(unsent, tasker.RetryFailed))
		if found := f.find(t, unsent); found.Status != tasker.Sent || found.SentTime == nil {
			t.Errorf("%+v", found)
		}
		f.end(t, f.send(t, "other", "a"), tasker.ResultDone, "a")
		f.start(t, managerA, unsent, "a", 0)
		f.finish(t, finish(unsent, "a", 1, tasker.ResultDone))
		f.aggregate(t, unsent.ID)
		if status := f.status(t, unsent); status != tasker.Done {
			t.Errorf("it ended %s", status)
		}
	})
}

// An expired task needs a new time, which holds for all that has not ended.
func TestRetryExpired(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.sentExpiring(t, "one", "a", "b")
		f.receive(t, managerA, incoming(task, "a", tasker.Received))
		open := retryOf(task, tasker.RetryMissing)
		f.retry(t, open) // not expired yet: nothing changes about that
		f.clock.advance(time.Hour)
		f.expire(t)
		if got := f.expiryStates(t, task); !strings.Contains(got, "a EXPIRED") || !strings.Contains(got, "b EXPIRED") {
			t.Fatal(got)
		}
		request := retryOf(task, tasker.RetryFailed)
		f.refuses(t, request, tasker.Conflict, `give a new time as "expires"`)
		request.Expires = tasker.Expiry{At: f.Now()}
		f.refuses(t, request, tasker.Invalid, "has passed")
		request.Expires = tasker.Expiry{After: time.Hour}
		if got := setsOf(f.retry(t, request)); got != "a b/" {
			t.Error(got)
		}
		if found := f.find(t, task); found.Expires == nil || !found.Expires.Equal(f.Now().Add(time.Hour)) {
			t.Errorf("it expires at %v", found.Expires)
		}
		f.expire(t)
		if !f.start(t, managerA, task, "a", 0) {
			t.Error("it does not start")
		}
		f.clock.advance(time.Hour)
		f.acquire(t, managerA, "b")
		if f.start(t, managerA, task, "b", 0) {
			t.Error("it starts after it has expired")
		}
		f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		f.expire(t)
		if status := f.status(t, task); status != tasker.Failed {
			t.Errorf("it ended %s", status)
		}
	})
}

// A result that is LOST and ran runs again when its endpoint is back, and the end of
// that run is not stored; one that waited only waits.
func TestRetryLost(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "ran", "waited", "stays")
		task := f.send(t, "one", "ran", "waited")
		f.receive(t, managerA, incoming(task, "ran", tasker.Running), incoming(task, "waited", tasker.Received))
		f.await(t, task, "ran", 1, 2, bootA, true)
		f.clock.advance(2 * lease)
		f.markLost(t)
		for range 2 { // the second time there is nothing to retry
			outcome, err := f.Rounds.RetryTask(t.Context(), retryOf(task, tasker.RetryUnfinished))
			if f.find(t, task).Round != 2 {
				t.Fatal(err)
			}
			if err == nil && setsOf(outcome) != "ran//lost: waited" {
				t.Error(setsOf(outcome))
			}
		}
		if r := f.result(t, task, "ran"); r.State != tasker.Lost || r.Round != 2 || r.Errnr != tasker.ErrnrLost {
			t.Errorf("%+v", r)
		}
		if stored := f.finish(t, finish(task, "ran", 1, tasker.ResultDone)); stored[0] {
			t.Error("the late end is stored")
		}
		f.resume(t, managerA, task, "ran", 1, false)
		f.acquire(t, managerA, "ran", "waited")
		if n, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"ran", "waited"}); err != nil || n != 2 {
			t.Fatal(n, err)
		}
		if stored := f.finish(t, finish(task, "ran", 1, tasker.ResultDone)); stored[0] {
			t.Error("the late end is stored")
		}
		if !f.start(t, managerA, task, "ran", 1) || !f.start(t, managerA, task, "waited", 0) {
			t.Error("they do not start")
		}
		f.finish(t, finish(task, "ran", 2, tasker.ResultDone), finish(task, "waited", 1, tasker.ResultDone))
		f.aggregate(t, task.ID)
		if status := f.status(t, task); status != tasker.Done {
			t.Errorf("it ended %s", status)
		}
		if history := f.attempts(t, task, "ran"); len(history) != 2 || history[0].State != tasker.Lost || history[1].Round != 2 {
			t.Errorf("%+v", history)
		}
	})
}

// The same key is the same round, whatever became of it; with another request it is a
// conflict, and in another task it is another key.
func TestRetryKey(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task, other := f.send(t, "one", "a", "b"), f.send(t, "other", "a", "b")
		f.end(t, task, tasker.ResultFailed, "a", "b")
		f.end(t, other, tasker.ResultFailed, "a", "b")
		request := retryOf(task, "", "a")
		request.Key = "k 1"
		first := f.retry(t, request)
		f.start(t, managerA, task, "a", 1)
		f.finish(t, finish(task, "a", 2, tasker.ResultFailed))
		f.aggregate(t, task.ID)
		again := f.retry(t, request)
		if setsOf(again) != setsOf(first) || again.Round != 2 || again.Task.Status != tasker.Failed || f.find(t, task).Round != 2 {
			t.Errorf("%s, round %d, %s", setsOf(again), again.Round, again.Task.Status)
		}
		changed := request
		changed.Endpoints = []string{"a", "b"}
		f.refuses(t, changed, tasker.Conflict, `key "k 1" belongs to another retry`)
		changed = request
		changed.Expires.After = time.Hour
		f.refuses(t, changed, tasker.Conflict, "another retry")
		elsewhere := retryOf(other, "", "a", "b")
		elsewhere.Key = "k 1"
		if outcome := f.retry(t, elsewhere); setsOf(outcome) != "a b/" {
			t.Error(setsOf(outcome))
		}
		request.Key = ""
		if f.retry(t, request).Round != 3 {
			t.Error("without a key it is not another round")
		}
	})
}

// What cannot be retried says why.
func TestRetryRefused(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		f.refuses(t, retryOf(tasker.Task{Type: "worker", Identifier: "none"}, tasker.RetryAll), tasker.NotFound, "not found")
		later := f.later(t, "later", listing("a"))
		f.refuses(t, retryOf(later, tasker.RetryAll), tasker.Conflict, "it is SCHEDULED: no endpoint has it yet")
		f.cancel(t, later)
		f.refuses(t, retryOf(later, tasker.RetryAll), tasker.Conflict, "no endpoint has ended or is missing")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.refuses(t, retryOf(task, tasker.RetryAll), tasker.Conflict, "no endpoint has ended or is missing")
		f.refuses(t, retryOf(task, "", "a"), tasker.Conflict, "running: 1")
		f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		f.refuses(t, retryOf(task, tasker.RetryMissing), tasker.Conflict, "no endpoint is missing")
	})
}

// An endpoint that was removed after it had finished the task is left alone; one that is
// removed afterwards does not keep the task open.
func TestRetryRemoved(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		task := f.send(t, "one", "a", "b", "c")
		f.end(t, task, tasker.ResultFailed, "a", "b", "c")
		f.clock.advance(2 * lease)
		f.detach(t, f.remove(t, managerA, "b"), 0)
		f.refuses(t, retryOf(task, "", "b"), tasker.Conflict, "removed: 1")
		if got := setsOf(f.retry(t, retryOf(task, tasker.RetryFailed))); got != "a c//removed: b" {
			t.Error(got)
		}
		f.detach(t, f.remove(t, managerA, "c"), 1)
		f.acquire(t, managerA, "a")
		f.start(t, managerA, task, "a", 1)
		f.finish(t, finish(task, "a", 2, tasker.ResultDone))
		f.aggregate(t, task.ID)
		if found := f.find(t, task); found.Status != tasker.Failed || !slices.Equal(found.RemovedEndpoints, []string{"c"}) {
			t.Errorf("%s, removed %v", found.Status, found.RemovedEndpoints)
		}
	})
}

// Tasks of older programs have lists in place of targets, also when they have ended.
func TestRetryOfOlderPrograms(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one", "a", "b")
		f.end(t, task, tasker.ResultFailed, "a", "b")
		f.asOld(t, task, `NULL`)
		f.retry(t, retryOf(task, tasker.RetryFailed))
		f.wantTargets(t, task, "a", "b")
		open := f.send(t, "two", "a", "b")
		f.asOld(t, open, `NULL`)
		if got := setsOf(f.retry(t, retryOf(open, tasker.RetryUnfinished))); got != "a b/a b" {
			t.Error(got)
		}
	})
}

// A retry changes the mark, and endpoints are told; the rounds of a task are deleted
// with it.
func TestRetryMark(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one", "a", "b")
		f.end(t, task, tasker.ResultFailed, "a", "b")
		mark, err := f.Endpoints.CommandMark(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.retry(t, retryOf(task, "", "a"))
		if now, err := f.Endpoints.CommandMark(t.Context()); err != nil || now == mark {
			t.Errorf("the mark stays %s, %v", mark, err)
		}
		commands, err := f.Endpoints.CommandsAt(t.Context(), []string{"b", "none", "a"})
		if err != nil || !slices.Equal(commands, []ledger.Commands{{}, {}, {Waiting: true}}) {
			t.Errorf("%+v, %v", commands, err)
		}
		f.start(t, managerA, task, "a", 1)
		f.finish(t, finish(task, "a", 2, tasker.ResultDone))
		f.aggregate(t, task.ID)
		f.clock.advance(month)
		if purged, _ := f.purgeTasks(t, f.Now(), nil, 10); purged != 1 || f.rows(t, "rounds") > 0 {
			t.Errorf("%d purged, %d rounds are left", purged, f.rows(t, "rounds"))
		}
	})
}

// Of retries at the same time one begins a round at an endpoint, and so with ends,
// starts and aggregations in between: no attempt is lost, none runs twice.
func TestRetriesAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		task := f.send(t, "one", "a", "b", "c")
		f.end(t, task, tasker.ResultFailed, "a", "b", "c")
		const rounds = 10
		for round := 2; round < 2+rounds; round++ {
			var group sync.WaitGroup
			errs := make([]error, 4)
			for i := range errs {
				group.Go(func() { _, errs[i] = f.Rounds.RetryTask(t.Context(), retryOf(task, tasker.RetryFailed)) })
			}
			group.Go(func() { _, _ = f.Statuses.Aggregate(t.Context(), []int64{task.ID}, month) })
			group.Go(func() {
				_, _ = f.Attempts.FinishAttempts(t.Context(), []ledger.End{finish(task, "a", round-1, tasker.ResultCanceled)})
			})
			group.Wait()
			begun := 0
			for _, err := range errs {
				if err == nil {
					begun++
				} else if tasker.CodeOf(err) != tasker.Conflict {
					t.Error(err)
				}
			}
			if found := f.find(t, task); begun != 1 || found.Round != round || found.Status != tasker.Sent {
				t.Fatalf("%d retries have begun a round, the task is %s in round %d, want %d: %v", begun, found.Status, found.Round, round,
					errors.Join(errs...))
			}
			for _, endpoint := range []string{"a", "b", "c"} {
				if !f.start(t, managerA, task, endpoint, round-1) {
					t.Fatalf("%s does not start: %+v", endpoint, f.result(t, task, endpoint))
				}
				f.finish(t, finish(task, endpoint, round, tasker.ResultFailed))
			}
			f.aggregate(t, task.ID)
		}
	})
}
