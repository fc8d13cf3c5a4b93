package store_test

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/testservices"
)

// stepped is a machine whose clock a test steps.
func stepped(t *testing.T, uri string) (f fixture, step func(time.Duration)) {
	t.Helper()
	var off atomic.Int64
	start := time.Now()
	s, err := store.Open(store.Config{URI: uri}, slog.New(slog.DiscardHandler), store.WithLocalClock(
		func() time.Time { return time.Now().Round(0).Add(time.Duration(off.Load())) },
		func() time.Duration { return time.Since(start) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return fixture{Store: s, uri: uri}, func(d time.Duration) { off.Store(int64(d)) }
}

// hung is a machine whose process misses the passing of time, like a suspended
// one, until it asks the database.
func hung(t *testing.T, uri string) (f fixture, pass func(time.Duration)) {
	t.Helper()
	var off atomic.Int64
	start := time.Now()
	s, err := store.Open(store.Config{URI: uri}, slog.New(slog.DiscardHandler), store.WithLocalClock(
		func() time.Time { return time.Now().Round(0).Add(time.Duration(off.Load())) },
		func() time.Duration { return time.Since(start) + time.Duration(off.Load()) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return fixture{Store: s, uri: uri}, func(d time.Duration) { off.Store(int64(d)) }
}

// A stepped clock, or one that is wrong until the next measurement, deletes
// nothing, takes over no endpoint, and stores no time too far ahead.
func TestSteppedClock(t *testing.T) {
	t.Parallel()
	const month = 31 * 24 * time.Hour
	for name, open := range map[string]func(*testing.T, string) (fixture, func(time.Duration)){"stepped": stepped, "hung": hung} {
		for _, d := range []time.Duration{month, -month, 365 * 24 * time.Hour} {
			t.Run(fmt.Sprint(name, d), func(t *testing.T) {
				t.Parallel()
				testSteppedClock(t, open, d)
			})
		}
	}
}

func testSteppedClock(t *testing.T, open func(*testing.T, string) (fixture, func(time.Duration)), d time.Duration) {
	const month = 30 * 24 * time.Hour
	const slack = time.Minute
	const lease = time.Hour // the test does not take as long
	f, step := open(t, testservices.MySQL(t))
	other, _ := stepped(t, f.uri) // a machine whose clock is right
	storetest.Migrate(t, f.Store)
	for _, f := range []fixture{f, other} {
		if err := f.SyncClock(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.acquire(t, managerA, "a")
	ended, open1 := f.send(t, "ended", "a"), f.send(t, "open", "a")
	f.receive(t, managerA, incoming(ended, "a", tasker.Running), incoming(open1, "a", tasker.Running))
	f.finish(t, finish(ended, "a", 1, tasker.ResultDone))
	if _, err := f.Statuses.Aggregate(t.Context(), []int64{ended.ID}, slack); err != nil {
		t.Fatal(err)
	}

	step(d)
	again := finish(open1, "a", 1, tasker.Retrying)
	again.RetryDelay = time.Second
	f.finish(t, again)
	if next, ok, err := other.Attempts.NextRetry(t.Context(), "a", "worker"); err != nil || !ok || next.Sub(other.Now()) > slack {
		t.Errorf("the retry after a second is due in %v, %t, %v", next.Sub(other.Now()), ok, err)
	}
	if n, _, err := f.Retention.PurgeTasks(t.Context(), "worker", f.Now().Add(-month), nil, 200); n != 0 || err != nil {
		t.Errorf("%d tasks were deleted that ended a moment ago, %v", n, err)
	}
	if held, err := f.Endpoints.Heartbeat(t.Context(), managerA, []string{"a"}, lease); !held || err != nil {
		t.Errorf("held %t, %v", held, err)
	}
	for _, f := range []fixture{f, other} {
		if lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); len(lost) != 0 || err != nil {
			t.Errorf("lost are %v, %v", lost, err)
		}
	}
	list, err := other.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
	if err != nil || len(list) != 1 || !list[0].Alive || list[0].LeaseUntil.Sub(other.Now()) > lease+slack {
		t.Errorf("endpoints %+v, %v", list, err)
	}
	holder, err := f.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: managerB, TaskTypes: []string{"worker"}},
		lease)
	if err != nil || holder == nil || holder.Manager != managerA {
		t.Errorf("a name was taken over from a living manager: holder %+v, %v", holder, err)
	}
}

// After the database's clock was set back, an endpoint seen in the future is
// not alive, and can be taken over after one lease.
func TestDatabaseClockSetBack(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		waiting := f.send(t, "two", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(waiting, "a", tasker.Running))
		again := finish(waiting, "a", 1, tasker.Retrying)
		again.RetryDelay = time.Second
		f.finish(t, again)

		f.clock.advance(-24 * time.Hour)
		register := func() *tasker.Endpoint {
			t.Helper()
			holder, err := f.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: managerB, TaskTypes: []string{"worker"}},
				lease)
			if err != nil {
				t.Fatal(err)
			}
			return holder
		}
		alive := func() tasker.Endpoint {
			t.Helper()
			list, err := f.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			return list[0]
		}
		if e := alive(); e.Alive {
			t.Errorf("alive, and last seen %v in the future", e.LastSeen.Sub(f.Now()))
		}
		// It may be alive all the same: its manager sends the next heartbeat.
		if holder := register(); holder == nil || holder.LeaseUntil.After(f.Now().Add(lease)) {
			t.Fatalf("the holder is %+v, want one whose lease ends within %v", holder, lease)
		}
		if due, err := f.Attempts.DueWork(t.Context(), "a", "worker", 10); err != nil || len(due) != 1 {
			t.Errorf("due are %+v, %v: the retry was due after a second", due, err)
		}
		f.clock.advance(lease + time.Second)
		if e := alive(); e.Alive || e.LastSeen.After(f.Now()) {
			t.Errorf("after a lease: %+v", e)
		}
		if lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil || len(lost) != 2 {
			t.Errorf("lost are %v, %v", lost, err)
		}
		if holder := register(); holder != nil {
			t.Errorf("still held by %+v", holder)
		}
	})
}

// An unmeasurable silence begins when it is found.
func TestSilenceSinceTheFuture(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.clock.advance(-24 * time.Hour)
		for _, want := range []int{0, 1} {
			if lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil || len(lost) != want {
				t.Errorf("lost are %v, %v, want %d", lost, err, want)
			}
			f.clock.advance(lease + time.Second)
		}
	})
}
