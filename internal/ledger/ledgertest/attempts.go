package ledgertest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

func testStarts(w world) {
	w.acquire(managerA, EndpointA)
	w.acquire(managerB, EndpointB)
	one, two := w.create("one", "1"), w.create("two", "2")
	w.receive(
		incoming(managerA, EndpointA, one, tasker.Received), incoming(managerB, EndpointB, one, tasker.Received),
		incoming(managerA, EndpointA, two, tasker.Received),
	)
	w.want("of two managers", w.start(start(managerA, EndpointA, one, 0), start(managerB, EndpointB, one, 0)), []bool{true, true})
	if r := w.result(one, EndpointB); r.State != tasker.Running || r.Attempt != 1 {
		w.Errorf("%+v", r)
	}
	w.want("again, and one more", w.start(start(managerA, EndpointA, one, 0), start(managerA, EndpointA, two, 0)), []bool{true, true})
	w.want("a wrong attempt, another manager, no result", w.start(
		start(managerA, EndpointA, two, 1), start(managerB, EndpointA, one, 0), start(managerB, EndpointB, two, 0),
	), []bool{false, false, false})
	w.want("the end", w.finish(end(EndpointA, two, 1, tasker.ResultDone)), []bool{true})
	w.want("an old start", w.start(start(managerA, EndpointA, two, 0)), []bool{false})
}

// An attempt that was counted when its result was recorded can be given back, once.
func testGiveBack(w world) {
	w.acquire(managerA, EndpointA)
	w.acquire(managerB, EndpointB)
	one, two, three := w.create("one", "1"), w.create("two", "2"), w.create("three", "3")
	w.receive(
		incoming(managerA, EndpointA, one, tasker.Running), incoming(managerB, EndpointB, one, tasker.Running),
		incoming(managerA, EndpointA, two, tasker.Running), incoming(managerA, EndpointA, three, tasker.Received),
	)
	w.want("the start of the third", w.start(start(managerA, EndpointA, three, 0)), []bool{true})
	w.want("the end of the second", w.finish(end(EndpointA, two, 1, tasker.ResultDone)), []bool{true})
	w.want("by another manager, another attempt, no result", w.giveBack(
		start(managerB, EndpointA, one, 1), start(managerA, EndpointA, one, 2), start(managerB, EndpointB, two, 1),
	), []bool{false, false, false})
	for range 2 { // the second time as after a lost answer
		w.want("two that run, one that has ended, one that was started", w.giveBack(
			start(managerA, EndpointA, one, 1), start(managerB, EndpointB, one, 1),
			start(managerA, EndpointA, two, 1), start(managerA, EndpointA, three, 1),
		), []bool{true, true, false, false})
	}
	if r := w.result(one, EndpointA); r.State != tasker.Received || r.Attempt != 0 {
		w.Errorf("given back: %+v", r)
	}
	if r := w.result(three, EndpointA); r.State != tasker.Running || r.Attempt != 1 {
		w.Errorf("started: %+v", r)
	}
	work, err := w.Work.WaitingWork(w.Context(), EndpointA, taskType, 10)
	if err != nil || len(work) != 1 || work[0].Task.ID != one.ID || work[0].Attempt != 0 {
		w.Errorf("what waits: %+v, %v", work, err)
	}
	w.want("the end of the attempt", w.finish(end(EndpointA, one, 1, tasker.ResultDone)), []bool{false})
	w.want("its start", w.start(start(managerA, EndpointA, one, 0)), []bool{true})
	w.want("a call that was late", w.giveBack(start(managerA, EndpointA, one, 1)), []bool{false})
	w.want("the end", w.finish(end(EndpointA, one, 1, tasker.ResultDone)), []bool{true})
}

