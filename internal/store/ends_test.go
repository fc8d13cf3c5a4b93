package store_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Ends that differ in everything are stored together, each at its own result,
// and those of stale attempts and of ended results are told apart, although the
// clock stands still.
func TestFinishWhatDiffers(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const n = 40
		f.acquire(t, managerA, "a", "b")
		var ends []ledger.End
		for i := range n {
			task := f.send(t, fmt.Sprint("task-", i))
			for _, endpoint := range []string{"b", "a"} {
				f.receive(t, managerA, incoming(task, endpoint, tasker.Running))
				ends = append(ends, differing(task, endpoint, i))
			}
		}
		slices.Reverse(ends)
		stale, ended := ends[5], ends[7]
		ends[5].Attempt = 2
		if !f.finish(t, ended)[0] {
			t.Fatal("an end was not stored")
		}
		want := slices.Repeat([]bool{true}, 2*n)
		want[5], want[7] = false, false
		if got := f.finish(t, ends...); !slices.Equal(got, want) {
			t.Errorf("stored %v", got)
		}
		if got := f.finish(t, ends...); slices.Contains(got, true) {
			t.Errorf("stored again %v", got)
		}
		if got := f.finish(t, stale, ends[0]); !slices.Equal(got, []bool{true, false}) {
			t.Errorf("the end of the current attempt: %v", got)
		}
		ends[5] = stale
		for _, end := range ends {
			wantEnd(t, f, end)
		}
	})
}

// differing returns the end of the first attempt; its state, reason, payload and
// delay depend on i.
func differing(task tasker.Task, endpoint string, i int) ledger.End {
	states := []tasker.ResultState{tasker.ResultDone, tasker.ResultFailed, tasker.TimedOut, tasker.Retrying, tasker.Rejected}
	end := ledger.End{
		ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Attempt: 1, State: states[i%len(states)],
		Errnr: i, Errmsg: strings.Repeat("é", i), RetryDelay: time.Duration(i) * time.Second,
	}
	if i%3 > 0 {
		end.Payload = fmt.Appendf(nil, `{"endpoint": %q, "n": "%s'\\?"}`, endpoint, strings.Repeat("x", 40*i))
	}
	return end
}

func wantEnd(t *testing.T, f fixture, end ledger.End) {
	t.Helper()
	r, err := f.Results.FindResult(t.Context(), end.TaskID, end.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	if r.State != end.State || r.Errnr != end.Errnr || r.Errmsg != end.Errmsg || string(r.Payload) != string(end.Payload) {
		t.Errorf("%+v is stored as %+v", end, r)
	}
	history, err := f.Attempts.Attempts(t.Context(), end.TaskID, end.Endpoint)
	if err != nil || len(history) != 1 {
		t.Fatal(history, err)
	}
	switch a := history[0]; {
	case end.State != tasker.Retrying:
		if r.RetryTime != nil || a.State != end.State {
			t.Errorf("%+v has the retry time %v and the attempt %+v", end, r.RetryTime, a)
		}
	case a.State != tasker.ResultFailed || a.Errnr != end.Errnr:
		t.Errorf("the history of %+v is %+v", end, a)
	case r.RetryTime == nil || !r.RetryTime.Equal(f.Now().Add(end.RetryDelay)):
		t.Errorf("%+v is to be retried at %v", end, r.RetryTime)
	}
}

// Of two ends of one attempt in one batch, one is stored.
func TestFinishTwiceAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running))
		done := finish(task, "a", 1, tasker.ResultDone)
		got := f.finish(t, done, finish(task, "b", 1, tasker.Retrying), done, finish(task, "a", 1, tasker.ResultFailed))
		if !slices.Equal(got, []bool{true, true, false, false}) {
			t.Errorf("stored %v", got)
		}
		if got := f.states(t, task)["a"]; got != tasker.ResultDone {
			t.Errorf("it is %s", got)
		}
	})
}

