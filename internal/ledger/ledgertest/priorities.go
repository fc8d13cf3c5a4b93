package ledgertest

import (
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// What waits comes in the order of the priorities, and its place is known from the
// recording on.
func testPriorities(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	places := map[int64]int64{}
	for i, priority := range []int{0, 9, 4, 9} {
		task, _, err := w.Behind.CreateTask(ctx, tasker.Task{
			Type: taskType, Identifier: string(rune('a' + i)), Endpoints: []string{EndpointA}, Priority: priority,
		})
		w.must(err)
		_, err = w.Behind.MarkSent(ctx, task, nil)
		w.must(err)
		message := incoming(managerA, EndpointA, task, tasker.Received)
		recorded, again := w.receive(message)[0], w.receive(message)[0]
		want := ledger.StartOrder(task.StartTime, priority)
		if recorded.StartOrder != want || again.Outcome != ledger.Duplicate || again.StartOrder != want {
			w.Errorf("recorded with order %d, then %d, want %d", recorded.StartOrder, again.StartOrder, want)
		}
		places[task.ID] = want
	}
	work, err := w.Work.WaitingWork(ctx, EndpointA, taskType, 10)
	w.must(err)
	var order []string
	for _, one := range work {
		order = append(order, one.Task.Identifier)
		if one.StartOrder != places[one.Task.ID] {
			w.Errorf("%s waits with order %d, want %d", one.Task.Identifier, one.StartOrder, places[one.Task.ID])
		}
	}
	if !slices.Equal(order, []string{"b", "d", "c", "a"}) {
		w.Errorf("they wait in the order %q", order)
	}
}
