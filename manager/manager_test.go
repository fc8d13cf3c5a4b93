package manager_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/manager"
)

func TestEnds(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	errDisk := errors.New("disk full")
	cases := map[string]struct {
		handle handlers.Func
		want   tasker.TaskResult
	}{
		"well": {func(context.Context, *handlers.Request) (handlers.Result, error) {
			return handlers.Result(`{"n": 1}`), nil
		}, tasker.TaskResult{State: tasker.ResultDone, Payload: []byte(`{"n": 1}`)}},
		"nothing": {
			func(context.Context, *handlers.Request) (handlers.Result, error) { return nil, nil },
			tasker.TaskResult{State: tasker.ResultDone},
		},
		"error": {
			func(context.Context, *handlers.Request) (handlers.Result, error) {
				return handlers.Result(`"so far"`), errDisk
			},
			tasker.TaskResult{State: tasker.ResultFailed, Errnr: 1, Errmsg: "disk full", Payload: []byte(`"so far"`)},
		},
		"code": {
			func(context.Context, *handlers.Request) (handlers.Result, error) {
				return nil, fmt.Errorf("backup: %w", handlers.WithCode(32, errDisk))
			},
			tasker.TaskResult{State: tasker.ResultFailed, Errnr: 32, Errmsg: "backup: disk full"},
		},
		"silent error": {
			func(context.Context, *handlers.Request) (handlers.Result, error) { return nil, errors.New("") },
			tasker.TaskResult{State: tasker.ResultFailed, Errnr: 1, Errmsg: "the handler failed without a message"},
		},
		"binary error": {
			func(context.Context, *handlers.Request) (handlers.Result, error) {
				return nil, errors.New("bad \xff byte")
			},
			tasker.TaskResult{State: tasker.ResultFailed, Errnr: 1, Errmsg: "bad \uFFFD byte"},
		},
		"panic": {
			func(context.Context, *handlers.Request) (handlers.Result, error) { panic("oops") },
			tasker.TaskResult{State: tasker.ResultFailed, Errnr: 1, Errmsg: "the handler panicked: oops"},
		},
		"no JSON": {
			func(context.Context, *handlers.Request) (handlers.Result, error) {
				return handlers.Result("hello"), nil
			},
			tasker.TaskResult{State: tasker.ResultFailed, Errnr: tasker.ErrnrBadResult, Errmsg: `invalid result: not JSON, begins with "hello"`},
		},
		"too large": {
			func(context.Context, *handlers.Request) (handlers.Result, error) {
				return handlers.Result(`"` + strings.Repeat("x", 2000) + `"`), nil
			},
			tasker.TaskResult{State: tasker.ResultFailed, Errnr: tasker.ErrnrBadResult, Errmsg: "result too large: 2002 bytes, the limit is 1000"},
		},
		"time": {
			func(ctx context.Context, _ *handlers.Request) (handlers.Result, error) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			},
			tasker.TaskResult{State: tasker.TimedOut, Errnr: tasker.ErrnrTimedOut, Errmsg: "the run limit of 2s passed"},
		},
		"well after its time": {
			func(ctx context.Context, _ *handlers.Request) (handlers.Result, error) {
				<-ctx.Done()
				return handlers.Result(`1`), nil
			},
			tasker.TaskResult{
				State: tasker.TimedOut, Errnr: tasker.ErrnrTimedOut,
				Errmsg: "the run limit of 2s passed, and the handler returned without an error afterwards", Payload: []byte("1"),
			},
		},
		"never": {
			func(context.Context, *handlers.Request) (handlers.Result, error) {
				<-release
				return nil, nil
			},
			tasker.TaskResult{
				State: tasker.TimedOut, Errnr: tasker.ErrnrTimedOut,
				Errmsg: "the run limit of 2s passed, and the handler did not return",
			},
		},
	}
	w.serve(w.store, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		return cases[strings.ReplaceAll(req.Identifier, ".", " ")].handle(ctx, req)
	}), jobType(func(j *tasker.TaskType) { j.Timeout, j.Concurrency = 2*time.Second, len(cases) }),
		func(c *manager.Config) { c.MaxResult = 1000 })
	for name, c := range cases {
		task := w.post(strings.ReplaceAll(name, " ", "."), "null", "a")
		r := w.await(task, c.want.State)
		if r.Errnr != c.want.Errnr || r.Errmsg != c.want.Errmsg || string(r.Payload) != string(c.want.Payload) || r.Attempt != 1 {
			t.Errorf("%s: errnr %d, errmsg %q, payload %s, attempt %d", name, r.Errnr, r.Errmsg, r.Payload, r.Attempt)
		}
	}
}

