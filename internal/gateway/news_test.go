package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/wire"
)

// changes returns the changes that were published, and the tasks that had results
// end.
func (n *notes) changes(t *testing.T) (changes []wire.LiveChange, ended []int64) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, key := range n.keys {
		switch key {
		case wire.KeyLive:
			event, err := wire.DecodeLive(n.list[i])
			if err != nil {
				t.Error(err)
			}
			changes = append(changes, event.Changes...)
		case wire.KeyResultsEnded:
			event, err := wire.DecodeResultsEnded(n.list[i])
			if err != nil {
				t.Error(err)
			}
			ended = append(ended, event.TaskIDs...)
		}
	}
	return changes, ended
}

// The gateway publishes what it stored: nothing that was refused, and also of tasks
// whose names another gateway has read.
func TestNews(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	told := make([]*notes, 2)
	clients := make([]*gateway.Client, 2)
	for i := range told {
		told[i] = &notes{}
		server := gateway.NewServer(gateway.Config{}, storesOf(s), byName{}, told[i], testLog(t))
		run(t, server)
		clients[i] = newClient(t, server, "a")
	}
	acquire(t, clients[0], "a", "m1")
	task := createTask(t, s, "one")
	if _, err := clients[0].Results.ReceiveResults(t.Context(), messages("a", "m1", task)); err != nil {
		t.Fatal(err)
	}
	key := tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}
	progress := &tasker.Progress{Done: 1, Total: 2, Time: s.Now()}
	if err := clients[0].Live.SaveLive(t.Context(), []ledger.LiveUpdate{{ResultKey: key, Attempt: 1, Progress: progress}}); err != nil {
		t.Fatal(err)
	}
	// Refused: nothing is told of it.
	stale := ends("a", task)
	stale[0].Attempt = 2
	if stored, err := clients[0].Attempts.FinishAttempts(t.Context(), stale); err != nil || stored[0] {
		t.Fatal(stored, err)
	}
	await(t, "the run and its progress", func() bool {
		changes, ended := told[0].changes(t)
		return len(ended) == 0 && slices.ContainsFunc(changes, func(c wire.LiveChange) bool {
			return c.Progress != nil && c.Identifier == "one" && c.Type == "job" && c.Endpoint == "a"
		}) && slices.ContainsFunc(changes, func(c wire.LiveChange) bool { return c.State == tasker.Running })
	})
	if stored, err := clients[1].Attempts.FinishAttempts(t.Context(), ends("a", task)); err != nil || !stored[0] {
		t.Fatal(stored, err)
	}
	await(t, "the end", func() bool {
		changes, ended := told[1].changes(t)
		return slices.Equal(ended, []int64{task.ID}) && slices.ContainsFunc(changes, func(c wire.LiveChange) bool {
			return c.State == tasker.ResultDone && c.Identifier == "one" && c.Attempt == 1
		})
	})
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// The interval of heartbeats grows with the fleet, and the leases with it; the
// client tells the manager.
func TestPace(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	crowd := &crowded{Endpoints: s.Endpoints}
	crowd.size = 10_000
	stores := storesOf(s)
	stores.Endpoints = crowd
	server := gateway.NewServer(gateway.Config{}, stores, byName{}, &notes{}, testLog(t))
	c := newClient(t, server, "a")
	if _, _, ok := c.Pace(); ok {
		t.Error("a pace before the first answer")
	}
	run(t, server)
	await(t, "the size of the fleet", func() bool {
		if _, err := c.Endpoints.Heartbeat(t.Context(), "m1", []string{"a"}, time.Second); err != nil {
			t.Fatal(err)
		}
		heartbeat, lease, ok := c.Pace()
		return ok && heartbeat == 20*time.Second && lease == 80*time.Second
	})
	holder, err := c.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: "m1", TaskTypes: []string{"job"}}, time.Second)
	if err != nil || holder != nil {
		t.Fatal(holder, err)
	}
	list, err := s.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 1})
	if err != nil || list[0].LeaseUntil.Sub(list[0].LastSeen) != 80*time.Second {
		t.Errorf("%+v, %v", list, err)
	}
	// A longer lease is granted.
	if _, err := c.Endpoints.Heartbeat(t.Context(), "m1", []string{"a"}, 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	if heartbeat, lease, _ := c.Pace(); heartbeat != 20*time.Second || lease != 10*time.Minute {
		t.Errorf("pace %v, %v", heartbeat, lease)
	}
}

// crowded is the endpoints of a large fleet.
type crowded struct {
	gateway.Endpoints
	size int
}

func (c *crowded) CountSeen(context.Context, time.Time) (int, error) { return c.size, nil }

// A write that panics is an error of its requests, and the next ones are written.
func TestPanicDuringAWrite(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := newGated(s)
	close(g.gate)
	server := gateway.NewServer(gateway.Config{}, g.stores(), byName{}, &notes{}, testLog(t))
	run(t, server)
	c := newClient(t, server, "a")
	g.fail = func([]ledger.End) error { panic("a secret bug") }
	if _, err := c.Attempts.FinishAttempts(t.Context(), ends("a", tasker.Task{ID: 1})); tasker.CodeOf(err) != tasker.Internal ||
		strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	g.fail = func([]ledger.End) error { return nil }
	if stored, err := c.Attempts.FinishAttempts(t.Context(), ends("a", tasker.Task{ID: 1})); err != nil || stored[0] {
		t.Errorf("%v, %v", stored, err)
	}
}

// After the end of a server its client is told to ask another one.
func TestStopped(t *testing.T) {
	t.Parallel()
	server := gateway.NewServer(gateway.Config{}, storesOf(newStore(t)), byName{}, &notes{}, testLog(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	server.Run(ctx)
	c := newClient(t, server, "a")
	_, err := c.Attempts.FinishAttempts(t.Context(), ends("a", tasker.Task{ID: 1}))
	if tasker.CodeOf(err) != tasker.Unavailable || !c.Database.Answered(err) {
		t.Errorf("%v, answered %t", err, c.Database.Answered(err))
	}
}

// The client knows the time of the database, also of one whose clock is far off.
func TestClock(t *testing.T) {
	t.Parallel()
	const off = 5 * time.Hour
	s, err := store.Open(store.Config{URI: "sqlite://" + t.TempDir() + "/tasker.db"}, testLog(t),
		store.WithClock(func() time.Time { return time.Now().Add(off) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	storetest.Migrate(t, s)
	c := newClient(t, newServer(t, s, gateway.Config{}), "a")
	if ahead := time.Until(c.Database.Now()); ahead > time.Minute {
		t.Errorf("%v ahead before the first answer", ahead)
	}
	for i := range 3 {
		if _, err := c.Endpoints.Heartbeat(t.Context(), fmt.Sprint("m", i), []string{"a"}, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if wrong := (time.Until(c.Database.Now()) - off).Abs(); wrong > time.Minute {
		t.Errorf("%v wrong", wrong)
	}
}
