package handlerstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/handlerstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errPlain = errors.New("it broke")

// untilEnd reports that it is waiting, and waits for the end of its context.
var untilEnd = handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
	req.Progress(1, 2, "waiting")
	<-ctx.Done()
	return nil, context.Cause(ctx)
})

func waits(soFar handlerstest.Attempt) bool { return len(soFar.Progress) == 1 }

func TestRequest(t *testing.T) {
	t.Parallel()
	h := handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		deadline, _ := ctx.Deadline()
		if !deadline.Equal(req.Deadline) {
			t.Errorf("the deadline is %s, that of the context %s", req.Deadline, deadline)
		}
		return json.Marshal([]any{req.TaskID, req.Identifier, req.Type, req.Endpoint, req.Attempt, req.Step, req.Payload})
	})
	handlerstest.Run(t.Context(), h, handlerstest.Task{}).WantDone(t, `[1,"test","test","test",1,1,null]`)
	handlerstest.Run(t.Context(), h, handlerstest.Task{
		ID: 7, Identifier: "id", Type: "deploy", Endpoint: "console1", Payload: ` {"a": 1}`,
	}).WantDone(t, `[7,"id","deploy","console1",1,1,{"a":1}]`)
}

func TestEnds(t *testing.T) {
	t.Parallel()
	type want struct {
		state  tasker.ResultState
		errnr  int
		errmsg string
	}
	for name, test := range map[string]struct {
		handler func(context.Context, *handlers.Request) (handlers.Result, error)
		task    handlerstest.Task
		want    want
	}{
		"succeeded": {
			func(context.Context, *handlers.Request) (handlers.Result, error) { return nil, nil },
			handlerstest.Task{},
			want{state: tasker.ResultDone},
		},
		"failed": {func(context.Context, *handlers.Request) (handlers.Result, error) {
			return nil, handlers.WithCode(7, errPlain)
		}, handlerstest.Task{}, want{tasker.ResultFailed, 7, "it broke"}},
		"panicked": {
			func(context.Context, *handlers.Request) (handlers.Result, error) { panic("oh") },
			handlerstest.Task{},
			want{tasker.ResultFailed, 1, "the handler panicked: oh"},
		},
		"too much": {func(context.Context, *handlers.Request) (handlers.Result, error) {
			return handlers.Result(`"abc"`), nil
		}, handlerstest.Task{MaxResult: 4}, want{tasker.ResultFailed, tasker.ErrnrBadResult, "result too large: 5 bytes, the limit is 4"}},
		"timed out": {untilEnd, handlerstest.Task{Timeout: time.Minute}, want{
			tasker.TimedOut, tasker.ErrnrTimedOut,
			"the run limit of 1m0s passed",
		}},
		"timed out, 1 h by default": {untilEnd, handlerstest.Task{}, want{
			tasker.TimedOut, tasker.ErrnrTimedOut,
			"the run limit of 1h0m0s passed",
		}},
		"abandoned": {func(context.Context, *handlers.Request) (handlers.Result, error) {
			time.Sleep(time.Minute + 11*time.Second)
			return nil, nil
		}, handlerstest.Task{Timeout: time.Minute}, want{
			tasker.TimedOut, tasker.ErrnrTimedOut,
			"the run limit of 1m0s passed, and the handler did not return",
		}},
		"abandoned early": {func(context.Context, *handlers.Request) (handlers.Result, error) {
			time.Sleep(time.Minute + 2*time.Second)
			return nil, nil
		}, handlerstest.Task{Timeout: time.Minute, AbandonAfter: time.Second}, want{
			tasker.TimedOut, tasker.ErrnrTimedOut,
			"the run limit of 1m0s passed, and the handler did not return",
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			run := handlerstest.Run(t.Context(), handlers.Func(test.handler), test.task)
			if got := (want{run.State, run.Errnr, run.Errmsg}); got != test.want || len(run.Attempts) != 1 || run.Number != 1 {
				t.Errorf("%s: got %+v\nwant %+v", name, got, test.want)
			}
			time.Sleep(time.Hour) // abandoned handlers return
		})
	}
}

