package reconcile

import (
	"fmt"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

// TestExpiry ends tasks that expire, over two pages, however many endpoints are away.
func TestExpiry(t *testing.T) {
	w := newWorld(t)
	w.register("console1", "console2")
	expires := tasker.Expiry{After: time.Hour}
	var tasks []tasker.Task
	for i := range pageSize + 1 {
		task, _, err := w.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: fmt.Sprint("t", i), Expiry: expires})
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, w.sent(task))
	}
	w.receive(tasks[0], "console1", "console2")
	w.finish(tasks[0], tasker.ResultDone, "console1", "console2")
	w.receive(tasks[1], "console1")
	forever := w.send("forever")
	e := &expiry{store: w, statuses: w, wait: wait, log: w.log}
	w.clock.advance(time.Hour - time.Second)
	w.run(e.runOnce)
	w.expect(tasker.Sent, tasks...)
	w.clock.advance(time.Second)
	w.run(e.runOnce)
	w.expect(tasker.Done, tasks[0])
	w.expect(tasker.Sent, tasks[1], forever)
	w.expect(tasker.Failed, tasks[2:]...)
	// A run that has begun goes on.
	w.finish(tasks[1], tasker.ResultDone, "console1")
	w.clock.advance(time.Minute)
	w.run(e.runOnce)
	w.expect(tasker.Failed, tasks[1])
	if states := w.results(tasks[1]); len(states) != 2 || states[0].State != tasker.ResultDone || states[1].State != tasker.Expired {
		t.Errorf("results %+v", states)
	}
}

// TestExpiryGoesOn: what a process that died has left is done by the next one.
func TestExpiryGoesOn(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task, _, err := w.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: "one", Expiry: tasker.Expiry{After: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	w.sent(task)
	w.clock.advance(time.Hour)
	if tasks, err := w.ExpireTasks(t.Context(), pageSize); err != nil || len(tasks) != 1 {
		t.Fatal(tasks, err)
	}
	// Here it died, before it stored the status.
	w.expect(tasker.Sent, task)
	w.clock.advance(time.Minute)
	w.run((&expiry{store: w, statuses: w, wait: wait, log: w.log}).runOnce)
	w.expect(tasker.Failed, task)
}
