package store_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

func TestEndpoints(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		acquire := func(manager string, types ...string) *tasker.Endpoint {
			t.Helper()
			holder, err := f.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{
				Name: "a", Manager: manager, TaskTypes: types, Host: "host-" + manager[2:3], PID: 7, Version: "v1",
			}, lease)
			if err != nil {
				t.Fatal(err)
			}
			return holder
		}
		if holder := acquire(managerA, "worker", "backup"); holder != nil {
			t.Fatalf("held by %+v", holder)
		}
		if holder := acquire(managerB, "worker"); holder == nil || holder.Manager != managerA || holder.Host != "host-A" || !holder.Alive {
			t.Fatalf("a second manager was let in: %+v", holder)
		}
		f.clock.advance(lease / 2)
		if held, err := f.Endpoints.Heartbeat(t.Context(), managerA, []string{"a"}, lease); err != nil || !held {
			t.Fatal(held, err)
		}
		f.clock.advance(lease - time.Second)
		if holder := acquire(managerB, "worker"); holder == nil {
			t.Fatal("the heartbeat did not renew the lease")
		}
		f.clock.advance(time.Second)
		if holder := acquire(managerB, "worker"); holder != nil {
			t.Fatalf("a dead manager's name is not free: %+v", holder)
		}
		if held, err := f.Endpoints.Heartbeat(t.Context(), managerA, []string{"a"}, lease); err != nil || held {
			t.Fatalf("the first manager still holds it: %v, %v", held, err)
		}
		f.acquire(t, managerB, "z")
		list, err := f.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
		if err != nil || len(list) != 2 {
			t.Fatal(list, err)
		}
		if e := list[0]; e.Manager != managerB || !slices.Equal(e.TaskTypes, []string{"worker"}) || !e.Alive || e.PID != 7 {
			t.Errorf("%+v", e)
		}
		if list, err = f.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{After: "a", TaskType: "worker", Limit: 10}); err != nil ||
			len(list) != 1 || list[0].Name != "z" {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err = f.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{TaskType: "backup", Limit: 10}); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
		// A manager that stops releases its endpoints at once.
		if err := f.Endpoints.ReleaseEndpoints(t.Context(), managerB, []string{"a", "z"}); err != nil {
			t.Fatal(err)
		}
		if holder := acquire(managerA, "worker"); holder != nil {
			t.Fatalf("a released name is held by %+v", holder)
		}
	})
}

// One statement renews the leases of many managers' endpoints, and of no others.
func TestRenewLeases(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		f.acquire(t, managerB, "c")
		renewals := []ledger.Renewal{
			{Endpoint: "c", Manager: managerB, Lease: lease},
			{Endpoint: "a", Manager: managerA, Lease: lease},
			{Endpoint: "b", Manager: managerA, Lease: 2 * lease},
		}
		f.clock.advance(lease / 2)
		if held, err := f.Endpoints.RenewLeases(t.Context(), renewals); err != nil || !slices.Equal(held, []bool{true, true, true}) {
			t.Fatal(held, err)
		}
		until := map[string]time.Duration{}
		list, err := f.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			until[e.Name] = e.LeaseUntil.Sub(f.Now())
		}
		if want := map[string]time.Duration{"a": lease, "b": 2 * lease, "c": lease}; !maps.Equal(until, want) {
			t.Errorf("leases end after %v, want %v", until, want)
		}
		if n, err := f.Endpoints.CountSeen(t.Context(), f.Now().Add(-lease/4)); err != nil || n != 3 {
			t.Errorf("%d seen, %v", n, err)
		}
		// Another manager's, a removed one's, and one twice.
		renewals = []ledger.Renewal{
			{Endpoint: "c", Manager: managerA, Lease: lease},
			{Endpoint: "gone", Manager: managerA, Lease: lease},
			{Endpoint: "a", Manager: managerA, Lease: lease},
			{Endpoint: "a", Manager: managerA, Lease: lease},
		}
		f.clock.advance(lease / 2)
		if held, err := f.Endpoints.RenewLeases(t.Context(), renewals); err != nil || !slices.Equal(held, []bool{false, false, true, true}) {
			t.Fatal(held, err)
		}
		if n, err := f.Endpoints.CountSeen(t.Context(), f.Now().Add(-lease/4)); err != nil || n != 1 {
			t.Errorf("%d seen, %v", n, err)
		}
	})
}

