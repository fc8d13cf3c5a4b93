package handlerstest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/handlerstest"
)

type release struct {
	Version string `json:"version"`
}

// deploy is a handler to test.
func deploy(ctx context.Context, req *handlers.Request, r release) (release, error) {
	if r.Version == "" {
		return release{}, handlers.Permanent(errors.New("no version"))
	}
	req.Progress(1, 2, "downloaded")
	if req.Attempt == 1 {
		return release{}, handlers.RetryAfter(time.Minute, errors.New("the mirror is busy"))
	}
	req.Log.InfoContext(ctx, "installed", "version", r.Version)
	req.Progress(2, 2, "installed")
	return r, nil
}

// Run performs a task with all its attempts. In a test, the Want methods assert how it
// ended: run.WantDone(t, `{"version":"1.2.3"}`).
func ExampleRun() {
	run := handlerstest.Run(context.Background(), handlers.Typed(deploy), handlerstest.Task{
		Payload: `{"version":"1.2.3"}`,
		Retry:   tasker.RetryPolicy{Delays: []time.Duration{time.Second}},
	})
	fmt.Println(run.State, string(run.Result))
	for _, attempt := range run.Attempts {
		fmt.Println(attempt.Number, attempt.State, attempt.Errmsg, attempt.RetryDelay)
	}
	fmt.Println(run.Lines[0].Level, run.Lines[0].Text)
	// Output:
	// DONE {"version":"1.2.3"}
	// 1 RETRYING the mirror is busy 1m0s
	// 2 DONE  0s
	// info installed version=1.2.3
}

// Start allows to act while the handler runs.
func ExampleStart() {
	waits := handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		req.Progress(1, 2, "waiting")
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	running := handlerstest.Start(context.Background(), waits, handlerstest.Task{})
	running.Until(func(soFar handlerstest.Attempt) bool { return len(soFar.Progress) > 0 })
	running.Cancel()
	run := running.Wait()
	fmt.Println(run.State, run.Errnr, run.Errmsg)
	// Output: CANCELED -2 the task was canceled
}