func TestRequest(t *testing.T) {
	w := newWorld(t)
	got := make(chan handlers.Request, 1)
	w.serve(w.store, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		got <- *req
		return nil, nil
	}))
	task := w.post("one", `{ "foo": [1.0] }`, "a")
	w.await(task, tasker.ResultDone)
	req := <-got
	if req.TaskID != task.ID || req.Identifier != "one" || req.Type != "job" || req.Endpoint != "a" || req.Attempt != 1 ||
		string(req.Payload) != `{ "foo": [1.0] }` || time.Until(req.Deadline) < 50*time.Minute || req.Log == nil {
		t.Errorf("%+v", req)
	}
}

func TestSlotsAndOrder(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	w.serve(w.store, g, jobType(func(j *tasker.TaskType) { j.Concurrency = 2 }))
	var tasks []tasker.Task
	for i := range 6 {
		tasks = append(tasks, w.post(fmt.Sprint("t", i), "null", "a"))
	}
	w.await(tasks[1], tasker.Running)
	r := w.await(tasks[5], tasker.Received)
	if r.Attempt != 0 {
		t.Errorf("a waiting task has attempt %d", r.Attempt)
	}
	w.until(func() string {
		if g.started.Load() < 2 {
			return "both slots to be used"
		}
		return ""
	})
	close(g.gate)
	for _, task := range tasks {
		w.await(task, tasker.ResultDone)
	}
	if most := g.most.Load(); most != 2 {
		t.Errorf("%d handlers ran at once in 2 slots", most)
	}
}

func TestBacklogWaitsInTheDatabase(t *testing.T) {
	w := newWorld(t)
	const n = 300 // more than a pool holds in memory
	var want []string
	for i := range n {
		w.post(fmt.Sprint("t", i), "null", "a") // nobody there: found by catching up
		want = append(want, fmt.Sprint("t", i))
	}
	c := &counting{}
	w.serve(w.store, c, jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
	w.until(func() string {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.list) >= n {
			return ""
		}
		return fmt.Sprintf("%d runs, there are %d", n, len(c.list))
	})
	if !slices.Equal(c.list, want) {
		t.Error("tasks did not run once each, in order")
	}
}

func TestDuplicateMessages(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	w.serve(w.store, c)
	task := w.post("one", "null", "a")
	for range 5 {
		w.publish(w.message(task))
	}
	w.await(task, tasker.ResultDone)
	last := w.post("last", "null", "a")
	w.await(last, tasker.ResultDone)
	w.publish(w.message(task))
	end := w.post("end", "null", "a")
	w.await(end, tasker.ResultDone)
	if n := c.of("one"); n != 1 {
		t.Errorf("task ran %d times", n)
	}
	if n := len(w.broker.DeadLetters()); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestRubbish(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	w.serve(w.store, c)
	task := w.post("one", "null", "a")
	w.await(task, tasker.ResultDone)
	other := w.create("other", "null", "b")
	cases := []struct{ body, reason string }{
		{"rubbish", "not a JSON object"},
		{`{"v":3}`, "version is 3"},
		{strings.Replace(w.message(task), `"task_id"`, `"Task_ID"`, 1), `"Task_ID"`},
		{strings.Replace(w.message(task), `"job"`, `"backup"`, 1), "received from the queue of job"},
		{strings.Replace(w.message(task), `"task_id":1`, `"task_id":77`, 1), "task 77 not found"},
		{strings.Replace(w.message(task), `"one"`, `"two"`, 1), "but the message says job/two"},
		{w.message(other), "not for endpoint a"},
	}
	// A field of a later release is ignored: this is a duplicate of a known task.
	w.publish(strings.Replace(w.message(task), `{"v":2`, `{"v":2,"run":"rm -rf /"`, 1))
	for _, c := range cases {
		w.publish(c.body)
	}
	w.until(func() string {
		if n := len(w.broker.DeadLetters()); n != len(cases) {
			return fmt.Sprintf("%d dead letters, there are %d", len(cases), n)
		}
		return ""
	})
	for i, d := range w.broker.DeadLetters() {
		found := slices.ContainsFunc(cases, func(c struct{ body, reason string }) bool {
			return string(d.Body) == c.body && strings.Contains(d.Reason, c.reason)
		})
		if !found {
			t.Errorf("dead letter %d: %s: %s", i, d.Reason, d.Body)
		}
	}
	end := w.post("end", "null", "a")
	w.await(end, tasker.ResultDone)
	if c.of("one") != 1 || c.of("two") != 0 || c.of("other") != 0 {
		t.Errorf("runs: %v", c.runs)
	}
}

func TestForgedPayloadDoesNotRun(t *testing.T) {
	w := newWorld(t)
	payloads := make(chan string, 1)
	task := w.create("one", `"true"`, "a")
	w.serve(w.store, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		payloads <- string(req.Payload)
		return nil, nil
	}))
	// A foreign client publishes another payload for a known task, without a digest.
	forged := task
	forged.Payload = []byte(`"forged"`)
	body, err := wire.Form{Version: wire.Version1}.Encode(forged)
	if err != nil {
		t.Fatal(err)
	}
	w.publish(string(body))
	if got := <-payloads; got != `"true"` {
		t.Errorf("handler got %s, not the stored payload", got)
	}
}

