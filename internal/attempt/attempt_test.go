package attempt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/attempt"
)

var errPlain = errors.New("it broke")

func TestJudge(t *testing.T) {
	t.Parallel()
	rules := attempt.Rules{
		Timeout: time.Minute, MaxResult: 20,
		Retry: tasker.RetryPolicy{Delays: []time.Duration{time.Second, 2 * time.Second}},
	}
	type want struct {
		state   tasker.ResultState
		errnr   int
		errmsg  string
		payload string
		delay   time.Duration
	}
	for name, test := range map[string]struct {
		attempt int
		exit    attempt.Exit
		want    want
	}{
		"well":            {3, attempt.Exit{Result: handlers.Result(`{"a":1}`)}, want{tasker.ResultDone, 0, "", `{"a":1}`, 0}},
		"well, no result": {3, attempt.Exit{}, want{state: tasker.ResultDone}},
		"well, a partial": {3, attempt.Exit{Partial: handlers.Result(`1`)}, want{state: tasker.ResultDone, payload: "1"}},
		"well, with both": {
			3,
			attempt.Exit{Result: handlers.Result(`2`), Partial: handlers.Result(`1`)},
			want{state: tasker.ResultDone, payload: "2"},
		},
		"well, but too big": {
			3,
			attempt.Exit{Result: handlers.Result(`"0123456789012345678"`)},
			want{tasker.ResultFailed, tasker.ErrnrBadResult, "result too large: 21 bytes, the limit is 20", "", 0},
		},
		"well, as stopped": {
			3,
			attempt.Exit{Result: handlers.Result(`2`), Cause: handlers.ErrShutdown},
			want{state: tasker.ResultDone, payload: "2"},
		},
		"no JSON": {
			3,
			attempt.Exit{Result: handlers.Result("{")},
			want{tasker.ResultFailed, tasker.ErrnrBadResult, `invalid result: not JSON, begins with "{"`, "", 0},
		},
		"no UTF-8": {
			3,
			attempt.Exit{Result: handlers.Result("\"\xff\"")},
			want{tasker.ResultFailed, tasker.ErrnrBadResult, `invalid result: not JSON, begins with "\"\xff\""`, "", 0},
		},
		"no JSON, again": {
			1,
			attempt.Exit{Result: handlers.Result("{")},
			want{tasker.ResultFailed, tasker.ErrnrBadResult, `invalid result: not JSON, begins with "{"`, "", 0},
		},
		"a bad partial": {3, attempt.Exit{Partial: handlers.Result("{")}, want{state: tasker.ResultDone}},

		"failed": {3, attempt.Exit{Err: errPlain}, want{tasker.ResultFailed, 1, "it broke", "", 0}},
		"failed, with a result": {
			3,
			attempt.Exit{Err: errPlain, Result: handlers.Result("1")},
			want{tasker.ResultFailed, 1, "it broke", "1", 0},
		},
		"failed, with a partial": {
			3,
			attempt.Exit{Err: errPlain, Partial: handlers.Result("1")},
			want{tasker.ResultFailed, 1, "it broke", "1", 0},
		},
		"failed, bad result": {
			3,
			attempt.Exit{Err: errPlain, Result: handlers.Result("{"), Partial: handlers.Result("1")},
			want{tasker.ResultFailed, 1, "it broke", "1", 0},
		},
		"failed without words": {
			3,
			attempt.Exit{Err: errors.New("")},
			want{tasker.ResultFailed, 1, "the handler failed without a message", "", 0},
		},
		"failed with a code": {
			3,
			attempt.Exit{Err: fmt.Errorf("x: %w", handlers.WithCode(7, errPlain))},
			want{tasker.ResultFailed, 7, "x: it broke", "", 0},
		},
		"panicked": {3, attempt.Exit{Err: errPlain, Panicked: true}, want{tasker.ResultFailed, 1, "it broke", "", 0}},
		"panicked while stopped": {
			3,
			attempt.Exit{Err: errPlain, Panicked: true, Cause: handlers.ErrShutdown},
			want{tasker.ResultFailed, 1, "it broke", "", 0},
		},

		"failed once":     {1, attempt.Exit{Err: errPlain}, want{tasker.Retrying, 1, "it broke", "", time.Second}},
		"failed twice":    {2, attempt.Exit{Err: errPlain}, want{tasker.Retrying, 1, "it broke", "", 2 * time.Second}},
		"failed for good": {1, attempt.Exit{Err: handlers.Permanent(errPlain)}, want{tasker.ResultFailed, 1, "it broke", "", 0}},
		"failed, later": {
			1,
			attempt.Exit{Err: handlers.RetryAfter(time.Hour, errPlain)},
			want{tasker.Retrying, 1, "it broke", "", time.Hour},
		},
		"failed, later, no more": {
			3,
			attempt.Exit{Err: handlers.RetryAfter(time.Hour, errPlain)},
			want{tasker.ResultFailed, 1, "it broke", "", 0},
		},

		"timed out": {
			1,
			attempt.Exit{Err: handlers.ErrTimeout, Cause: handlers.ErrTimeout, Partial: handlers.Result("1")},
			want{tasker.TimedOut, -1, "the run limit of 1m0s passed", "1", 0},
		},
		"timed out, and says how": {
			1,
			attempt.Exit{Err: fmt.Errorf("%w (killed by SIGKILL): last words", handlers.ErrTimeout), Cause: handlers.ErrTimeout},
			want{tasker.TimedOut, -1, "the run limit of 1m0s passed (killed by SIGKILL): last words", "", 0},
		},
		"timed out, a reason": {
			1,
			attempt.Exit{Err: errPlain, Cause: handlers.ErrTimeout},
			want{tasker.TimedOut, -1, "the run limit of 1m0s passed: it broke", "", 0},
		},
		"timed out, went on": {
			1,
			attempt.Exit{Result: handlers.Result("1"), Cause: handlers.ErrTimeout},
			want{tasker.TimedOut, -1, "the run limit of 1m0s passed, and the handler returned without an error afterwards", "1", 0},
		},
		"timed out, abandoned": {
			1,
			attempt.Exit{Err: attempt.ErrAbandoned, Cause: handlers.ErrTimeout},
			want{tasker.TimedOut, -1, "the run limit of 1m0s passed, and the handler did not return", "", 0},
		},
		"timed out, for reboot": {
			1,
			attempt.Exit{Err: handlers.ErrContinueAfterReboot, Cause: handlers.ErrTimeout},
			want{tasker.TimedOut, -1, "the run limit of 1m0s passed: the attempt continues after a reboot", "", 0},
		},
		"its own limit": {
			3,
			attempt.Exit{Err: handlers.TimedOut(errPlain), Partial: handlers.Result("1")},
			want{tasker.TimedOut, -1, "it broke", "1", 0},
		},
		"its own limit, wrapped": {
			3,
			attempt.Exit{Err: fmt.Errorf("x: %w", handlers.WithCode(7, handlers.TimedOut(errPlain)))},
			want{tasker.TimedOut, -1, "x: it broke", "", 0},
		},
		"its own limit, once": {1, attempt.Exit{Err: handlers.TimedOut(errPlain)}, want{tasker.Retrying, -1, "it broke", "", time.Second}},
		"its own limit, for good": {
			1,
			attempt.Exit{Err: handlers.Permanent(handlers.TimedOut(errPlain))},
			want{tasker.TimedOut, -1, "it broke", "", 0},
		},
		"its own limit, stopping": {
			3,
			attempt.Exit{Err: handlers.TimedOut(errPlain), Cause: handlers.ErrShutdown},
			want{tasker.TimedOut, -1, "it broke", "", 0},
		},
		"canceled": {
			1,
			attempt.Exit{Err: context.Canceled, Cause: handlers.ErrCanceled, Partial: handlers.Result("1")},
			want{tasker.ResultCanceled, -2, "the task was canceled", "1", 0},
		},
		"canceled, panicked": {
			1,
			attempt.Exit{Err: errPlain, Panicked: true, Cause: handlers.ErrCanceled},
			want{tasker.ResultCanceled, -2, "the task was canceled: it broke", "", 0},
		},
	} {
		finish, decision := rules.Judge(test.attempt, test.exit)
		got := want{finish.State, finish.Errnr, finish.Errmsg, string(finish.Payload), finish.RetryDelay}
		if decision != attempt.Store || finish.Attempt != test.attempt || got != test.want {
			t.Errorf("%s: got %d, attempt %d\n     %+v\nwant %+v", name, decision, finish.Attempt, got, test.want)
		}
	}
	for name, test := range map[string]struct {
		exit attempt.Exit
		want attempt.Decision
	}{
		"interrupted":            {attempt.Exit{Err: handlers.ErrShutdown, Cause: handlers.ErrShutdown}, attempt.Leave},
		"interrupted, abandoned": {attempt.Exit{Err: attempt.ErrAbandoned, Cause: handlers.ErrShutdown}, attempt.Leave},
		"a reboot":               {attempt.Exit{Err: fmt.Errorf("x: %w", handlers.ErrContinueAfterReboot)}, attempt.AwaitReboot},
		"a reboot that began":    {attempt.Exit{Err: handlers.ErrContinueAfterReboot, Cause: handlers.ErrShutdown}, attempt.AwaitReboot},
	} {
		if _, decision := rules.Judge(1, test.exit); decision != test.want {
			t.Errorf("%s: got %d, want %d", name, decision, test.want)
		}
	}
}

