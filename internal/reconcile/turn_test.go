package reconcile

import (
	"context"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

// TestJobIsDoneOnce by two processes; where the one that does it dies, the
// other one goes on when its turn is over.
func TestJobIsDoneOnce(t *testing.T) {
	w := newWorld(t)
	processes := []*Reconciler{
		New(Config{}, w, w.broker, w.dispatcher(), w.log),
		New(Config{}, w, w.broker, w.dispatcher(), w.log),
	}
	runs := make([]int, len(processes))
	jobs := make([]func(context.Context) error, len(processes))
	for i, r := range processes {
		jobs[i] = r.inTurn("job", func(context.Context) error { runs[i]++; return nil })
	}
	for range 20 {
		for _, job := range jobs {
			w.run(job)
		}
		w.clock.advance(time.Second)
	}
	if runs[0] != 20 || runs[1] != 0 {
		t.Fatalf("of 20 times the job was done %v", runs)
	}
	w.clock.advance(turnLength) // the first has died
	w.run(jobs[1])
	if runs[1] != 1 {
		t.Error("nobody goes on")
	}
	w.run(jobs[0])
	if runs[0] != 20 {
		t.Error("the first goes on in the other's turn")
	}
}

// TestTurnsEndWithTheProcess: another one goes on at once.
func TestTurnsEndWithTheProcess(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		New(Config{}, w, w.broker, w.dispatcher(), w.log).Run(ctx)
	}()
	jobs := []string{jobIncomplete, jobLost, jobAggregate, jobPurge}
	const other = "01BBBBBBBBBBBBBBBBBBBBBBBB"
	take := func(job string) bool { // for a moment
		taken, err := w.TakeTurn(t.Context(), job, other, turnLength)
		if err == nil {
			err = w.EndTurns(t.Context(), other, []string{job})
		}
		if err != nil {
			t.Fatal(err)
		}
		return taken
	}
	for _, job := range jobs[:3] { // the purge looks once a minute
		w.until(job+" to be in the process's turn", func() bool { return !take(job) })
	}
	cancel()
	<-ended
	for _, job := range jobs {
		if !take(job) {
			t.Errorf("%s is still in the process's turn", job)
		}
	}
}

// TestSilenceIsHeardOutOfTurn: a process whose turn it becomes calls an
// endpoint lost as soon as the one before would have.
func TestSilenceIsHeardOutOfTurn(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task := w.send("one", "console1")
	w.receive(task, "console1")
	first, second := w.lost(), w.lost()
	second.turn.holder = "01BBBBBBBBBBBBBBBBBBBBBBBB"
	for range 6 {
		w.run(first.runOnce)
		w.run(second.runOnce)
		w.clock.advance(lostAfter / 6)
	}
	w.clock.advance(time.Microsecond)
	w.run(second.runOnce)
	w.expect(tasker.Incomplete, task)
}
