package ledgertest

import (
	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// What was retried is found, with the attempts that the retry policy does not count, and
// runs once more; a task that was not received is found again, and recorded once.
func testRetried(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	failed, missing := w.create("failed", "1"), w.create("missing", "1")
	w.receive(incoming(managerA, EndpointA, failed, tasker.Running))
	w.want("the end", w.finish(end(EndpointA, failed, 1, tasker.ResultFailed)), []bool{true})
	since := w.Behind.Now()
	for _, task := range []tasker.Task{failed, missing} {
		if _, err := w.Behind.Aggregate(ctx, []int64{task.ID}, 0); err != nil {
			w.Fatal(err)
		}
		if _, err := w.Behind.RetryTask(ctx, tasker.RetryRequest{
			Type: task.Type, Identifier: task.Identifier, Class: tasker.RetryUnfinished, By: "ann",
		}); err != nil {
			w.Fatal(err)
		}
	}
	if u, err := w.Work.UnfinishedWork(ctx, managerA, EndpointA); err != nil || u != (ledger.Unfinished{Waiting: true}) {
		w.Errorf("unfinished: %+v, %v", u, err)
	}
	work, err := w.Work.WaitingWork(ctx, EndpointA, taskType, 10)
	if err != nil || len(work) != 1 || work[0].Task.ID != failed.ID || work[0].Attempt != 1 || work[0].Earlier != 1 {
		w.Fatalf("waiting: %+v, %v", work, err)
	}
	w.want("a late end", w.finish(end(EndpointA, failed, 1, tasker.ResultCanceled)), []bool{false})
	w.want("the starts", w.start(start(managerA, EndpointA, failed, 0)), []bool{false})
	w.want("the start", w.start(start(managerA, EndpointA, failed, 1)), []bool{true})
	late, err := w.Results.ReceiveResults(ctx, []ledger.Incoming{incoming(managerA, EndpointA, failed, tasker.Running)})
	if err != nil || late[0].Outcome != ledger.Duplicate || late[0].Attempt != 2 || late[0].Earlier != 1 || !late[0].Own {
		w.Errorf("a message that is late: %+v, %v", late, err)
	}
	w.want("a retry", w.finish(end(EndpointA, failed, 2, tasker.Retrying)), []bool{true})
	due, err := w.Work.DueWork(ctx, EndpointA, taskType, 10)
	if err != nil || len(due) != 1 || due[0].Earlier != 1 {
		w.Errorf("due: %+v, %v", due, err)
	}
	found, _, err := w.Results.UnreceivedTasks(ctx, EndpointA, []string{taskType}, since, ledger.SentPosition{SentTime: since}, 10)
	if err != nil || len(found) != 1 || found[0].ID != missing.ID {
		w.Errorf("not received: %+v, %v", found, err)
	}
	for _, want := range []ledger.Outcome{ledger.Recorded, ledger.Duplicate} {
		recorded, err := w.Results.ReceiveResults(ctx, []ledger.Incoming{incoming(managerA, EndpointA, missing, tasker.Received)})
		if err != nil || recorded[0].Outcome != want {
			w.Errorf("%+v, %v", recorded, err)
		}
	}
}