func testEnds(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	task := w.create("one", "1")
	w.receive(incoming(managerA, EndpointA, task, tasker.Running))
	failed := end(EndpointA, task, 1, tasker.Retrying)
	failed.Errnr, failed.Errmsg, failed.RetryDelay = 3, "no <luck> \"today\"", time.Hour
	w.want("the end", w.finish(failed), []bool{true})
	r := w.result(task, EndpointA)
	if r.State != tasker.Retrying || r.Errnr != 3 || r.Errmsg != failed.Errmsg || r.RetryTime == nil ||
		r.RetryTime.Sub(w.Behind.Now()) < 59*time.Minute || r.RetryTime.Sub(w.Behind.Now()) > time.Hour {
		w.Errorf("%+v", r)
	}
	next, ok, err := w.Work.NextRetry(ctx, EndpointA, taskType)
	if err != nil || !ok || !next.Equal(*r.RetryTime) {
		w.Errorf("next retry %v, %v, %v; want %v", next, ok, err, r.RetryTime)
	}
	if _, ok, err := w.Work.NextRetry(ctx, EndpointA, "other"); err != nil || ok {
		w.Error(ok, err)
	}
	if due, err := w.Work.DueWork(ctx, EndpointA, taskType, 10); err != nil || len(due) != 0 {
		w.Error(due, err)
	}
	w.want("again", w.finish(failed), []bool{false})
	w.want("the second start", w.start(start(managerA, EndpointA, task, 1)), []bool{true})
	w.want("an old end", w.finish(end(EndpointA, task, 1, tasker.ResultDone)), []bool{false})
	if r := w.result(task, EndpointA); r.State != tasker.Running || r.Attempt != 2 || r.Errnr != 0 {
		w.Errorf("%+v", r)
	}
	done := end(EndpointA, task, 2, tasker.ResultFailed)
	done.Errnr, done.Errmsg, done.Payload = 4, "given up", json.RawMessage(`{"log":[1,2]}`)
	w.want("the last end", w.finish(done), []bool{true})
	w.want("another one", w.finish(end(EndpointA, task, 2, tasker.ResultDone)), []bool{false})
	if r := w.result(task, EndpointA); r.State != tasker.ResultFailed || r.Errnr != 4 || string(r.Payload) != `{"log":[1,2]}` {
		w.Errorf("%+v", r)
	}
	attempts, err := w.Attempts.Attempts(ctx, task.ID, EndpointA)
	if err != nil || len(attempts) != 2 || attempts[0].Errnr != 3 || attempts[1].State != tasker.ResultFailed {
		w.Errorf("%+v, %v", attempts, err)
	}
}

// A batch with stale ends, ends of other endpoints, and some twice.
func testBatch(w world) {
	w.acquire(managerA, EndpointA)
	w.acquire(managerB, EndpointB)
	var messages []ledger.Incoming
	var ends []ledger.End
	var want []bool
	var tasks []tasker.Task
	for i := range 40 {
		task := w.create(fmt.Sprintf("task-%d", i), "1")
		tasks = append(tasks, task)
		for _, endpoint := range []string{EndpointA, EndpointB} {
			owner := map[string]string{EndpointA: managerA, EndpointB: managerB}[endpoint]
			messages = append(messages, incoming(owner, endpoint, task, tasker.Running))
			e := end(endpoint, task, 1, tasker.ResultDone)
			e.Payload = fmt.Appendf(nil, `{"i":%d,"at":%q}`, i, endpoint)
			stale := i%7 == 3 && endpoint == EndpointA
			if stale {
				e.Attempt = 2
			}
			ends, want = append(ends, e), append(want, !stale)
		}
	}
	w.receive(messages...)
	w.want("the batch", w.finish(ends...), want)
	for i, task := range tasks {
		for _, endpoint := range []string{EndpointA, EndpointB} {
			r := w.result(task, endpoint)
			if i%7 == 3 && endpoint == EndpointA {
				if r.State != tasker.Running {
					w.Errorf("%+v", r)
				}
			} else if r.State != tasker.ResultDone || string(r.Payload) != fmt.Sprintf(`{"i":%d,"at":%q}`, i, endpoint) {
				w.Errorf("%+v: %s", r, r.Payload)
			}
		}
	}
	// One end twice in a batch is stored once.
	twice := end(EndpointA, tasks[3], 1, tasker.ResultDone)
	stored := w.finish(twice, end(EndpointA, tasks[10], 1, tasker.ResultDone), twice)
	if stored[0] == stored[2] || !stored[1] {
		w.Errorf("one end twice: %v", stored)
	}
	if r := w.result(tasks[3], EndpointA); r.State != tasker.ResultDone {
		w.Errorf("%+v", r)
	}
}