// A handler that asks for a time is run again without a policy, too, so many
// times; a policy decides for itself.
func TestAskedForATime(t *testing.T) {
	t.Parallel()
	later := handlers.RetryAfter(2*time.Second, errPlain)
	for name, test := range map[string]struct {
		delays  []time.Duration
		attempt int
		err     error
		state   tasker.ResultState
		delay   time.Duration
	}{
		"no policy, first":    {nil, 1, later, tasker.Retrying, 2 * time.Second},
		"no policy, wrapped":  {nil, 1, fmt.Errorf("busy: %w", later), tasker.Retrying, 2 * time.Second},
		"no policy, 9th":      {nil, 9, later, tasker.Retrying, 2 * time.Second},
		"no policy, last":     {nil, handlers.MaxAskedAttempts, later, tasker.ResultFailed, 0},
		"no policy, a fault":  {nil, 1, errPlain, tasker.ResultFailed, 0},
		"no policy, for good": {nil, 1, handlers.Permanent(later), tasker.ResultFailed, 0},
		"no policy, negative": {nil, 1, handlers.RetryAfter(-time.Second, errPlain), tasker.Retrying, 0},
		"no policy, for ever": {nil, 1, handlers.RetryAfter(1<<62, errPlain), tasker.Retrying, handlers.MaxAskedDelay},
		"policy":              {[]time.Duration{time.Hour}, 1, later, tasker.Retrying, 2 * time.Second},
		"policy, over":        {[]time.Duration{time.Hour}, 2, later, tasker.ResultFailed, 0},
	} {
		rules := attempt.Rules{Timeout: time.Minute, MaxResult: 20, Retry: tasker.RetryPolicy{Delays: test.delays}}
		finish, decision := rules.Judge(test.attempt, attempt.Exit{Err: test.err})
		if decision != attempt.Store || finish.State != test.state || finish.RetryDelay != test.delay {
			t.Errorf("%s: got %s after %v, want %s after %v", name, finish.State, finish.RetryDelay, test.state, test.delay)
		}
	}
	timedOut := attempt.Rules{Retry: tasker.RetryPolicy{Delays: []time.Duration{time.Second}}}
	if finish, _ := timedOut.Judge(1, attempt.Exit{Err: later, Cause: handlers.ErrTimeout}); finish.State != tasker.TimedOut {
		t.Errorf("a run limit that passed: got %s, want it final", finish.State)
	}
}

