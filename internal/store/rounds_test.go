package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

func retryOf(task tasker.Task, class tasker.RetryClass, endpoints ...string) tasker.RetryRequest {
	return tasker.RetryRequest{
		Type: task.Type, Identifier: task.Identifier, Class: class, Endpoints: endpoints, By: "ann", Reason: "mended",
	}
}

func (f fixture) retry(t *testing.T, request tasker.RetryRequest) tasker.RetryOutcome {
	t.Helper()
	outcome, err := f.Rounds.RetryTask(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// refuses retries a task in vain, and compares the message.
func (f fixture) refuses(t *testing.T, request tasker.RetryRequest, code tasker.Code, text string) {
	t.Helper()
	rounds := f.rows(t, "rounds")
	_, err := f.Rounds.RetryTask(t.Context(), request)
	if tasker.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("%v, want %s: %s", err, code, text)
	}
	if now := f.rows(t, "rounds"); now != rounds {
		t.Errorf("%d rounds became %d", rounds, now)
	}
}

func (f fixture) start(t *testing.T, manager string, task tasker.Task, endpoint string, attempt int) bool {
	t.Helper()
	started, err := f.Attempts.StartAttempts(t.Context(), []ledger.Start{{
		ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Manager: manager, Attempt: attempt,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return started[0]
}

func (f fixture) markLost(t *testing.T) {
	t.Helper()
	if _, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 100); err != nil {
		t.Fatal(err)
	}
}

// setsOf returns an outcome as "retried / missing / reason: endpoints".
func setsOf(o tasker.RetryOutcome) string {
	sets := []string{strings.Join(o.Retried, " "), strings.Join(o.Missing, " ")}
	for _, not := range o.NotRetried {
		sets = append(sets, not.Reason+": "+strings.Join(not.Endpoints, " "))
	}
	return strings.Join(sets, "/")
}

// inEveryState returns a SENT task with an endpoint in each state.
func (f fixture) inEveryState(t *testing.T) tasker.Task {
	t.Helper()
	endpoints := []string{
		"canceled", "done", "expired", "failed", "lost", "lostwaiting", "missing", "rejected", "removed", "retrying", "running",
		"stopping", "timedout", "waiting",
	}
	f.acquire(t, managerA, endpoints...)
	task := f.send(t, "one", endpoints...)
	for _, name := range endpoints {
		state := tasker.Running
		switch name {
		case "missing":
			continue
		case "lostwaiting", "waiting", "expired":
			state = tasker.Received
		case "rejected":
			state = tasker.Rejected
		}
		f.receive(t, managerA, incoming(task, name, state))
	}
	retry := finish(task, "retrying", 1, tasker.Retrying)
	retry.RetryDelay = 100 * time.Hour
	f.finish(t, finish(task, "done", 1, tasker.ResultDone), finish(task, "failed", 1, tasker.ResultFailed),
		finish(task, "timedout", 1, tasker.TimedOut), finish(task, "canceled", 1, tasker.ResultCanceled), retry)
	f.exec(t, fmt.Sprintf("UPDATE task_results SET state = 'EXPIRED', errnr = -4 WHERE task_id = %d AND endpoint = 'expired'", task.ID))
	f.cancel(t, task, "stopping")
	f.clock.advance(2 * lease)
	for _, name := range endpoints {
		if !strings.HasPrefix(name, "lost") && name != "removed" {
			if held, err := f.Endpoints.Heartbeat(t.Context(), managerA, []string{name}, lease); err != nil || !held {
				t.Fatal(held, err)
			}
		}
	}
	f.markLost(t)
	f.detach(t, f.remove(t, managerA, "removed"), 1)
	return task
}

// Each class selects what it says, names get a reason where nothing is done, and a dry
// run does nothing.
func TestRetryClasses(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		task := f.inEveryState(t)
		all := []string{
			"canceled", "done", "expired", "failed", "lost", "lostwaiting", "missing", "rejected", "retrying", "running", "stopping",
			"timedout", "waiting",
		}
		before := f.states(t, task)
		for _, test := range []struct {
			class tasker.RetryClass
			names []string
			want  string
		}{
			{tasker.RetryFailed, nil, "canceled expired failed rejected timedout/"},
			{tasker.RetryMissing, nil, "missing/missing"},
			{tasker.RetryUnfinished, nil, "canceled expired failed lost missing rejected timedout/missing/lost: lostwaiting"},
			{tasker.RetryAll, nil, "canceled done expired failed missing rejected timedout/missing"},
			{"", []string{"failed"}, "failed/"},
			{
				"", all, "canceled expired failed lost missing rejected timedout/missing" +
					"/done: done/running: running/stopping: stopping/waiting: retrying waiting/lost: lostwaiting",
			},
		} {
			request := retryOf(task, test.class, test.names...)
			request.DryRun = true
			outcome := f.retry(t, request)
			if got := setsOf(outcome); got != test.want || outcome.Round != 2 || outcome.Task.Status != tasker.Sent {
				t.Errorf("%s %v: %s, round %d, want %s", test.class, test.names, got, outcome.Round, test.want)
			}
		}
		if after := f.states(t, task); fmt.Sprint(after) != fmt.Sprint(before) || f.rows(t, "rounds") > 0 || f.find(t, task).Round > 0 {
			t.Errorf("a dry run made of %v %v", before, after)
		}
		f.refuses(t, retryOf(task, "", "removed"), tasker.Invalid, "was removed")
		f.refuses(t, retryOf(task, "", "failed", "other"), tasker.Invalid, `is not for endpoint "other"`)
		f.refuses(t, retryOf(task, "", "done", "running"), tasker.Conflict, "done: 1, running: 1")
		if got := setsOf(f.retry(t, retryOf(task, "", all...))); !strings.HasPrefix(got, "canceled expired failed lost missing") {
			t.Error(got)
		}
		want := "map[canceled:RECEIVED done:DONE expired:RECEIVED failed:RECEIVED lost:LOST lostwaiting:LOST rejected:RECEIVED" +
			" removed:CANCELED retrying:RETRYING running:RUNNING stopping:RUNNING timedout:RECEIVED waiting:RECEIVED]"
		if got := fmt.Sprint(f.states(t, task)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		f.refuses(t, retryOf(task, tasker.RetryFailed), tasker.Conflict, "no endpoint is failed")
	})
}

// A round: the result waits again, without what it had; its attempts go on, and those
// before are kept; the task is open, and ends anew.
func TestRetryRound(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one", "a", "b")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running))
		failed := finish(task, "a", 1, tasker.TimedOut)
		failed.Payload = []byte(`{"n":1}`)
		f.finish(t, failed, finish(task, "b", 1, tasker.ResultDone))
		f.aggregate(t, task.ID)
		f.clock.advance(time.Hour)
		outcome := f.retry(t, retryOf(task, tasker.RetryFailed))
		found := f.find(t, task)
		if outcome.Round != 2 || setsOf(outcome) != "a/" || outcome.Task.ID != task.ID || found.Status != tasker.Sent || found.Round != 2 ||
			found.RoundTime == nil || !found.RoundTime.Equal(f.Now()) || !found.SentTime.Equal(*task.SentTime) ||
			!found.LastModifiedTime.Equal(f.Now()) {
			t.Fatalf("%s, %+v", setsOf(outcome), found)
		}
		r := f.result(t, task, "a")
		if r.State != tasker.Received || r.Round != 2 || r.Attempt != 1 || r.Errnr != 0 || r.Errmsg != "" || r.Payload != nil ||
			!r.LastModifiedTime.Equal(f.Now()) {
			t.Errorf("%+v", r)
		}
		if r := f.result(t, task, "b"); r.State != tasker.ResultDone || r.Round != 0 {
			t.Errorf("%+v", r)
		}
		work, err := f.Attempts.WaitingWork(t.Context(), "a", "worker", 10)
		if err != nil || len(work) != 1 || work[0].Attempt != 1 || work[0].Earlier != 1 {
			t.Errorf("%+v, %v", work, err)
		}
		// What is late of the first attempt changes nothing.
		late := []ledger.End{
			finish(task, "a", 1, tasker.ResultDone), finish(task, "a", 1, tasker.ResultCanceled), finish(task, "a", 1, tasker.Rejected),
		}
		for _, end := range late {
			if stored := f.finish(t, end); stored[0] {
				t.Errorf("a late %s is stored", end.State)
			}
		}
		if f.start(t, managerA, task, "a", 0) {
			t.Error("a late start begins an attempt")
		}
		wantOutcomes(t, f.receive(t, managerA, incoming(task, "a", tasker.Running)), ledger.Duplicate)
		if !f.start(t, managerA, task, "a", 1) {
			t.Fatal("the second attempt does not start")
		}
		retry := finish(task, "a", 2, tasker.Retrying)
		f.finish(t, retry)
		due, err := f.Attempts.DueWork(t.Context(), "a", "worker", 10)
		if err != nil || len(due) != 1 || due[0].Attempt != 2 || due[0].Earlier != 1 {
			t.Errorf("%+v, %v", due, err)
		}
		f.start(t, managerA, task, "a", 2)
		f.finish(t, finish(task, "a", 3, tasker.ResultDone))
		f.aggregate(t, task.ID)
		if status := f.status(t, task); status != tasker.Done {
			t.Errorf("it ended %s", status)
		}
		var history []string
		for _, a := range f.attempts(t, task, "a") {
			history = append(history, fmt.Sprint(a.Attempt, " ", a.Round, " ", a.State, " ", a.Errmsg, " ", a.StartTime != nil && a.EndTime != nil))
		}
		want := []string{"1 0 TIMED_OUT it failed true", "2 2 FAILED it failed true", "3 2 DONE  true"}
		if !slices.Equal(history, want) {
			t.Errorf("the history is %q, want %q", history, want)
		}
		f.refuses(t, retryOf(task, tasker.RetryUnfinished), tasker.Conflict, "no endpoint is unfinished")
		if setsOf(f.retry(t, retryOf(task, tasker.RetryAll))) != "a b/" || f.find(t, task).Round != 3 || f.result(t, task, "b").Round != 3 {
			t.Errorf("%+v", f.find(t, task))
		}
	})
}

