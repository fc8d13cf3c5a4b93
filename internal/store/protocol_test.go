package store_test

import (
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
)

// oldRelease makes the registration of an endpoint what one by a manager of the
// last release would be: it changes no columns that it does not know.
func oldRelease(t *testing.T, f fixture, endpoint, manager string) {
	t.Helper()
	if err := store.Exec(f.Store, "UPDATE endpoints SET manager = ? WHERE name = ?", manager, endpoint); err != nil {
		t.Fatal(err)
	}
}

// The oldest protocol is that of the endpoints that are registered and were seen.
func TestOldestProtocol(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		want := func(protocol int) {
			t.Helper()
			if got, err := f.Outbox.OldestProtocol(t.Context(), "worker", time.Hour); err != nil || got != protocol {
				t.Errorf("got %d, %v, want %d", got, err, protocol)
			}
		}
		register := func(name string, protocol int) {
			t.Helper()
			e := tasker.Endpoint{Name: name, Manager: managerA, TaskTypes: []string{"worker"}, Protocol: protocol}
			if _, err := f.Endpoints.AcquireEndpoint(t.Context(), e, lease); err != nil {
				t.Fatal(err)
			}
		}
		want(0)
		register("a", 2)
		register("b", 3)
		want(2)
		register("c", 0)
		want(1)
		f.clock.advance(2 * time.Hour)
		want(0)
		register("a", 2)
		want(2)
		// An older manager takes over: what the newer one said does not hold.
		oldRelease(t, f, "a", managerB)
		want(1)
		list, err := f.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
		if err != nil || list[0].Protocol != 1 || list[1].Protocol != 3 {
			t.Errorf("listed %+v, %v", list, err)
		}
	})
}

// A message whose payload is not the stored one is refused. One without a digest,
// and one for a task that an older API stored, is not.
func TestDigestOfMessages(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		task, old := f.send(t, "one"), f.send(t, "two")
		if err := store.Exec(f.Store, "UPDATE tasks SET payload_sha256 = NULL WHERE id = ?", old.ID); err != nil {
			t.Fatal(err)
		}
		const stored = "7a38bf81f383f69433ad6e900d35b3e2385593f76a7b7ab5d4355b8ba41ee24b" // of {"foo":"bar"}
		with := func(task tasker.Task, endpoint, digest string) ledger.Incoming {
			in := incoming(task, endpoint, tasker.Received)
			in.PayloadSHA256 = digest
			return in
		}
		got := f.receive(t, managerA,
			with(task, "a", stored), with(task, "b", stored[1:]+"0"), with(task, "c", ""), with(old, "a", "0"+stored[1:]))
		for i, want := range []ledger.Outcome{ledger.Recorded, ledger.Refused, ledger.Recorded, ledger.Recorded} {
			if got[i].Outcome != want {
				t.Errorf("message %d: %+v", i, got[i])
			}
		}
		if got[0].Task.PayloadSHA256 != stored || got[3].Task.PayloadSHA256 != "" {
			t.Errorf("the tasks have the digests %q and %q", got[0].Task.PayloadSHA256, got[3].Task.PayloadSHA256)
		}
		work, err := f.Attempts.WaitingWork(t.Context(), "a", "worker", 10)
		if err != nil || len(work) != 2 || work[0].Task.PayloadSHA256 != stored {
			t.Errorf("waiting: %+v, %v", work, err)
		}
	})
}
