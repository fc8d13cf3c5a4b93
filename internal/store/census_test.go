package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

func TestCensus(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		census := func(types ...string) ledger.Census {
			t.Helper()
			c, err := f.Inspection.Census(t.Context(), types, f.Now().Add(-time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(c.Open, func(a, b ledger.OpenTasks) int { return strings.Compare(string(a.Status), string(b.Status)) })
			return c
		}
		if diff := cmp.Diff(ledger.Census{}, census("worker")); diff != "" {
			t.Errorf("of nothing: %s", diff)
		}
		if diff := cmp.Diff(ledger.Census{}, census()); diff != "" {
			t.Errorf("without types: %s", diff)
		}
		f.acquire(t, managerA, "a", "b")
		f.clock.advance(2 * time.Minute)
		f.acquire(t, managerB, "c")
		created := f.create(t, "created", "a")
		f.clock.advance(time.Second)
		f.create(t, "created later", "a")
		sent := f.send(t, "sent", "a")
		done := f.send(t, "done", "c")
		f.receive(t, managerB, incoming(done, "c", tasker.Running))
		f.finish(t, finish(done, "c", 1, tasker.ResultDone))
		if _, err := f.Statuses.Aggregate(t.Context(), []int64{done.ID}, time.Hour); err != nil {
			t.Fatal(err)
		}
		f.bury(t, tasker.DeadLetter{Key: "k"})
		for _, subject := range subjects(sent) {
			f.hold(t, subject, tasker.Expiry{})
		}
		want := ledger.Census{
			Open: []ledger.OpenTasks{
				{Type: created.Type, Status: tasker.Created, Tasks: 2, Oldest: created.StartTime},
				{Type: created.Type, Status: tasker.Sent, Tasks: 1, Oldest: sent.StartTime},
			},
			Seen: 1, Silent: 2, DeadLetters: 1, Drained: 1, PausedTypes: 1, PausedTasks: 1,
		}
		if diff := cmp.Diff(want, census("another", created.Type)); diff != "" {
			t.Error(diff)
		}
		want.Open = nil
		if diff := cmp.Diff(want, census("another")); diff != "" {
			t.Errorf("of another type: %s", diff)
		}
	})
}