func TestCancelAndStop(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for name, test := range map[string]struct {
		act    func(*handlerstest.Running)
		state  tasker.ResultState
		errnr  int
		errmsg string
	}{
		"canceled":               {(*handlerstest.Running).Cancel, tasker.ResultCanceled, tasker.ErrnrCanceled, "the task was canceled"},
		"stopped":                {(*handlerstest.Running).Stop, tasker.Running, 0, ""},
		"the end of its context": {func(*handlerstest.Running) { stop() }, tasker.Running, 0, ""},
		"canceled, then stopped": {
			func(r *handlerstest.Running) { r.Cancel(); r.Stop() }, tasker.ResultCanceled, tasker.ErrnrCanceled,
			"the task was canceled",
		},
	} {
		running := handlerstest.Start(ctx, untilEnd, handlerstest.Task{Retry: tasker.RetryPolicy{Delays: []time.Duration{1}}})
		if !running.Until(waits) {
			t.Fatalf("%s: it ended by itself", name)
		}
		test.act(running)
		run := running.Wait()
		run.WantEnd(t, test.state, test.errnr, test.errmsg)
		if len(run.Attempts) != 1 {
			t.Errorf("%s: got %d attempts", name, len(run.Attempts))
		}
		if running.Until(func(handlerstest.Attempt) bool { return false }) {
			t.Errorf("%s: waiting for nothing succeeded", name)
		}
		run.WantProgress(t, 1, 2)
		ctx, stop = context.WithCancel(t.Context())
		defer stop()
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	retry := tasker.RetryPolicy{Delays: []time.Duration{time.Minute, time.Hour}}
	fails := func(errs ...error) handlers.Handler {
		return handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
			req.Log.InfoContext(ctx, "attempt", "n", req.Attempt)
			return handlers.Result(fmt.Sprint(req.Attempt)), errs[req.Attempt-1]
		})
	}
	run := handlerstest.Run(t.Context(), fails(errPlain, handlers.RetryAfter(time.Second, errPlain), nil), handlerstest.Task{Retry: retry})
	run.WantDone(t, "3")
	run.WantLine(t, "attempt n=3")
	var delays []time.Duration
	var states []tasker.ResultState
	for i, attempt := range run.Attempts {
		if attempt.Number != i+1 || len(attempt.Lines) != 1 || attempt.Lines[0].Number != 0 {
			t.Errorf("attempt %d: got %+v", i+1, attempt)
		}
		delays, states = append(delays, attempt.RetryDelay), append(states, attempt.State)
	}
	if !slices.Equal(delays, []time.Duration{time.Minute, time.Second, 0}) ||
		!slices.Equal(states, []tasker.ResultState{tasker.Retrying, tasker.Retrying, tasker.ResultDone}) {
		t.Errorf("got %v, %v", delays, states)
	}
	run = handlerstest.Run(t.Context(), fails(errPlain, errPlain, errPlain), handlerstest.Task{Retry: retry})
	if run.WantFailed(t, 1, "it broke"); len(run.Attempts) != 3 {
		t.Errorf("got %d attempts", len(run.Attempts))
	}
	run = handlerstest.Run(t.Context(), fails(handlers.Permanent(errPlain)), handlerstest.Task{Retry: retry})
	if run.WantFailed(t, 1, "it broke"); len(run.Attempts) != 1 {
		t.Errorf("got %d attempts", len(run.Attempts))
	}
}

// TestBetweenAttempts ends the task while a failing attempt runs: there is no next one.
func TestBetweenAttempts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		act   func(*handlerstest.Running)
		state tasker.ResultState
		errnr int
	}{
		{(*handlerstest.Running).Cancel, tasker.ResultCanceled, tasker.ErrnrCanceled},
		{(*handlerstest.Running).Stop, tasker.Retrying, 1},
	} {
		var running *handlerstest.Running
		started := make(chan struct{})
		h := handlers.Func(func(context.Context, *handlers.Request) (handlers.Result, error) {
			<-started
			return nil, ending{func() { test.act(running) }}
		})
		running = handlerstest.Start(t.Context(), h, handlerstest.Task{Retry: tasker.RetryPolicy{Delays: []time.Duration{1}}})
		close(started)
		run := running.Wait()
		if run.State != test.state || run.Errnr != test.errnr || len(run.Attempts) != 1 {
			t.Errorf("got %s, errnr %d, after %d attempts", run.State, run.Errnr, len(run.Attempts))
		}
	}
}

// ending is an error that ends the task when it is judged.
type ending struct{ act func() }

func (e ending) Error() string {
	e.act()
	return "it broke"
}

func TestReboots(t *testing.T) {
	t.Parallel()
	h := handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		req.Line(tasker.StreamStdout, fmt.Sprintf("attempt %d, step %d", req.Attempt, req.Step))
		if req.Step < 3 {
			return nil, fmt.Errorf("update: %w", handlers.ErrContinueAfterReboot)
		}
		return handlers.Result(`"updated"`), nil
	})
	run := handlerstest.Run(t.Context(), h, handlerstest.Task{})
	run.WantDone(t, `"updated"`)
	run.WantLine(t, "attempt 1, step 1")
	run.WantLine(t, "attempt 1, step 3")
	if run.Steps != 3 || len(run.Attempts) != 1 {
		t.Errorf("got %d steps of %d attempts", run.Steps, len(run.Attempts))
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	var late *handlers.Request
	h := handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		late = req
		req.Log.DebugContext(ctx, "below the level")
		req.Log.WarnContext(ctx, "disk full", "path", "/var")
		req.Line(tasker.StreamStdout, "out \xff")
		req.Line(tasker.StreamStderr, "err")
		req.Progress(1, 3, "one")
		req.Progress(2, 3, "two")
		req.Partial(handlers.Result("1"))
		req.Partial(handlers.Result("2"))
		req.Partial(handlers.Result("{"))
		req.Partial(handlers.Result(`"too long"`))
		return nil, errPlain
	})
	running := handlerstest.Start(t.Context(), h, handlerstest.Task{MaxResult: 5})
	run := running.Wait()
	late.Log.Warn("too late")
	late.Progress(3, 3, "three")
	late.Partial(handlers.Result("3"))
	if running.Until(func(a handlerstest.Attempt) bool {
		return len(a.Progress) > 2 || len(a.Partials) > 2 || len(a.Lines) > 5
	}) {
		t.Error("a report after the handler had returned was recorded")
	}
	var lines []string
	for i, line := range run.Lines {
		if line.Number != int64(i) || line.Time.IsZero() || line.Time.Location() != time.UTC {
			t.Errorf("line %d: got %+v", i, line)
		}
		lines = append(lines, line.Stream+" "+line.Level+": "+line.Text)
	}
	if want := []string{
		"log warn: disk full path=/var", "stdout : out \uFFFD", "stderr : err",
		`log warn: partial result dropped: not JSON, begins with "{"`,
		"log warn: partial result dropped: 10 bytes, the limit is 5",
	}; !slices.Equal(lines, want) {
		t.Errorf("got %q\nwant %q", lines, want)
	}
	if len(run.Progress) != 2 || run.Progress[1].Message != "two" || len(run.Partials) != 2 || string(run.Result) != "2" {
		t.Errorf("got %+v", run.Attempt)
	}
	run = handlerstest.Run(t.Context(), h, handlerstest.Task{LogLevel: -4})
	run.WantLine(t, "below the level")
}

