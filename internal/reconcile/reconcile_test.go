package reconcile

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

// TestRun runs all loops: a task that was not sent is sent, its
// end is stored, and one that nobody received is INCOMPLETE.
func TestRun(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task := w.create("one", "console1")
	overdue := w.send("overdue", "elsewhere")
	w.clock.advance(wait)
	w.start(New(Config{}, w.parts(), w.broker, w.dispatcher(), w.log).Run)
	w.until("the task to be sent", func() bool { return w.stored(task).Status == tasker.Sent })
	w.until("the other one to be incomplete", func() bool { return w.stored(overdue).Status == tasker.Incomplete })
	w.receive(task, "console1")
	w.finish(task, tasker.ResultDone, "console1")
	w.until("the task to be done", func() bool { return w.stored(task).Status == tasker.Done })
}

// TestEvery logs once that a loop fails, and once that it works again.
func TestEvery(t *testing.T) {
	t.Parallel()
	var buffer bytes.Buffer
	r := &Reconciler{log: slog.New(slog.NewTextHandler(&buffer, nil))}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	step := 0
	group.Go(func() {
		r.every(ctx, loop{name: "name", period: time.Millisecond, runOnce: func(context.Context) error {
			step++
			switch {
			case step <= 3, step == 6:
				return errAway
			case step == 8:
				cancel()
				return ctx.Err() // the end is no failure
			}
			return nil
		}})
	})
	group.Wait()
	log := buffer.String()
	if fails, works := strings.Count(log, "loop of the reconciler fails"), strings.Count(log, "works again"); fails != 2 || works != 2 ||
		step != 8 {
		t.Errorf("%d steps, %d times failing, %d times working again:\n%s", step, fails, works, log)
	}
}