// An attempt that another one was to follow keeps its end, whatever became of the
// result afterwards.
func TestRetryKeepsTheHistory(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.save(t, told(task, "a", 1, 0, 2))
		f.finish(t, finish(task, "a", 1, tasker.Retrying))
		f.cancel(t, task)
		f.retry(t, retryOf(task, tasker.RetryFailed))
		f.cancel(t, task) // before it has begun
		f.retry(t, retryOf(task, tasker.RetryFailed))
		history := f.attempts(t, task, "a")
		if len(history) != 1 || history[0].State != tasker.ResultFailed || history[0].Errmsg != "it failed" || history[0].Round != 0 ||
			history[0].Log.Lines != 3 {
			t.Errorf("%+v", history)
		}
		if work, err := f.Attempts.WaitingWork(t.Context(), "a", "worker", 10); err != nil || len(work) != 1 || work[0].Earlier != 1 {
			t.Errorf("%+v, %v", work, err)
		}
	})
}

// An endpoint that has not received the task has the whole time again, finds it among
// what was sent of late, and records it once.
func TestRetryMissing(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one", "a", "b")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		f.clock.advance(time.Hour)
		f.acquire(t, managerA, "a", "b")
		const wait = 10 * time.Minute
		aggregate := func(want tasker.TaskStatus) {
			t.Helper()
			if _, err := f.Statuses.Aggregate(t.Context(), []int64{task.ID}, wait); err != nil || f.status(t, task) != want {
				t.Errorf("%s, %v, want %s", f.status(t, task), err, want)
			}
		}
		aggregate(tasker.Incomplete)
		newer := f.send(t, "newer", "b")
		f.receive(t, managerA, incoming(newer, "b", tasker.Running))
		since := f.Now()
		unreceived := func(since time.Time) (found []string) {
			t.Helper()
			for after := (ledger.SentPosition{}); ; {
				page, next, err := f.Inbox.UnreceivedTasks(t.Context(), "b", []string{"worker"}, since, after, 1)
				if err != nil {
					t.Fatal(err)
				}
				for _, one := range page {
					found = append(found, one.Identifier)
				}
				if next == (ledger.SentPosition{}) {
					return found
				}
				if next.Compare(after) <= 0 {
					t.Fatalf("the page behind %v is followed by %v", after, next)
				}
				after = next
			}
		}
		if found := unreceived(since); len(found) > 0 {
			t.Errorf("before the retry there is %v", found)
		}
		if got := setsOf(f.retry(t, retryOf(task, tasker.RetryMissing))); got != "b/b" {
			t.Error(got)
		}
		two := f.send(t, "two", "b")
		if found := unreceived(since); !slices.Equal(found, []string{"two", "one"}) {
			t.Errorf("found %v", found)
		}
		if found := unreceived(time.Time{}); !slices.Equal(found, []string{"one", "two"}) {
			t.Errorf("a whole scan finds %v", found)
		}
		aggregate(tasker.Sent)
		f.clock.advance(wait - time.Second)
		aggregate(tasker.Sent)
		if found, err := f.unsettled(t, []int64{task.ID}, wait); err != nil || len(found) > 0 {
			t.Error(found, err)
		}
		f.clock.advance(time.Second)
		if found, err := f.unsettled(t, []int64{task.ID}, wait); err != nil || len(found) != 1 {
			t.Error(found, err)
		}
		aggregate(tasker.Incomplete)
		wantOutcomes(t, f.receive(t, managerA, incoming(task, "b", tasker.Running), incoming(two, "b", tasker.Received)),
			ledger.Recorded, ledger.Recorded)
		wantOutcomes(t, f.receive(t, managerA, incoming(task, "b", tasker.Running)), ledger.Duplicate)
		if r := f.result(t, task, "b"); r.Round != 2 || r.Attempt != 1 {
			t.Errorf("%+v", r)
		}
		if found := unreceived(since); len(found) > 0 {
			t.Errorf("it is found again: %v", found)
		}
		f.finish(t, finish(task, "b", 1, tasker.ResultDone))
		aggregate(tasker.Done)
	})
}
