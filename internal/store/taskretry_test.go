package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

// A task has its own retry policy wherever an endpoint reads it, and that is a part of
// what makes two POSTs the same.
func TestRetryPolicyOfATask(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		policy := tasker.RetryPolicy{Delays: []time.Duration{time.Minute, 1500 * time.Millisecond}, Jitter: true}
		task := tasker.Task{Type: "worker", Identifier: "one", Endpoints: []string{"a", "b"}, Retry: &policy}
		post := func(change func(*tasker.Task)) (tasker.Task, bool, error) {
			t.Helper()
			again := task
			change(&again)
			return f.Tasks.CreateTask(t.Context(), again)
		}
		stored, created, err := post(func(*tasker.Task) {})
		if err != nil || !created {
			t.Fatal(err)
		}
		same := tasker.RetryPolicy{Delays: slices.Clone(policy.Delays), Jitter: true}
		if _, created, err := post(func(t *tasker.Task) { t.Retry = &same }); err != nil || created {
			t.Error(created, err)
		}
		for _, other := range []*tasker.RetryPolicy{nil, {}, {Delays: policy.Delays}} {
			_, _, err := post(func(t *tasker.Task) { t.Retry = other })
			wantCode(t, err, tasker.Conflict)
		}
		want := fmt.Sprint(policy)
		if _, err := f.Outbox.MarkSent(t.Context(), stored, nil); err != nil {
			t.Fatal(err)
		}
		if found := f.find(t, stored); found.Retry == nil || fmt.Sprint(*found.Retry) != want {
			t.Errorf("stored is %v", found.Retry)
		}
		recorded := f.receive(t, managerA, incoming(stored, "a", tasker.Running), incoming(stored, "b", tasker.Received))
		if r := recorded[0].Task.Retry; r == nil || fmt.Sprint(*r) != want {
			t.Errorf("recorded with %v", r)
		}
		work, err := f.Attempts.WaitingWork(t.Context(), "b", "worker", 10)
		if err != nil || len(work) != 1 || work[0].Task.Retry == nil || fmt.Sprint(*work[0].Task.Retry) != want {
			t.Errorf("%+v, %v", work, err)
		}
		f.acquire(t, managerA, "c")
		plain := f.send(t, "plain", "c")
		if r := f.receive(t, managerA, incoming(plain, "c", tasker.Received))[0].Task.Retry; r != nil {
			t.Errorf("it has the policy %v", r)
		}
	})
}
