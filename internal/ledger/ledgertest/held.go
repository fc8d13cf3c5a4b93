package ledgertest

import (
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Nothing of what is held starts, whether or not it was asked what that is.
func testHeld(w world) {
	ctx := w.Context()
	for kind, subject := range map[string]func(task tasker.Task) tasker.HoldSubject{
		"task": func(task tasker.Task) tasker.HoldSubject {
			return tasker.HoldSubject{TaskType: taskType, Identifier: task.Identifier}
		},
		"type":     func(tasker.Task) tasker.HoldSubject { return tasker.HoldSubject{TaskType: taskType} },
		"endpoint": func(tasker.Task) tasker.HoldSubject { return tasker.HoldSubject{Endpoint: EndpointA} },
	} {
		w.acquire(managerA, EndpointA)
		waits, arrives := w.create(kind+" waits", "1"), w.create(kind+" arrives", "1")
		w.receive(incoming(managerA, EndpointA, waits, tasker.Received))
		for _, task := range []tasker.Task{waits, arrives} {
			_, err := w.Behind.Hold(ctx, tasker.HoldRequest{HoldSubject: subject(task), By: "ann", Until: tasker.Expiry{After: time.Hour}})
			w.must(err)
		}
		holds, err := w.Endpoints.HoldsAt(ctx, []string{EndpointA})
		if err != nil || len(holds) == 0 || holds[0].Endpoint != EndpointA || holds[0].Until == nil ||
			(holds[0].TaskID != 0) != (kind == "task") || (holds[0].TaskType != "") != (kind == "type") {
			w.Errorf("%s: the holds are %+v, %v", kind, holds, err)
		}
		rec := w.receive(incoming(managerA, EndpointA, arrives, tasker.Running))
		if rec[0].Outcome != ledger.Duplicate || rec[0].State != tasker.Received {
			w.Errorf("%s: what arrives: %+v", kind, rec[0])
		}
		w.want("starts", w.start(start(managerA, EndpointA, waits, 0), start(managerA, EndpointA, arrives, 0)), []bool{false, false})
		if work, err := w.Work.WaitingWork(ctx, EndpointA, taskType, 10); err != nil || len(work) > 0 {
			w.Errorf("%s: waiting: %+v, %v", kind, work, err)
		}
		for _, task := range []tasker.Task{waits, arrives} {
			_, _, err := w.Behind.Resume(ctx, subject(task))
			w.must(err)
		}
		if holds, err := w.Endpoints.HoldsAt(ctx, []string{EndpointA}); err != nil || len(holds) > 0 {
			w.Errorf("%s: afterwards the holds are %+v, %v", kind, holds, err)
		}
		if work, err := w.Work.WaitingWork(ctx, EndpointA, taskType, 10); err != nil || len(work) != 2 {
			w.Errorf("%s: waiting afterwards: %+v, %v", kind, work, err)
		}
		w.want("starts", w.start(start(managerA, EndpointA, waits, 0), start(managerA, EndpointA, arrives, 0)), []bool{true, true})
		w.want("ends", w.finish(end(EndpointA, waits, 1, tasker.ResultDone), end(EndpointA, arrives, 1, tasker.ResultDone)), []bool{true, true})
	}
}
