package ledgertest

import (
	"encoding/json"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// createTopical stores a task for endpoint a that supersedes older ones of its topic, as
// sent.
func (w world) createTopical(identifier, topic string) tasker.Task {
	w.Helper()
	task, _, err := w.Behind.CreateTask(w.Context(), tasker.Task{
		Type: taskType, Identifier: identifier, Payload: json.RawMessage("1"), Endpoints: []string{EndpointA},
		Topic: topic, OnConflict: tasker.ConflictSupersede,
	})
	w.must(err)
	_, err = w.Behind.MarkSent(w.Context(), task, nil)
	w.must(err)
	return task
}

// Nothing of what a newer task of its topic has superseded starts, and what runs ends as
// it ends, but is not tried again.
func testSuperseded(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	done, again, waits := w.createTopical("done", "x"), w.createTopical("again", "y"), w.createTopical("waits", "z")
	ahead, missing := w.createTopical("ahead", "v"), w.createTopical("missing", "w")
	w.receive(incoming(managerA, EndpointA, done, tasker.Running), incoming(managerA, EndpointA, again, tasker.Running),
		incoming(managerA, EndpointA, waits, tasker.Received), incoming(managerA, EndpointA, ahead, tasker.Running))
	for _, topic := range []string{"x", "y", "z", "v", "w"} {
		w.createTopical("newer-"+topic, topic)
	}
	if u, err := w.Work.UnfinishedWork(ctx, managerA, EndpointA); err != nil || u != (ledger.Unfinished{}) {
		w.Errorf("unfinished: %+v, %v", u, err)
	}
	w.want("a start", w.start(start(managerA, EndpointA, waits, 0)), []bool{false})
	for range 2 {
		late := w.receive(incoming(managerA, EndpointA, missing, tasker.Running))[0]
		if late.Outcome != ledger.Duplicate || late.State != tasker.Superseded {
			w.Errorf("a message that is late: %+v", late)
		}
	}
	w.want("the ends", w.finish(end(EndpointA, done, 1, tasker.ResultDone), end(EndpointA, again, 1, tasker.Retrying)), []bool{true, true})
	w.want("given back", w.giveBack(start(managerA, EndpointA, ahead, 1)), []bool{true})
	w.want("further starts", w.start(start(managerA, EndpointA, again, 1), start(managerA, EndpointA, ahead, 0)), []bool{false, false})
	for _, task := range []tasker.Task{again, waits, ahead, missing} {
		if r := w.result(task, EndpointA); r.State != tasker.Superseded || r.Errnr != tasker.ErrnrSuperseded || r.Errmsg == "" {
			w.Errorf("%s: %+v", task.Identifier, r)
		}
	}
	if r := w.result(done, EndpointA); r.State != tasker.ResultDone {
		w.Errorf("what ran: %+v", r)
	}
	due, err := w.Work.DueWork(ctx, EndpointA, taskType, 10)
	if err != nil || len(due) > 0 {
		w.Errorf("due: %+v, %v", due, err)
	}
}
