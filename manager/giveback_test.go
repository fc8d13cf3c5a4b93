package manager_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/manager"
)

// twoSlots has 2 slots and, for very brief runs, 8 places ahead of them.
func twoSlots(j *tasker.TaskType) {
	j.Concurrency, j.Retry.Delays = 2, []time.Duration{0}
}

// queueTen leaves ten tasks in the queue of endpoint a, for a manager that takes its
// runs for very brief.
func (w *world) queueTen() (tasks []tasker.Task) {
	w.t.Helper()
	if err := w.serve(w.store, &counting{}, jobType(twoSlots)).stop(); err != nil {
		w.t.Fatal(err)
	}
	for i := range 10 {
		tasks = append(tasks, w.post(fmt.Sprint("t", i), "null", "a"))
	}
	w.made = manager.HandAhead
	return tasks
}

// untilStates waits until so many of the tasks have a state.
func (w *world) untilStates(tasks []tasker.Task, state tasker.ResultState, n int) {
	w.t.Helper()
	w.until(func() string {
		counts := map[tasker.ResultState]int{}
		for _, task := range tasks {
			r, _ := w.result(task, "a")
			counts[r.State]++
		}
		if counts[state] == n {
			return ""
		}
		return fmt.Sprintf("%d of %v to be %s", n, counts, state)
	})
}

// Tasks that are RUNNING ahead of a slot are given back when runs turn long, whether
// that fails or its answer is lost at first. They run once, later.
func TestGivesBackWhenRunsTurnLong(t *testing.T) {
	for name, lostAnswer := range map[string]bool{"fails": false, "lost answer": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tasks := w.queueTen()
			g := newGated()
			s := newFaulty(w.store, lostAnswer, map[string]int{"give back": 2})
			w.serve(s, g, jobType(twoSlots))
			w.untilStates(tasks, tasker.Received, 8)
			w.untilStates(tasks, tasker.Running, 2)
			close(g.gate)
			w.untilStates(tasks, tasker.ResultDone, 10)
			if n := s.called("give back"); n < 2 { // nothing started before the second answer
				t.Errorf("gave back by %d calls", n)
			}
			for _, task := range tasks {
				if r, _ := w.result(task, "a"); r.Attempt != 1 {
					t.Errorf("%+v", r)
				}
			}
			if runs, most := g.started.Load(), g.most.Load(); runs != 10 || most > 2 {
				t.Errorf("%d runs, %d at once", runs, most)
			}
		})
	}
}

// A manager crashes before it has given back what was ahead, which then counts as
// interrupted, or after that and before the answer.
func TestGivesBackAndCrashes(t *testing.T) {
	for name, lostAnswer := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tasks := w.queueTen()
			g := newGated()
			s := newFaulty(w.store, lostAnswer, map[string]int{"give back": away})
			done := w.start(s, w.broker, g, jobType(twoSlots))
			if lostAnswer {
				w.untilStates(tasks, tasker.Received, 8)
			} else {
				w.until(func() string {
					if s.called("give back") == 0 {
						return "something to be given back"
					}
					return ""
				})
			}
			g.until(w, 2) // they are RUNNING before their handlers are called
			s.crash(t, done)
			attempts := map[int64]int{}
			interrupted := 0
			for _, task := range tasks {
				attempts[task.ID] = 1
				if r, _ := w.result(task, "a"); r.State == tasker.Running {
					attempts[task.ID] = 2
					interrupted++
				}
			}
			if runs := g.started.Load(); runs != 2 || lostAnswer != (interrupted == 2) {
				t.Errorf("%d runs, and %d attempts were interrupted", runs, interrupted)
			}
			c := &counting{}
			w.serve(w.store, c, jobType(twoSlots))
			w.untilStates(tasks, tasker.ResultDone, 10)
			for _, task := range tasks {
				if r, _ := w.result(task, "a"); r.Attempt != attempts[task.ID] || c.of(task.Identifier) != 1 {
					t.Errorf("%+v, %d runs, want attempt %d", r, c.of(task.Identifier), attempts[task.ID])
				}
			}
		})
	}
}
