// Package ledgertest tests what a manager and a database exchange: the same suite
// for internal/store, and for the gateway that stands between the two.
package ledgertest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/manager"
)

// Subject is an implementation that is tested.
type Subject struct {
	manager.Store
	// Behind is the database behind it, for what managers do not do.
	Behind *storetest.Flat
}

// The endpoints and managers of the tests. A subject must serve all of them.
const (
	EndpointA = "a"
	EndpointB = "b"

	managerA, managerB = "01MANAGERAAAAAAAAAAAAAAAAA", "01MANAGERBBBBBBBBBBBBBBBBB"
	taskType           = "job"
	lease              = time.Minute
)

// Test runs the suite. open returns a subject with an empty database, which lasts
// until the test ends.
func Test(t *testing.T, open func(t *testing.T) Subject) {
	for name, test := range map[string]func(w world){
		"leases":            testLeases,
		"receive":           testReceive,
		"payloads":          testPayloads,
		"unreceived":        testUnreceived,
		"places":            testPlaces,
		"starts":            testStarts,
		"give back":         testGiveBack,
		"expiry":            testExpiry,
		"ends":              testEnds,
		"ends of a batch":   testBatch,
		"waiting work":      testWaiting,
		"priorities":        testPriorities,
		"unfinished work":   testUnfinished,
		"interrupted work":  testInterrupted,
		"canceled work":     testCanceled,
		"held work":         testHeld,
		"another round":     testRetried,
		"superseded work":   testSuperseded,
		"signed tasks":      testSigned,
		"reboots":           testReboots,
		"live":              testLive,
		"lost":              testLost,
		"forget":            testForget,
		"the clock":         testClock,
		"refusals":          testRefusals,
		"a context's end":   testContext,
		"requests repeated": testRepeated,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(world{T: t, Subject: open(t)})
		})
	}
}

// world is a subject in a test.
type world struct {
	*testing.T
	Subject
}

func (w world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w world) acquire(manager string, endpoints ...string) {
	w.Helper()
	for _, name := range endpoints {
		holder, err := w.Endpoints.AcquireEndpoint(w.Context(), tasker.Endpoint{
			Name: name, Manager: manager, TaskTypes: []string{taskType, "other"}, Host: "host", PID: 7, Version: "v1",
			Labels: map[string]string{"role": "web"},
		}, lease)
		if err != nil || holder != nil {
			w.Fatalf("acquire %s: held by %+v, %v", name, holder, err)
		}
	}
}

// create stores a task for endpoints a and b, as sent.
func (w world) create(identifier, payload string) tasker.Task {
	w.Helper()
	task, _, err := w.Behind.CreateTask(w.Context(), tasker.Task{
		Type: taskType, Identifier: identifier, Payload: json.RawMessage(payload), Endpoints: []string{EndpointA, EndpointB},
	})
	w.must(err)
	_, err = w.Behind.MarkSent(w.Context(), task, nil)
	w.must(err)
	return task
}

func incoming(manager, endpoint string, task tasker.Task, state tasker.ResultState) ledger.Incoming {
	return ledger.Incoming{
		ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Manager: manager, Type: task.Type, Identifier: task.Identifier,
		State: state,
	}
}

func (w world) receive(messages ...ledger.Incoming) []ledger.Recording {
	w.Helper()
	recordings, err := w.Results.ReceiveResults(w.Context(), messages)
	if err != nil || len(recordings) != len(messages) {
		w.Fatalf("%d recordings of %d, %v", len(recordings), len(messages), err)
	}
	return recordings
}

func (w world) finish(ends ...ledger.End) []bool {
	w.Helper()
	stored, err := w.Attempts.FinishAttempts(w.Context(), ends)
	if err != nil || len(stored) != len(ends) {
		w.Fatalf("%d answers to %d ends, %v", len(stored), len(ends), err)
	}
	return stored
}

func (w world) start(starts ...ledger.Start) []bool {
	w.Helper()
	started, err := w.Attempts.StartAttempts(w.Context(), starts)
	if err != nil || len(started) != len(starts) {
		w.Fatalf("%d answers to %d starts, %v", len(started), len(starts), err)
	}
	return started
}

func (w world) giveBack(starts ...ledger.Start) []bool {
	w.Helper()
	returned, err := w.Attempts.ReturnAttempts(w.Context(), starts)
	if err != nil || len(returned) != len(starts) {
		w.Fatalf("%d answers about %d attempts to give back, %v", len(returned), len(starts), err)
	}
	return returned
}

