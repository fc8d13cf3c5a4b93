package store_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

func TestDescribeServer(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		server, err := f.Inspection.DescribeServer(t.Context())
		if err != nil || server.Version == "" {
			t.Fatalf("%+v, %v", server, err)
		}
		if strings.HasPrefix(f.uri, "sqlite") {
			if server.Kind != "SQLite" || server.MaxConnections != 0 {
				t.Errorf("%+v", server)
			}
			return
		}
		if server.Kind != "MariaDB" && server.Kind != "MySQL" {
			t.Errorf("%+v", server)
		}
		if len(server.Otherwise) > 0 || server.MaxConnections < 1 || server.ReadOnly || server.MaxPacket < server.LargestValue ||
			server.LargestValue < 1<<20 {
			t.Errorf("%+v", server)
		}
	})
}

func TestMeasureClock(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		ahead, roundTrip, err := f.Inspection.MeasureClock(t.Context())
		if err != nil || roundTrip < 0 {
			t.Fatalf("%v, %v, %v", ahead, roundTrip, err)
		}
		if strings.HasPrefix(f.uri, "sqlite") {
			if ahead != 0 {
				t.Errorf("SQLite's clock is %v ahead of itself", ahead)
			}
			return
		}
		// The test's clock does not move; the database's is that of this
		// machine.
		if off := (time.Since(f.clock.Now()) - ahead).Abs(); off > time.Minute {
			t.Errorf("the database's clock is measured to be %v ahead, which is wrong by %v", ahead, off)
		}
	})
}

func TestUnsent(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		none, err := f.Inspection.Unsent(t.Context(), f.Now())
		if err != nil || none != (ledger.Backlog{}) {
			t.Fatalf("of nothing: %+v, %v", none, err)
		}
		first := f.create(t, "one")
		f.clock.advance(time.Minute)
		f.create(t, "two")
		f.send(t, "sent")
		got, err := f.Inspection.Unsent(t.Context(), first.StartTime)
		if err != nil || got.Tasks != 1 || !got.Oldest.Equal(first.StartTime) {
			t.Errorf("until the first: %+v, %v", got, err)
		}
		if got, err = f.Inspection.Unsent(t.Context(), f.Now()); err != nil || got.Tasks != 2 || !got.Oldest.Equal(first.StartTime) {
			t.Errorf("until now: %+v, %v", got, err)
		}
	})
}

func TestOverdue(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		received := f.send(t, "received", "a", "b")
		missing := f.send(t, "missing", "a", "b")
		f.send(t, "for nobody") // expects a and b, too: they are registered
		f.receive(t, managerA, incoming(received, "a", tasker.Received), incoming(received, "b", tasker.Received),
			incoming(missing, "a", tasker.Received))
		f.clock.advance(time.Minute)
		f.send(t, "young", "a")
		got, err := f.Inspection.Overdue(t.Context(), f.Now().Add(-30*time.Second))
		if err != nil || got.Tasks != 2 || !got.Oldest.Equal(*missing.SentTime) {
			t.Errorf("%+v, %v; want 2 since %v", got, err, missing.SentTime)
		}
	})
}

func TestIncompleteTasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		if total, list, err := f.Inspection.IncompleteTasks(t.Context(), 10); err != nil || total != 0 || list != nil {
			t.Fatalf("of nothing: %d, %v, %v", total, list, err)
		}
		f.acquire(t, managerA, "a", "b", "c")
		one, two := f.send(t, "one", "a", "b", "c"), f.send(t, "two", "b")
		f.receive(t, managerA, incoming(one, "a", tasker.Running), incoming(one, "b", tasker.Received))
		f.finish(t, finish(one, "a", 1, tasker.ResultDone))
		f.clock.advance(time.Hour)
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now(), 10); err != nil {
			t.Fatal(err)
		}
		if n, err := f.Statuses.Aggregate(t.Context(), []int64{one.ID, two.ID}, time.Minute); err != nil || n != 2 {
			t.Fatalf("%d tasks changed, %v", n, err)
		}
		total, list, err := f.Inspection.IncompleteTasks(t.Context(), 1)
		if err != nil || total != 2 || len(list) != 1 || list[0].Identifier != "two" || !slices.Equal(list[0].Missing, []string{"b"}) {
			t.Errorf("the latest: %d, %+v, %v", total, list, err)
		}
		if _, list, err = f.Inspection.IncompleteTasks(t.Context(), 10); err != nil || len(list) != 2 {
			t.Fatalf("%+v, %v", list, err)
		}
		got := list[1]
		if got.Type != "worker" || !got.SentTime.Equal(*one.SentTime) || !slices.Equal(got.Missing, []string{"c"}) ||
			!slices.Equal(got.Lost, []string{"b"}) {
			t.Errorf("%+v", got)
		}
	})
}

func TestLostResults(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		for _, identifier := range []string{"one", "two"} {
			task := f.send(t, identifier, "a", "b", "c")
			f.receive(t, managerA, incoming(task, "a", tasker.Received), incoming(task, "b", tasker.Running))
		}
		if total, names, err := f.Inspection.LostResults(t.Context(), 10); err != nil || total != 0 || names != nil {
			t.Fatalf("before: %d, %v, %v", total, names, err)
		}
		f.clock.advance(time.Hour)
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now(), 10); err != nil {
			t.Fatal(err)
		}
		if total, names, err := f.Inspection.LostResults(t.Context(), 1); err != nil || total != 4 || !slices.Equal(names, []string{"a"}) {
			t.Errorf("%d, %v, %v", total, names, err)
		}
	})
}

func TestCountDeadLetters(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for want := range 3 {
			if n, err := f.Inspection.CountDeadLetters(t.Context()); err != nil || n != want {
				t.Fatalf("%d, %v; want %d", n, err, want)
			}
			if _, err := f.DeadLetters.StoreDeadLetter(t.Context(), tasker.DeadLetter{Key: strconv.Itoa(want)}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