func testWaiting(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	var tasks []tasker.Task
	for i := range 5 {
		tasks = append(tasks, w.create(fmt.Sprintf("task-%d", i), fmt.Sprintf(`{"i": %d}`, i)))
		w.receive(incoming(managerA, EndpointA, tasks[i], tasker.Received))
	}
	work, err := w.Work.WaitingWork(ctx, EndpointA, taskType, 3)
	if err != nil || len(work) != 3 {
		w.Fatalf("%+v, %v", work, err)
	}
	for i, one := range work {
		if one.Task.ID != tasks[i].ID || one.Task.Identifier != tasks[i].Identifier || one.Task.Type != taskType ||
			string(one.Task.Payload) != fmt.Sprintf(`{"i": %d}`, i) || one.Endpoint != EndpointA || one.State != tasker.Received || one.Attempt != 0 {
			w.Errorf("%+v", one)
		}
	}
	for _, other := range [][2]string{{EndpointB, taskType}, {EndpointA, "other"}} {
		if work, err := w.Work.WaitingWork(ctx, other[0], other[1], 10); err != nil || len(work) != 0 {
			w.Errorf("%v: %+v, %v", other, work, err)
		}
	}
	w.want("the start", w.start(start(managerA, EndpointA, tasks[0], 0)), []bool{true})
	retry := end(EndpointA, tasks[0], 1, tasker.Retrying)
	retry.Errnr, retry.Errmsg = 1, "once more"
	w.want("the end", w.finish(retry), []bool{true})
	due, err := w.Work.DueWork(ctx, EndpointA, taskType, 10)
	if err != nil || len(due) != 1 || due[0].Task.ID != tasks[0].ID || due[0].Attempt != 1 || due[0].State != tasker.Retrying ||
		due[0].RetryTime == nil {
		w.Errorf("%+v, %v", due, err)
	}
}

// UnfinishedWork says which of the lists are worth reading.
func testUnfinished(w world) {
	ctx := w.Context()
	want := func(when string, manager string, want ledger.Unfinished) {
		w.Helper()
		if got, err := w.Work.UnfinishedWork(ctx, manager, EndpointA); err != nil || got != want {
			w.Errorf("%s: %+v, %v, want %+v", when, got, err, want)
		}
	}
	w.acquire(managerA, EndpointA)
	want("nothing", managerA, ledger.Unfinished{})
	running, waiting := w.create("running", "1"), w.create("waiting", "1")
	w.receive(incoming(managerA, EndpointA, running, tasker.Running))
	want("what it runs itself", managerA, ledger.Unfinished{})
	w.receive(incoming(managerA, EndpointA, waiting, tasker.Received))
	want("one waits", managerA, ledger.Unfinished{Waiting: true})
	w.must(w.Endpoints.ReleaseEndpoints(ctx, managerA, []string{EndpointA}))
	w.acquire(managerB, EndpointA)
	want("the next manager", managerB, ledger.Unfinished{Interrupted: true, Waiting: true})
	if _, err := w.Attempts.FinishAttempts(ctx, []ledger.End{{
		ResultKey: tasker.ResultKey{TaskID: running.ID, Endpoint: EndpointA}, Attempt: 1, State: tasker.ResultFailed, Errnr: 1,
	}}); err != nil {
		w.Fatal(err)
	}
	want("the interrupted one has ended", managerB, ledger.Unfinished{Waiting: true})
}

