package ledgertest

import (
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// An endpoint has the signature of a task from each way on which it comes to run it, as
// it was stored, and none of a task that is not signed.
func testSigned(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	want := tasker.Signature{
		UID: "01KBTJ5A3V0Q4S9T8C7M6N5P4R", Issued: 1796083200, Expires: 1796086800, Targets: EndpointA,
		SSHSig: "-----BEGIN SSH SIGNATURE-----\n" + strings.Repeat("a", 2000) + "\n-----END SSH SIGNATURE-----\n",
	}
	check := func(way string, task tasker.Task) {
		w.Helper()
		if task.Signature == nil {
			w.Errorf("%s: no signature", way)
			return
		}
		got := *task.Signature
		if got.Key = ""; got != want {
			w.Errorf("%s: got %+v", way, got)
		}
	}
	stored := tasker.Task{Type: taskType, Identifier: "signed", Endpoints: []string{EndpointA}, Signature: &want}
	task, _, err := w.Behind.CreateTask(ctx, stored)
	w.must(err)
	_, err = w.Behind.MarkSent(ctx, task, nil)
	w.must(err)
	message := incoming(managerA, EndpointA, task, tasker.Received)
	check("recorded", w.receive(message)[0].Task)
	check("a duplicate", w.receive(message)[0].Task)
	work, err := w.Work.WaitingWork(ctx, EndpointA, taskType, 10)
	w.must(err)
	if len(work) != 1 {
		w.Fatalf("%d results wait", len(work))
	}
	check("waiting", work[0].Task)
	key := work[0].Key()
	w.want("start", w.start(ledger.Start{ResultKey: key, Manager: managerA}), []bool{true})
	w.must(w.Endpoints.ReleaseEndpoints(ctx, managerA, []string{EndpointA}))
	w.acquire(managerB, EndpointA)
	work, err = w.Work.InterruptedWork(ctx, managerB, EndpointA, 10)
	w.must(err)
	if len(work) != 1 {
		w.Fatalf("%d results are interrupted", len(work))
	}
	check("interrupted", work[0].Task)
	// What its endpoint finds to have expired when it is about to run.
	w.want("end", w.finish(ledger.End{
		ResultKey: key, Attempt: 1, State: tasker.Expired, Errnr: tasker.ErrnrExpired, Errmsg: "signed until then",
	}), []bool{true})
	if r := w.result(task, EndpointA); r.State != tasker.Expired || r.Errnr != tasker.ErrnrExpired || r.Attempt != 1 {
		w.Errorf("got %+v", r)
	}
	if task := w.receive(incoming(managerB, EndpointA, w.create("plain", "1"), tasker.Received))[0].Task; task.Signature != nil {
		w.Errorf("a task that nobody signed has %+v", task.Signature)
	}
}