func (w world) result(task tasker.Task, endpoint string) tasker.TaskResult {
	w.Helper()
	results, err := w.Behind.TaskResults(w.Context(), task.ID)
	w.must(err)
	at := slices.IndexFunc(results, func(r tasker.TaskResult) bool { return r.Endpoint == endpoint })
	if at < 0 {
		w.Fatalf("no result of task %d at %s", task.ID, endpoint)
	}
	return results[at]
}

func end(endpoint string, task tasker.Task, attempt int, state tasker.ResultState) ledger.End {
	return ledger.End{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Attempt: attempt, State: state}
}

func start(manager, endpoint string, task tasker.Task, attempt int) ledger.Start {
	return ledger.Start{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Manager: manager, Attempt: attempt}
}

func (w world) want(what string, got, want []bool) {
	w.Helper()
	if !slices.Equal(got, want) {
		w.Errorf("%s: %v, want %v", what, got, want)
	}
}

func testLeases(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA, EndpointB)
	holder, err := w.Endpoints.AcquireEndpoint(ctx, tasker.Endpoint{Name: EndpointA, Manager: managerB, TaskTypes: []string{taskType}}, lease)
	w.must(err)
	if holder == nil || holder.Manager != managerA || holder.Host != "host" || holder.PID != 7 || !holder.Alive ||
		holder.LastSeen.IsZero() || holder.LeaseUntil.IsZero() || holder.StartTime.IsZero() {
		w.Fatalf("holder %+v", holder)
	}
	seen := holder.LastSeen
	both := []string{EndpointA, EndpointB}
	if held, err := w.Endpoints.Heartbeat(ctx, managerA, both, lease); err != nil || !held {
		w.Error(held, err)
	}
	if held, err := w.Endpoints.Heartbeat(ctx, managerB, both, lease); err != nil || held {
		w.Error("another manager holds them", held, err)
	}
	list, err := w.Behind.ListEndpoints(ctx, tasker.EndpointQuery{Limit: 10})
	w.must(err)
	if len(list) != 2 || !list[0].LastSeen.After(seen) || list[0].Labels["role"] != "web" || list[0].Version != "v1" ||
		!slices.Equal(list[0].TaskTypes, []string{taskType, "other"}) {
		w.Errorf("registered: %+v", list)
	}
	w.must(w.Endpoints.ReleaseEndpoints(ctx, managerA, both))
	w.acquire(managerB, EndpointA)
	if held, err := w.Endpoints.Heartbeat(ctx, managerA, both, lease); err != nil || held {
		w.Error("the first manager holds what was taken over", held, err)
	}
	w.must(w.Endpoints.ReleaseEndpoints(ctx, managerA, both)) // an old request: b's lease is not touched
	if held, err := w.Endpoints.Heartbeat(ctx, managerB, []string{EndpointA}, lease); err != nil || !held {
		w.Error(held, err)
	}
}