func TestSchema(t *testing.T) {
	t.Parallel()
	called := 0
	h := handlers.Described(handlers.Func(func(context.Context, *handlers.Request) (handlers.Result, error) {
		called++
		return nil, nil
	}), handlers.Description{Schema: json.RawMessage(`{"type":"object","required":["a"]}`)})
	run := handlerstest.Run(t.Context(), h, handlerstest.Task{Payload: `{"b":1}`, Retry: tasker.RetryPolicy{Delays: []time.Duration{1}}})
	run.WantEnd(t, tasker.Rejected, tasker.ErrnrRejected, "a")
	if called != 0 || len(run.Attempts) != 0 {
		t.Errorf("the handler was called %d times", called)
	}
	handlerstest.Run(t.Context(), h, handlerstest.Task{Payload: `{"a":1}`}).WantDone(t, "")
	handlerstest.Run(t.Context(), h, handlerstest.Task{Schema: "true"}).WantDone(t, "")
	if called != 2 {
		t.Errorf("the handler was called %d times", called)
	}
	for name, task := range map[string]handlerstest.Task{"a payload": {Payload: "{"}, "a schema": {Schema: "{"}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s that is not JSON was accepted", name)
				}
			}()
			handlerstest.Run(t.Context(), h, task)
		}()
	}
}

// failing is a test that records its failures.
type failing struct {
	testing.TB
	messages []string
}

func (f *failing) Helper() {}

func (f *failing) Errorf(format string, args ...any) {
	f.messages = append(f.messages, fmt.Sprintf(format, args...))
}

func TestWant(t *testing.T) {
	t.Parallel()
	h := handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		req.Line(tasker.StreamStderr, "no space left")
		if string(req.Payload) == "null" {
			return nil, handlers.WithCode(7, errPlain)
		}
		req.Progress(1, 2, "")
		return req.Payload, nil
	})
	failed := handlerstest.Run(t.Context(), h, handlerstest.Task{})
	done := handlerstest.Run(t.Context(), h, handlerstest.Task{Payload: `{"b": 12345678901234567890, "a": "<"}`})
	done.WantDone(t, `{"a":"\u003c","b":12345678901234567890}`)
	done.WantLine(t, "space")
	done.WantProgress(t, 1, 2)
	failed.WantFailed(t, 7, "broke")
	for want, check := range map[string]func(testing.TB){
		"the task is FAILED, errnr 7 (it broke); want DONE\nits log:\n  stderr: no space left": func(t testing.TB) { failed.WantDone(t, "") },
		`the result is {"b": 12345678901234567890, "a": "<"}` + "\nwant none":                  func(t testing.TB) { done.WantDone(t, "") },
		"\nwant {\"b\":12345678901234567891,\"a\":\"<\"}": func(t testing.TB) {
			done.WantDone(t,
				`{"b":12345678901234567891,"a":"<"}`)
		},
		"want FAILED, errnr 8 (...it broke...)": func(t testing.TB) {
			failed.WantFailed(t,
				8, "it broke")
		},
		"want FAILED, errnr 7 (...fire...)": func(t testing.TB) {
			failed.WantFailed(t,
				7, "fire")
		},
		"want TIMED_OUT, errnr 7 (...it broke...)": func(t testing.TB) {
			failed.WantEnd(t,
				tasker.TimedOut, 7, "it broke")
		},
		"no progress, want 1 of 2":            func(t testing.TB) { failed.WantProgress(t, 1, 2) },
		"the progress is 1 of 2, want 2 of 2": func(t testing.TB) { done.WantProgress(t, 2, 2) },
		`no line contains "fire"`:             func(t testing.TB) { done.WantLine(t, "fire") },
	} {
		f := &failing{TB: t}
		if check(f); len(f.messages) != 1 || !strings.Contains(f.messages[0], want) {
			t.Errorf("got %q\nwant %q", f.messages, want)
		}
	}
}