// Each end of a batch may follow only the states that are legal for its own.
func TestFinishIsGuardedByEachState(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c", "d", "e")
		task := f.send(t, "one")
		for endpoint, state := range map[string]tasker.ResultState{
			"a": tasker.Running, "b": tasker.Running, "c": tasker.Running, "d": tasker.Received, "e": tasker.Received,
		} {
			f.receive(t, managerA, incoming(task, endpoint, state))
		}
		f.finish(t, finish(task, "a", 1, tasker.Retrying))
		f.clock.advance(time.Hour)
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-time.Second), 10); err != nil {
			t.Fatal(err)
		}
		f.acquire(t, managerA, "c", "d", "e")
		if _, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"c", "d", "e"}); err != nil {
			t.Fatal(err)
		}
		// A result LOST from RETRYING takes no late end, one LOST from RUNNING
		// does. One that is RECEIVED has no attempt that could end.
		got := f.finish(t, finish(task, "a", 1, tasker.ResultDone), finish(task, "b", 1, tasker.ResultFailed),
			finish(task, "c", 1, tasker.Retrying), finish(task, "d", 0, tasker.ResultDone), finish(task, "e", 0, tasker.ResultCanceled))
		if !slices.Equal(got, []bool{false, true, true, false, false}) {
			t.Errorf("stored %v", got)
		}
		want := map[string]tasker.ResultState{
			"a": tasker.Lost, "b": tasker.ResultFailed, "c": tasker.Retrying, "d": tasker.Received, "e": tasker.Received,
		}
		if got := f.states(t, task); !maps.Equal(got, want) {
			t.Errorf("states %v, want %v", got, want)
		}
	})
}

// A text that is not UTF-8 is refused, and does not reach the others.
func TestFinishRefusesWhatIsNotText(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		if strings.HasPrefix(f.uri, "sqlite") {
			return // it keeps any bytes
		}
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running))
		bad := finish(task, "a", 1, tasker.ResultDone)
		bad.Payload = []byte("\"\xff\"")
		for _, ends := range [][]ledger.End{{bad}, {finish(task, "b", 1, tasker.ResultDone), bad}} {
			stored, err := f.Attempts.FinishAttempts(t.Context(), ends)
			if tasker.CodeOf(err) != tasker.Invalid {
				t.Errorf("stored %v, %v", stored, err)
			}
		}
		if got := f.states(t, task); got["a"] != tasker.Running || got["b"] != tasker.Running {
			t.Errorf("states %v", got)
		}
	})
}

// One batch starts attempts of many managers, each at the endpoints that it
// holds, and is told the same when it is sent again.
func TestStartForManyManagers(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		f.acquire(t, managerB, "c", "d")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Received), incoming(task, "b", tasker.Received))
		f.receive(t, managerB, incoming(task, "c", tasker.Received), incoming(task, "d", tasker.Running))
		f.finish(t, finish(task, "d", 1, tasker.Retrying))
		start := func(manager, endpoint string, attempt int) ledger.Start {
			return ledger.Start{
				ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Attempt: attempt, Manager: manager,
			}
		}
		starts := []ledger.Start{
			start(managerB, "d", 1), start(managerA, "a", 0), start(managerB, "c", 0), start(managerB, "b", 0), start(managerA, "d", 1),
			start("", "b", 0),
		}
		for range 2 {
			started, err := f.Attempts.StartAttempts(t.Context(), starts)
			if err != nil || !slices.Equal(started, []bool{true, true, true, false, false, false}) {
				t.Errorf("started %v, %v", started, err)
			}
		}
		want := map[string]tasker.ResultState{"a": tasker.Running, "b": tasker.Received, "c": tasker.Running, "d": tasker.Running}
		if got := f.states(t, task); !maps.Equal(got, want) {
			t.Errorf("states %v, want %v", got, want)
		}
	})
}

// A batch of 500 is recorded, started and ended, also if one of it is not
// current.
func TestFiveHundredAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		endpoints := []string{"a", "b", "c", "d", "e"}
		f.acquire(t, managerA, endpoints...)
		var messages []ledger.Incoming
		var starts []ledger.Start
		var ends []ledger.End
		for i := range 100 {
			task := f.send(t, fmt.Sprint("task-", i))
			for _, endpoint := range endpoints {
				message := incoming(task, endpoint, tasker.Received)
				messages = append(messages, message)
				starts = append(starts, ledger.Start{ResultKey: message.ResultKey, Manager: managerA})
				ends = append(ends, differing(task, endpoint, i))
			}
		}
		f.receive(t, managerA, messages[:1]...)
		if got := f.receive(t, managerA, messages...); got[0].Outcome != ledger.Duplicate || got[499].Outcome != ledger.Recorded {
			t.Errorf("recorded %+v and %+v", got[0], got[499])
		}
		for _, n := range []int{1, 500} { // the first one again
			started, err := f.Attempts.StartAttempts(t.Context(), starts[:n])
			if err != nil || slices.Contains(started, false) {
				t.Errorf("started %v, %v", started, err)
			}
		}
		f.finish(t, ends[:1]...)
		stored := f.finish(t, ends...)
		if stored[0] || slices.Contains(stored[1:], false) {
			t.Errorf("stored %v", stored)
		}
	})
}