// TestJitter: the delay is the part of the policy's that is drawn, but one that the
// handler asks for is as it is.
func TestJitter(t *testing.T) {
	t.Parallel()
	failure := errors.New("busy")
	rules := attempt.Rules{Retry: tasker.RetryPolicy{Delays: []time.Duration{time.Minute}, Jitter: true}}
	for drawn, want := range map[float64]time.Duration{0: 0, 0.25: 15 * time.Second, 0.75: 45 * time.Second} {
		rules.Random = func() float64 { return drawn }
		if end, _ := rules.Judge(1, attempt.Exit{Err: failure}); end.State != tasker.Retrying || end.RetryDelay != want {
			t.Errorf("drawn %v: got %s after %v, want %v", drawn, end.State, end.RetryDelay, want)
		}
		if end, _ := rules.Judge(1, attempt.Exit{Err: handlers.RetryAfter(time.Hour, failure)}); end.RetryDelay != time.Hour {
			t.Errorf("drawn %v: a handler that asks for an hour: got %v", drawn, end.RetryDelay)
		}
		if end, _ := rules.Judge(1, attempt.Exit{Err: handlers.Permanent(failure)}); end.State != tasker.ResultFailed {
			t.Errorf("drawn %v: a permanent failure: got %s", drawn, end.State)
		}
	}
	rules.Random = nil
	different := make(map[time.Duration]bool)
	for range 100 {
		end, _ := rules.Judge(1, attempt.Exit{Err: failure})
		different[end.RetryDelay] = true
		if end.RetryDelay < 0 || end.RetryDelay >= time.Minute {
			t.Errorf("got %v, want less than the policy's minute", end.RetryDelay)
		}
	}
	if len(different) < 50 {
		t.Errorf("got %d different delays of 100", len(different))
	}
}