func testInterrupted(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	task := w.create("one", "1")
	w.receive(incoming(managerA, EndpointA, task, tasker.Running))
	if work, err := w.Work.InterruptedWork(ctx, managerA, EndpointA, 10); err != nil || len(work) != 0 {
		w.Errorf("its own: %+v, %v", work, err)
	}
	if work, err := w.Work.InterruptedWork(ctx, managerB, EndpointA, 10); err != nil || len(work) != 0 {
		w.Errorf("of one that does not hold the endpoint: %+v, %v", work, err)
	}
	w.must(w.Endpoints.ReleaseEndpoints(ctx, managerA, []string{EndpointA}))
	w.acquire(managerB, EndpointA)
	work, err := w.Work.InterruptedWork(ctx, managerB, EndpointA, 10)
	if err != nil || len(work) != 1 || work[0].Task.ID != task.ID || work[0].Attempt != 1 || work[0].State != tasker.Running {
		w.Errorf("%+v, %v", work, err)
	}
}

func testReboots(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	task := w.create("one", "1")
	w.receive(incoming(managerA, EndpointA, task, tasker.Running))
	key := tasker.ResultKey{TaskID: task.ID, Endpoint: EndpointA}
	const boot = "0d1c5a1e-0000-4000-8000-000000000000"
	for range 2 { // the second time as after a lost answer
		if stored, err := w.Attempts.AwaitReboot(ctx, key, 1, 2, boot); err != nil || !stored {
			w.Error(stored, err)
		}
	}
	if stored, err := w.Attempts.AwaitReboot(ctx, key, 2, 2, boot); err != nil || stored {
		w.Error("of another attempt", stored, err)
	}
	w.must(w.Endpoints.ReleaseEndpoints(ctx, managerA, []string{EndpointA}))
	w.acquire(managerB, EndpointA)
	work, err := w.Work.InterruptedWork(ctx, managerB, EndpointA, 10)
	if err != nil || len(work) != 1 || work[0].AwaitsReboot != boot || work[0].Step != 2 {
		w.Fatalf("%+v, %v", work, err)
	}
	for range 2 {
		resumed, err := w.Attempts.ResumeAttempts(ctx, []ledger.Start{start(managerB, EndpointA, task, 1)})
		if err != nil || !slices.Equal(resumed, []bool{true}) {
			w.Error(resumed, err)
		}
	}
	resumed, err := w.Attempts.ResumeAttempts(ctx, []ledger.Start{start(managerA, EndpointA, task, 1)})
	if err != nil || !slices.Equal(resumed, []bool{false}) {
		w.Error("by the manager before", resumed, err)
	}
}

func testLive(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	task := w.create("one", "1")
	w.receive(incoming(managerA, EndpointA, task, tasker.Running))
	now := w.Behind.Now()
	update := ledger.LiveUpdate{
		ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: EndpointA}, Attempt: 1,
		Progress: &tasker.Progress{Done: 1 << 60, Total: 1<<60 + 1, Message: "half & <half>", Time: now},
		Partial:  json.RawMessage(`{"n": 9007199254740993}`),
		Lines: []tasker.LogLine{
			{Number: 0, Time: now, Stream: tasker.StreamLog, Level: "info", Text: "<one> \u2028"},
			{Number: 1, Time: now, LeftOut: 4},
			{Number: 5, Time: now, Stream: tasker.StreamStdout, Text: "two", Size: 9},
		},
		Totals: tasker.LogTotals{Lines: 6, Bytes: 99, LeftOut: 4},
	}
	gone := update
	gone.TaskID += 1000 // no such result: skipped
	for range 2 {
		w.must(w.Live.SaveLive(ctx, []ledger.LiveUpdate{update, gone}))
	}
	attempts, err := w.Behind.Attempts(ctx, task.ID, EndpointA)
	if err != nil || len(attempts) != 1 || *attempts[0].Progress != *update.Progress || attempts[0].Log != update.Totals ||
		string(attempts[0].Partial) != string(update.Partial) {
		w.Errorf("%+v, %v", attempts, err)
	}
	read, err := w.Attempts.Attempts(ctx, task.ID, EndpointA)
	if err != nil || len(read) != 1 || read[0].Log != update.Totals || read[0].State != tasker.Running {
		w.Errorf("%+v, %v", read, err)
	}
	chunks, err := w.Behind.LogLines(ctx, task.ID, EndpointA, 1, 0, 10)
	if err != nil || !slices.EqualFunc(chunks, update.Lines, func(a, b tasker.LogLine) bool { return a.Text == b.Text && a.Number == b.Number }) {
		w.Errorf("%+v, %v", chunks, err)
	}
}