func TestNoHandler(t *testing.T) {
	w := newWorld(t)
	w.serve(w.store, nil)
	r := w.await(w.post("one", "null", "a"), tasker.Rejected)
	if r.Errnr != tasker.ErrnrRejected || !strings.Contains(r.Errmsg, "no handler for task type job") || r.Attempt != 0 {
		t.Errorf("%+v", r)
	}
}

func TestRetries(t *testing.T) {
	w := newWorld(t)
	policy := tasker.RetryPolicy{Delays: []time.Duration{time.Millisecond, time.Hour}}
	w.serve(w.store, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		err := fmt.Errorf("attempt %d failed", req.Attempt)
		switch {
		case req.Identifier == "permanent":
			return nil, handlers.Permanent(err)
		case req.Identifier == "well" && req.Attempt == 3:
			return nil, nil
		case req.Identifier == "well" && req.Attempt == 2:
			return nil, handlers.RetryAfter(time.Millisecond, err)
		case req.Identifier == "always":
			return nil, handlers.RetryAfter(time.Millisecond, err)
		}
		return nil, err
	}), jobType(func(j *tasker.TaskType) { j.Retry = policy }))
	well, permanent, always, waits := w.post("well", "null", "a"), w.post("permanent", "null", "a"), w.post("always", "null",
		"a"), w.post("waits", "null", "a")
	if r := w.await(well, tasker.ResultDone); r.Attempt != 3 || r.Errmsg != "" {
		t.Errorf("well: %+v", r)
	}
	if r := w.await(permanent, tasker.ResultFailed); r.Attempt != 1 || r.Errmsg != "attempt 1 failed" {
		t.Errorf("permanent: %+v", r)
	}
	if r := w.await(always, tasker.ResultFailed); r.Attempt != 3 || r.Errmsg != "attempt 3 failed" {
		t.Errorf("always: %+v", r)
	}
	w.until(func() string {
		r, _ := w.result(waits, "a")
		if r.State == tasker.Retrying && r.Attempt == 2 && time.Until(*r.RetryTime) > 50*time.Minute {
			return ""
		}
		return fmt.Sprintf("the second pause, it is %+v", r)
	})
}

func TestConfigIsChecked(t *testing.T) {
	good := manager.Config{Endpoints: []string{"a"}, TaskTypes: []tasker.TaskType{{Name: "job"}}}
	for name, change := range map[string]func(*manager.Config){
		"no endpoint":    func(c *manager.Config) { c.Endpoints = nil },
		"bad endpoint":   func(c *manager.Config) { c.Endpoints = []string{"a b"} },
		"endpoint twice": func(c *manager.Config) { c.Endpoints = []string{"a", "a"} },
		"no type":        func(c *manager.Config) { c.TaskTypes = nil },
		"bad type":       func(c *manager.Config) { c.TaskTypes = []tasker.TaskType{{Name: "v1"}} },
		"type twice":     func(c *manager.Config) { c.TaskTypes = []tasker.TaskType{{Name: "x"}, {Name: "x"}} },
		"short lease":    func(c *manager.Config) { c.Lease = time.Second },
		"no slots":       func(c *manager.Config) { c.TaskTypes = []tasker.TaskType{{Name: "x", Concurrency: -1}} },
	} {
		cfg := good
		change(&cfg)
		if _, err := manager.New(cfg, manager.Store{}, nil, handlers.NewRegistry(), nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