func testReceive(w world) {
	w.acquire(managerA, EndpointA)
	w.acquire(managerB, EndpointB)
	one, two, three := w.create("one", `{"a":1}`), w.create("two", "null"), w.create("three", "[]")
	got := w.receive(
		incoming(managerA, EndpointA, one, tasker.Running), incoming(managerB, EndpointB, one, tasker.Received),
		incoming(managerA, EndpointA, two, tasker.Received),
	)
	for i, r := range got {
		if r.Outcome != ledger.Recorded || r.Task.Type != taskType {
			w.Errorf("%d: %+v", i, r)
		}
	}
	if task := got[1].Task; task.ID != one.ID || task.Identifier != "one" || string(task.Payload) != `{"a":1}` {
		w.Errorf("%+v", task)
	}
	if r := w.result(one, EndpointA); r.State != tasker.Running || r.Attempt != 1 {
		w.Errorf("%+v", r)
	}
	// Again, by this manager and another one; of one that holds nothing; and what
	// does not belong to its task.
	wrong, unknown := two, tasker.Task{ID: 1 << 60, Type: taskType, Identifier: "none"}
	wrong.Identifier = "other"
	got = w.receive(
		incoming(managerA, EndpointA, one, tasker.Received), incoming(managerB, EndpointA, three, tasker.Received),
		incoming(managerA, EndpointA, wrong, tasker.Received), incoming(managerA, EndpointA, unknown, tasker.Received),
		incoming(managerA, EndpointA, three, tasker.Running), incoming(managerA, EndpointA, three, tasker.Running),
	)
	for i, want := range []ledger.Outcome{
		ledger.Duplicate, ledger.NotOwner, ledger.Refused, ledger.Refused, ledger.Recorded, ledger.Duplicate,
	} {
		if got[i].Outcome != want {
			w.Errorf("%d: %+v, want outcome %d", i, got[i], want)
		}
	}
	if r := got[0]; r.State != tasker.Running || r.Attempt != 1 || !r.Own || r.Task.ID != one.ID || string(r.Task.Payload) != `{"a":1}` {
		w.Errorf("a duplicate: %+v", r)
	}
	if !strings.Contains(got[2].Reason, "two") || !strings.Contains(got[3].Reason, "not found") {
		w.Errorf("reasons %q, %q", got[2].Reason, got[3].Reason)
	}
	rejected := incoming(managerA, EndpointA, w.create("four", "1"), tasker.Rejected)
	rejected.Errnr, rejected.Errmsg = tasker.ErrnrRejected, "no <handler> & \"none\" \u2028 für it"
	w.receive(rejected)
	if r := w.result(tasker.Task{ID: rejected.TaskID}, EndpointA); r.State != tasker.Rejected || r.Errnr != tasker.ErrnrRejected ||
		r.Errmsg != rejected.Errmsg {
		w.Errorf("%+v", r)
	}
	w.must(w.Endpoints.ReleaseEndpoints(w.Context(), managerA, []string{EndpointA}))
	w.acquire(managerB, EndpointA)
	got = w.receive(incoming(managerB, EndpointA, one, tasker.Received), incoming(managerA, EndpointA, one, tasker.Received))
	if got[0].Outcome != ledger.Duplicate || got[0].Own || got[1].Outcome != ledger.NotOwner {
		w.Errorf("after a takeover: %+v", got)
	}
}

// Payloads arrive and are stored byte for byte.
func testPayloads(w world) {
	w.acquire(managerA, EndpointA)
	for identifier, payload := range map[string]string{
		"numbers": `{"n": 9007199254740993, "f":1.10, "e": 1E400, "big":123456789012345678901234567890}`,
		"spaces":  " {\"a\" : [ 1 ,\n\t2 ] }\n",
		"text":    "\"<a>&\\u2028 \\ud83d\\ude00 \\/ é\u2028\"",
		"names":   `{"a":1,"A":2,"":3}`,
		"null":    `null`,
	} {
		task := w.create(identifier, payload)
		got := w.receive(incoming(managerA, EndpointA, task, tasker.Running))[0]
		if string(got.Task.Payload) != payload {
			w.Errorf("%s: received %s, want %s", identifier, got.Task.Payload, payload)
		}
		read, err := w.Results.TaskPayload(w.Context(), task.ID)
		if err != nil || string(read) != payload {
			w.Errorf("%s: read %s, %v", identifier, read, err)
		}
		done := end(EndpointA, task, 1, tasker.ResultDone)
		done.Payload = json.RawMessage(payload)
		w.want(identifier, w.finish(done), []bool{true})
		if r := w.result(task, EndpointA); string(r.Payload) != payload {
			w.Errorf("%s: stored %s, want %s", identifier, r.Payload, payload)
		}
	}
	task := w.create("none", "1")
	w.receive(incoming(managerA, EndpointA, task, tasker.Running))
	w.want("no payload", w.finish(end(EndpointA, task, 1, tasker.ResultDone)), []bool{true})
	if r := w.result(task, EndpointA); r.Payload != nil {
		w.Errorf("stored %q, want none", r.Payload)
	}
	// A large one is left out, and read by itself.
	large := `"` + strings.Repeat("x", 300<<10) + `"`
	task = w.create("large", large)
	got := w.receive(incoming(managerA, EndpointA, task, tasker.Received))[0]
	if len(got.Task.Payload) != 0 {
		w.Errorf("received %d bytes", len(got.Task.Payload))
	}
	if read, err := w.Results.TaskPayload(w.Context(), task.ID); err != nil || string(read) != large {
		w.Errorf("read %d bytes, %v", len(read), err)
	}
	if _, err := w.Results.TaskPayload(w.Context(), 1<<60); tasker.CodeOf(err) != tasker.NotFound {
		w.Errorf("an unknown task: %v", err)
	}
}