// A result that is nested too deep is stored as text, with a warning in the log.
func TestDeepResult(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	var logged bytes.Buffer
	exit := attempt.Run(t.Context(), handlers.Func(func(context.Context, *handlers.Request) (handlers.Result, error) {
		return handlers.Result(deep), nil
	}), &handlers.Request{Log: slog.New(slog.NewTextHandler(&logged, nil))}, time.Second)
	finish, _ := attempt.Rules{MaxResult: 1 << 20}.Judge(1, exit)
	if finish.State != tasker.ResultDone || string(finish.Payload) != `"`+deep+`"` {
		t.Errorf("got %s, %.20s", finish.State, finish.Payload)
	}
	if !strings.Contains(logged.String(), "stored as text") {
		t.Errorf("logged %q", logged.String())
	}
}

func TestReject(t *testing.T) {
	t.Parallel()
	finish := attempt.Reject(2, errors.New("/n: too small"))
	if finish.State != tasker.Rejected || finish.Errnr != tasker.ErrnrRejected || finish.Attempt != 2 || finish.Errmsg != "/n: too small" {
		t.Errorf("got %+v", finish)
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                         "the handler failed without a message",
		"ok":                       "ok",
		"bad \xff byte":            "bad \uFFFD byte",
		strings.Repeat("a", 70000): strings.Repeat("a", 64<<10) + "... (truncated: 70000 bytes in total)",
	} {
		if got := attempt.Clean(in); got != want {
			t.Errorf("got %.100q of %d bytes, want %.100q", got, len(got), want)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler func(context.Context, *handlers.Request) (handlers.Result, error)
		want    attempt.Exit
		errmsg  string
		logged  string
	}{
		"returns": {
			func(context.Context, *handlers.Request) (handlers.Result, error) {
				return handlers.Result("1"), errPlain
			},
			attempt.Exit{Result: handlers.Result("1")},
			"it broke", "",
		},
		"panics": {
			func(context.Context, *handlers.Request) (handlers.Result, error) { panic("oh") },
			attempt.Exit{Panicked: true},
			"the handler panicked: oh", "TestRun",
		},
		"panics with nil": {
			func(context.Context, *handlers.Request) (handlers.Result, error) { panic(nil) }, //nolint:govet // on purpose
			attempt.Exit{Panicked: true}, "the handler panicked: panic called with nil argument", "TestRun",
		},
		"exits": {
			func(context.Context, *handlers.Request) (handlers.Result, error) {
				runtime.Goexit()
				return nil, nil
			},
			attempt.Exit{Panicked: true},
			"the handler ended its goroutine instead of returning", "",
		},
		"ends with its context": {
			func(ctx context.Context, _ *handlers.Request) (handlers.Result, error) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			},
			attempt.Exit{Cause: handlers.ErrTimeout},
			handlers.ErrTimeout.Error(), "",
		},
		"ends after its context": {
			func(ctx context.Context, _ *handlers.Request) (handlers.Result, error) {
				<-ctx.Done()
				time.Sleep(9 * time.Second)
				return handlers.Result("1"), nil
			},
			attempt.Exit{Result: handlers.Result("1"), Cause: handlers.ErrTimeout},
			"", "",
		},
		"ends too late": {
			func(ctx context.Context, _ *handlers.Request) (handlers.Result, error) {
				<-ctx.Done()
				time.Sleep(11 * time.Second)
				return handlers.Result("1"), nil
			},
			attempt.Exit{Cause: handlers.ErrTimeout},
			attempt.ErrAbandoned.Error(), "",
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			var logged bytes.Buffer
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, handlers.ErrTimeout)
			defer cancel()
			req := &handlers.Request{Log: slog.New(slog.NewTextHandler(&logged, nil))}
			got := attempt.Run(ctx, handlers.Func(test.handler), req, 10*time.Second)
			errmsg := ""
			if got.Err != nil {
				errmsg = got.Err.Error()
			}
			if string(got.Result) != string(test.want.Result) || got.Panicked != test.want.Panicked ||
				!errors.Is(got.Cause, test.want.Cause) || errmsg != test.errmsg {
				t.Errorf("%s: got %+v", name, got)
			}
			if !strings.Contains(logged.String(), test.logged) {
				t.Errorf("%s: logged %q", name, logged.String())
			}
			time.Sleep(time.Minute) // the one that is too late returns
		})
	}
}
