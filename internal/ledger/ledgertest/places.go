package ledgertest

import (
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// testPlaces takes places in tasks that are for so many endpoints of their own choice.
func testPlaces(w world) {
	w.acquire(managerA, EndpointA)
	w.acquire(managerB, EndpointB)
	place := func(identifier string, places tasker.Places, candidates ...string) tasker.Task {
		w.Helper()
		task, _, err := w.Behind.CreateTask(w.Context(), tasker.Task{
			Type: taskType, Identifier: identifier, Payload: []byte("1"), Endpoints: candidates, Deliver: places,
		})
		w.must(err)
		_, err = w.Behind.MarkSent(w.Context(), task, nil)
		w.must(err)
		return task
	}
	take := func(manager, endpoint, taskType string, limit int, want ...string) {
		w.Helper()
		tasks, err := w.Places.TakeTasks(w.Context(), manager, endpoint, taskType, limit)
		w.must(err)
		var got []string
		for _, task := range tasks {
			if task.ID == 0 || task.Type != taskType || task.StartTime.IsZero() {
				w.Errorf("took %+v", task)
			}
			got = append(got, task.Identifier)
		}
		if !slices.Equal(got, want) {
			w.Errorf("%s takes %q, want %q", endpoint, got, want)
		}
	}
	one, two := place("one", 1), place("two", 2)
	place("three", 1, EndpointB)
	take(managerB, EndpointA, taskType, 10) // it does not hold the endpoint
	take(managerA, EndpointA, "other", 10)
	if r := w.receive(incoming(managerA, EndpointA, one, tasker.Running))[0]; r.Outcome != ledger.Refused {
		w.Errorf("without a place: %+v", r)
	}
	take(managerA, EndpointA, taskType, 1, "one")
	take(managerA, EndpointA, taskType, 2, "one", "two") // it has not recorded the first
	for _, task := range []tasker.Task{one, two} {
		if r := w.receive(incoming(managerA, EndpointA, task, tasker.Received))[0]; r.Outcome != ledger.Recorded {
			w.Errorf("with a place: %+v", r)
		}
	}
	take(managerA, EndpointA, taskType, 10)
	take(managerB, EndpointB, taskType, 10, "two", "three")
}
