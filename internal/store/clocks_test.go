package store_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/testservices"
)

// TestClocksOfMachines: it does not matter if the clocks of machines differ by
// minutes; the database's clock decides about leases, silences, deadlines and
// retries.
func TestClocksOfMachines(t *testing.T) {
	t.Parallel()
	uri := testservices.MySQL(t)
	machine := func(off time.Duration) fixture {
		t.Helper()
		s, err := store.Open(store.Config{URI: uri}, slog.New(slog.DiscardHandler),
			store.WithClock(func() time.Time { return time.Now().Add(off) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return fixture{Store: s}
	}
	// The difference is ten times each of the limits below.
	api, consumer, other := machine(10*time.Hour), machine(-10*time.Hour), machine(10*time.Hour)
	storetest.Migrate(t, api.Store)
	for _, f := range []fixture{api, consumer, other} {
		if err := f.SyncClock(t.Context()); err != nil { // as each process does when it starts
			t.Fatal(err)
		}
	}
	const limit = time.Hour   // longer than the test takes
	const slack = time.Minute // measuring takes a moment, which is the error
	register := func(f fixture, manager string) (holder *tasker.Endpoint) {
		t.Helper()
		holder, err := f.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: manager, TaskTypes: []string{"worker"}},
			limit)
		if err != nil {
			t.Fatal(err)
		}
		return holder
	}

	// The lease of a manager whose clock is behind holds against one whose
	// clock is ahead.
	if holder := register(consumer, managerA); holder != nil {
		t.Fatalf("held by %+v", holder)
	}
	if holder := register(other, managerB); holder == nil || holder.Manager != managerA {
		t.Errorf("a manager that is ahead took a lease that runs: holder %+v", holder)
	}
	if held, err := consumer.Endpoints.Heartbeat(t.Context(), managerA, []string{"a"}, limit); err != nil || !held {
		t.Errorf("the heartbeat: held %t, %v", held, err)
	}
	seen, err := api.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
	if err != nil || len(seen) != 1 || !seen[0].Alive {
		t.Errorf("endpoints %+v, %v", seen, err)
	}

	// A task is not taken from the API process that publishes it, and not
	// overdue.
	task := api.create(t, "one")
	if claimed, err := other.Outbox.ClaimUnsent(t.Context(), 10, limit); err != nil || len(claimed) != 0 {
		t.Errorf("claimed %+v, %v", claimed, err)
	}
	sent, err := api.Outbox.MarkSent(t.Context(), task, nil)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := consumer.Tasks.FindTask(t.Context(), "worker", "one"); err != nil || len(found.Expected) != 1 {
		t.Errorf("expected are %v, %v: the endpoint was seen a moment ago", found.Expected, err)
	}
	for name, f := range map[string]fixture{"ahead": other, "behind": consumer} {
		if n, err := f.Statuses.Aggregate(t.Context(), []int64{task.ID}, limit); err != nil || n != 0 {
			t.Errorf("%s: aggregated %d, %v: nothing is overdue", name, n, err)
		}
		if off := f.Now().Sub(*sent.SentTime); off < -slack || off > limit {
			t.Errorf("%s: it was sent %v ago", name, off)
		}
		if lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-limit), 10); err != nil || len(lost) != 0 {
			t.Errorf("%s: lost %v, %v", name, lost, err)
		}
	}

	// A retry is due at the right time for each of them.
	consumer.receive(t, managerA, incoming(task, "a", tasker.Running))
	again := finish(task, "a", 1, tasker.Retrying)
	again.RetryDelay = limit
	consumer.finish(t, again)
	for name, f := range map[string]fixture{"ahead": other, "behind": consumer} {
		if due, err := f.Attempts.DueWork(t.Context(), "a", "worker", 10); err != nil || len(due) != 0 {
			t.Errorf("%s: due before its time: %+v, %v", name, due, err)
		}
		next, ok, err := f.Attempts.NextRetry(t.Context(), "a", "worker")
		if left := next.Sub(f.Now()); err != nil || !ok || left <= 0 || left > limit+slack {
			t.Errorf("%s: the retry is due in %v, %t, %v", name, left, ok, err)
		}
	}
}

// TestLateClock: a reading that took long, over a link that hung or in a
// process that was stopped, does not replace a better one.
func TestLateClock(t *testing.T) {
	t.Parallel()
	const hung = 20 * time.Second
	now, late, asked := time.Now(), false, 0
	s, err := store.Open(store.Config{URI: testservices.MySQL(t)}, slog.New(slog.DiscardHandler), store.WithClock(func() time.Time {
		if asked++; late && asked%2 == 1 {
			return now.Add(-hung) // when it was asked
		}
		return now
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.SyncClock(t.Context()); err != nil {
		t.Fatal(err)
	}
	known := s.Now()
	late, asked = true, 0
	if err := s.SyncClock(t.Context()); tasker.CodeOf(err) != tasker.Unavailable {
		t.Errorf("an answer after %v: %v", hung, err)
	}
	late = false
	if got := s.Now(); !got.Equal(known) {
		t.Errorf("the clock is off by %v", got.Sub(known))
	}
}