// An endpoint that heartbeats rarely is not lost before its lease has ended.
func TestLongLeaseIsNotLost(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.create(t, "1", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		if _, err := f.Endpoints.RenewLeases(t.Context(), []ledger.Renewal{{Endpoint: "a", Manager: managerA, Lease: 10 * lease}}); err != nil {
			t.Fatal(err)
		}
		f.clock.advance(9 * lease)
		if lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil || len(lost) != 0 {
			t.Fatal(lost, err)
		}
		f.clock.advance(lease)
		if lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil || len(lost) != 1 {
			t.Fatal(lost, err)
		}
	})
}

func TestAcquireAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const n = 8
		won := make(chan bool, n)
		for i := range n {
			go func() {
				manager := managerA[:25] + string(rune('A'+i))
				holder, err := f.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: manager, TaskTypes: []string{"worker"}},
					lease)
				if err != nil {
					t.Error(err)
				}
				won <- err == nil && holder == nil
			}()
		}
		winners := 0
		for range n {
			if <-won {
				winners++
			}
		}
		if winners != 1 {
			t.Errorf("%d of %d managers hold the endpoint", winners, n)
		}
	})
}

// The labels are those from the manager that now holds the endpoint.
func TestLabels(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		labels := func() map[string]string {
			t.Helper()
			list, err := f.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			return list[0].Labels
		}
		for _, given := range []map[string]string{{"role": "web", "zone": "<ü>"}, nil, {"role": "db"}} {
			e := tasker.Endpoint{Name: "a", Manager: managerA, TaskTypes: []string{"worker"}, Labels: given}
			if holder, err := f.Endpoints.AcquireEndpoint(t.Context(), e, lease); err != nil || holder != nil {
				t.Fatal(holder, err)
			}
			if got := labels(); !maps.Equal(got, given) || (got == nil) != (given == nil) {
				t.Errorf("the labels are %v, want %v", got, given)
			}
		}
		holder, err := f.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{
			Name: "a", Manager: managerB, TaskTypes: []string{"worker"},
			Labels: map[string]string{"role": "web"},
		}, lease)
		if err != nil || holder == nil || holder.Labels["role"] != "db" {
			t.Errorf("the holder is given as %+v, %v", holder, err)
		}
		if got := labels(); got["role"] != "db" {
			t.Errorf("who was refused has changed the labels to %v", got)
		}
	})
}

// A list by name, of those seen recently, and with only what selectors look at.
func TestListChosenEndpoints(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		labels := map[string]string{"role": "web"}
		for _, name := range []string{"silent", "a", "b"} {
			e := tasker.Endpoint{Name: name, Manager: managerA, TaskTypes: []string{"worker"}, Host: "h", Version: "v1", Labels: labels}
			if holder, err := f.Endpoints.AcquireEndpoint(t.Context(), e, lease); err != nil || holder != nil {
				t.Fatal(holder, err)
			}
			if name == "silent" {
				f.clock.advance(7*24*time.Hour + time.Second)
			}
		}
		for _, test := range []struct {
			query tasker.EndpointQuery
			want  []string
		}{
			{tasker.EndpointQuery{}, []string{"a", "b", "silent"}},
			{tasker.EndpointQuery{Recent: true}, []string{"a", "b"}},
			{tasker.EndpointQuery{Names: []string{"silent", "b", "z"}}, []string{"b", "silent"}},
			{tasker.EndpointQuery{Names: []string{"silent", "b", "z"}, Recent: true, TaskType: "worker"}, []string{"b"}},
			{tasker.EndpointQuery{Names: []string{"silent", "b"}, After: "b"}, []string{"silent"}},
		} {
			for _, brief := range []bool{false, true} {
				test.query.Limit, test.query.Brief = 10, brief
				list, err := f.Endpoints.ListEndpoints(t.Context(), test.query)
				if err != nil {
					t.Fatal(err)
				}
				var names []string
				for _, e := range list {
					names = append(names, e.Name)
					if !slices.Equal(e.TaskTypes, []string{"worker"}) || !maps.Equal(e.Labels, labels) || e.Version != "v1" || e.LastSeen.IsZero() ||
						e.Alive != (e.Name != "silent") || (e.Host == "") != brief {
						t.Errorf("brief %t: %+v", brief, e)
					}
				}
				if !slices.Equal(names, test.want) {
					t.Errorf("%+v lists %q, want %q", test.query, names, test.want)
				}
			}
		}
	})
}