func testUnreceived(w world) {
	ctx := w.Context()
	w.acquire(managerA, EndpointA)
	begin := w.Database.Now()
	sent := map[int64]bool{}
	for _, identifier := range []string{"1", "2", "3", "4", "5"} {
		sent[w.create(identifier, "1").ID] = true
	}
	received := w.create("received", "1")
	w.receive(incoming(managerA, EndpointA, received, tasker.Received))
	found, pages := map[int64]bool{}, 0
	for after := (ledger.SentPosition{}); ; pages++ {
		tasks, next, err := w.Results.UnreceivedTasks(ctx, EndpointA, []string{taskType}, time.Time{}, after, 2)
		w.must(err)
		for _, task := range tasks {
			if found[task.ID] || task.Type != taskType || task.Identifier == "" || task.SentTime == nil || task.StartTime.IsZero() {
				w.Errorf("%+v", task)
			}
			found[task.ID] = true
		}
		if after = next; after == (ledger.SentPosition{}) || pages > 10 {
			break
		}
	}
	if len(found) != len(sent) || found[received.ID] {
		w.Errorf("found %v, want %v", found, sent)
	}
	for since, want := range map[time.Time]int{begin.Add(-time.Minute): 5, begin.Add(time.Hour): 0} {
		if tasks, _, err := w.Results.UnreceivedTasks(ctx, EndpointA, []string{taskType}, since, ledger.SentPosition{}, 100); err != nil ||
			len(tasks) != want {
			w.Errorf("%d tasks since %v, want %d, %v", len(tasks), since, want, err)
		}
	}
	if tasks, _, err := w.Results.UnreceivedTasks(ctx, EndpointA, []string{"other"}, time.Time{}, ledger.SentPosition{}, 100); err != nil ||
		len(tasks) != 0 {
		w.Errorf("of another type: %v, %v", tasks, err)
	}
}

func testContext(w world) {
	ended, cancel := context.WithCancel(w.Context())
	cancel()
	_, err := w.Attempts.FinishAttempts(ended, []ledger.End{end(EndpointA, tasker.Task{ID: 1}, 1, tasker.ResultDone)})
	switch tasker.CodeOf(err) {
	case tasker.Unavailable, tasker.Internal:
	default:
		w.Errorf("got %v: a manager would not try again", err)
	}
	if w.Database.Answered(err) {
		w.Errorf("%v is taken for an answer", err)
	}
}

func testClock(w world) {
	w.acquire(managerA, EndpointA) // the gateway's client learns the time
	if off := w.Database.Now().Sub(w.Behind.Now()).Abs(); off > 5*time.Second {
		w.Errorf("%v off", off)
	}
	if w.Database.Answered(nil) {
		w.Error("nil is an answer")
	}
}

// What the gateway or the database refuses is a refusal to the manager, and an
// answer.
func testRefusals(w world) {
	w.acquire(managerA, EndpointA)
	task := w.create("one", "1")
	w.receive(incoming(managerA, EndpointA, task, tasker.Running))
	if _, err := w.Results.TaskPayload(w.Context(), task.ID+1000); tasker.CodeOf(err) != tasker.NotFound {
		w.Errorf("payload of no task: %v", err)
	}
}

// What has expired is not run, and its message is no dead letter.
func testExpiry(w world) {
	w.acquire(managerA, EndpointA, EndpointB)
	past := tasker.Expiry{At: w.Behind.Now().Add(-time.Minute)}
	task, _, err := w.Behind.CreateTask(w.Context(), tasker.Task{
		Type: taskType, Identifier: "expired", Endpoints: []string{EndpointA, EndpointB}, Expiry: past,
	})
	w.must(err)
	_, err = w.Behind.MarkSent(w.Context(), task, nil)
	w.must(err)
	for range 2 {
		r := w.receive(incoming(managerA, EndpointA, task, tasker.Running))[0]
		if r.Outcome != ledger.Duplicate || r.State != tasker.Expired {
			w.Errorf("recorded %+v", r)
		}
	}
	if w.start(ledger.Start{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: EndpointA}, Manager: managerA})[0] {
		w.Error("it has started")
	}
	results, err := w.Behind.TaskResults(w.Context(), task.ID)
	w.must(err)
	if len(results) != 1 || results[0].State != tasker.Expired || results[0].Errnr != tasker.ErrnrExpired || results[0].Attempt != 0 {
		w.Errorf("results %+v", results)
	}
}