func testLost(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	task := w.create("one", "1")
	w.receive(incoming(managerA, EndpointA, task, tasker.Running))
	w.must(w.Endpoints.ReleaseEndpoints(ctx, managerA, []string{EndpointA}))
	for {
		lost, err := w.Behind.MarkLost(ctx, w.Behind.Now(), 10)
		w.must(err)
		if len(lost) == 1 {
			break
		}
	}
	w.acquire(managerB, EndpointA)
	if n, err := w.Endpoints.ReturnFromLost(ctx, []string{EndpointA, EndpointB}); err != nil || n != 1 {
		w.Error(n, err)
	}
	if r := w.result(task, EndpointA); r.State != tasker.Running {
		w.Errorf("%+v", r)
	}
}

func testForget(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA, EndpointB)
	w.receive(incoming(managerA, EndpointA, w.create("one", "1"), tasker.Running))
	kept, err := w.Endpoints.ForgetEndpoints(ctx, managerA, []string{EndpointA, EndpointB})
	if err != nil || !slices.Equal(kept, []string{EndpointA}) {
		w.Error(kept, err)
	}
	if held, err := w.Endpoints.Heartbeat(ctx, managerA, []string{EndpointA, EndpointB}, lease); err != nil || held {
		w.Error("a forgotten one is held", held, err)
	}
	if held, err := w.Endpoints.Heartbeat(ctx, managerA, []string{EndpointA}, lease); err != nil || !held {
		w.Error(held, err)
	}
}

// Everything at once, and each request twice: each result is recorded, started and
// finished once.
func testRepeated(w world) {
	w.acquire(managerA, EndpointA)
	w.acquire(managerB, EndpointB)
	const n = 30
	var group sync.WaitGroup
	var mu sync.Mutex
	recorded, stored := 0, 0
	for i := range n {
		task := w.create(fmt.Sprintf("task-%d", i), "1")
		for _, owner := range [][2]string{{managerA, EndpointA}, {managerB, EndpointB}, {managerA, EndpointA}} {
			group.Go(func() {
				key := tasker.ResultKey{TaskID: task.ID, Endpoint: owner[1]}
				got, err := w.Results.ReceiveResults(w.Context(), []ledger.Incoming{incoming(owner[0], owner[1], task, tasker.Received)})
				if err != nil {
					w.Error(err)
					return
				}
				if _, err := w.Attempts.StartAttempts(w.Context(), []ledger.Start{{ResultKey: key, Manager: owner[0]}}); err != nil {
					w.Error(err)
				}
				ended, err := w.Attempts.FinishAttempts(w.Context(), []ledger.End{{
					ResultKey: key, Attempt: 1, State: tasker.ResultDone, Payload: json.RawMessage(`"` + strings.Repeat("x", i) + `"`),
				}})
				if err != nil {
					w.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if got[0].Outcome == ledger.Recorded {
					recorded++
				}
				if ended[0] {
					stored++
				}
			})
		}
	}
	group.Wait()
	if recorded != 2*n || stored != 2*n {
		w.Errorf("%d recorded and %d stored, want %d each", recorded, stored, 2*n)
	}
}
