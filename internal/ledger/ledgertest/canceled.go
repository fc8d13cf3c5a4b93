package ledgertest

import (
	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// What was canceled is found, and nothing of it starts.
func testCanceled(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	running, waiting, missing := w.create("running", "1"), w.create("waiting", "1"), w.create("missing", "1")
	w.receive(incoming(managerA, EndpointA, running, tasker.Running), incoming(managerA, EndpointA, waiting, tasker.Received))
	for _, task := range []tasker.Task{running, waiting, missing} {
		if _, err := w.Behind.CancelTask(ctx, tasker.CancelRequest{
			Type: task.Type, Identifier: task.Identifier, By: "ann", Reason: "wrong file",
		}); err != nil {
			w.Fatal(err)
		}
	}
	const why = "canceled by ann: wrong file"
	if u, err := w.Work.UnfinishedWork(ctx, managerA, EndpointA); err != nil || u != (ledger.Unfinished{Canceled: true}) {
		w.Errorf("unfinished: %+v, %v", u, err)
	}
	work, err := w.Work.CanceledWork(ctx, managerA, EndpointA, 10)
	if err != nil || len(work) != 1 || work[0].Task.ID != running.ID || work[0].Attempt != 1 || work[0].Canceled != why {
		w.Errorf("canceled: %+v, %v", work, err)
	}
	w.want("starts", w.start(start(managerA, EndpointA, running, 0), start(managerA, EndpointA, waiting, 0)), []bool{false, false})
	w.want("given back", w.giveBack(start(managerA, EndpointA, running, 1)), []bool{false})
	late, err := w.Results.ReceiveResults(ctx, []ledger.Incoming{incoming(managerA, EndpointA, missing, tasker.Running)})
	if err != nil || late[0].Outcome != ledger.Duplicate || late[0].State != tasker.ResultCanceled {
		w.Errorf("a message that is late: %+v, %v", late, err)
	}
	w.must(w.Endpoints.ReleaseEndpoints(ctx, managerA, []string{EndpointA}))
	w.acquire(managerB, EndpointA)
	if work, err := w.Work.InterruptedWork(ctx, managerB, EndpointA, 10); err != nil || len(work) != 1 || work[0].Canceled != why {
		w.Errorf("interrupted: %+v, %v", work, err)
	}
	w.want("a retry", w.finish(end(EndpointA, running, 1, tasker.Retrying)), []bool{true})
	if r := w.result(running, EndpointA); r.State != tasker.ResultCanceled || r.Errnr != tasker.ErrnrCanceled || r.Errmsg != why {
		w.Errorf("in place of a retry: %+v", r)
	}
}
