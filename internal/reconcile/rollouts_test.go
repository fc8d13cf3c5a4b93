package reconcile

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
	"github.com/taskerhq/tasker/internal/wire"
)

// roll creates a task with a rollout.
func (w *world) roll(identifier, object string, endpoints ...string) tasker.Task {
	w.t.Helper()
	settings, err := rollout.Decode([]byte(object))
	if err != nil {
		w.t.Fatal(err)
	}
	canonical, err := json.Marshal(settings)
	if err != nil {
		w.t.Fatal(err)
	}
	task, _, err := w.CreateTask(w.t.Context(), tasker.Task{
		Type: "worker", Identifier: identifier, Endpoints: endpoints, Rollout: &tasker.Rollout{Settings: canonical},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return task
}

// rollouts returns the loop of a process.
func (w *world) rollouts() *rollouts {
	d := w.dispatcher()
	parts := w.parts()
	parts.Conductor = w.conductor(d)
	return newRollouts(parts, d, w.broker, w.log)
}

// rolled wants the state of a rollout and the last wave that is open.
func (w *world) rolled(task tasker.Task, state string, wave int) {
	w.t.Helper()
	if r := w.stored(task).Rollout; r.State != state || r.Wave != wave {
		w.t.Errorf("it is %s, wave %d, want %s, wave %d", r.State, r.Wave, state, wave)
	}
}

// A wave opens when the one before has ended, and is sent; the statuses follow.
func TestRollouts(t *testing.T) {
	w := newWorld(t)
	names := []string{"a", "b", "c"}
	w.register(names...)
	task := w.roll("r", `{"batch":1,"order":"name","pause":"30s","max_failures":1}`, names...)
	if _, err := w.dispatcher().Dispatch(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	r := w.rollouts()
	w.run(r.runOnce)
	w.rolled(task, "RUNNING", 1)
	w.expect(tasker.Sent, task)
	w.receive(task, "a")
	w.finish(task, tasker.ResultDone, "a")
	w.clock.advance(time.Second)
	w.run(r.runOnce)
	w.rolled(task, "SOAKING", 1)
	w.clock.advance(30 * time.Second)
	w.run(r.runOnce)
	r.conductor.Wait()
	w.rolled(task, "RUNNING", 2)
	if n := w.publishedTimes(task); n != 2 {
		t.Errorf("published %d times", n)
	}
	// Nobody has it when its time has passed.
	w.clock.advance(time.Minute)
	w.run(r.runOnce)
	w.expect(tasker.Incomplete, task)
	w.rolled(task, "SOAKING", 2)
}

// A hint has the rollout looked at at once, if the loop knows that there is one.
func TestRolloutHints(t *testing.T) {
	w := newWorld(t)
	w.register("a", "b")
	r := w.rollouts()
	r.hint([]int64{1})
	if len(r.hinted) > 0 {
		t.Error("it remembers tasks although there is no rollout")
	}
	task, plain := w.roll("r", `{"batch":1,"order":"name"}`, "a", "b"), w.send("plain", "a")
	w.run(r.runOnce)
	w.receive(task, "a")
	w.finish(task, tasker.ResultDone, "a")
	w.run(r.runOnce) // it was looked at a moment ago
	w.rolled(task, "RUNNING", 1)
	r.hint([]int64{task.ID, plain.ID})
	w.run(r.lookHinted)
	w.rolled(task, "RUNNING", 2)
	if len(r.hinted) > 0 {
		t.Error("it looks again")
	}
}

// The process that opened a wave died, or the broker was away: another one sends it.
func TestRolloutRelay(t *testing.T) {
	w := newWorld(t)
	w.register("a", "b")
	task := w.roll("r", `{"batch":2}`, "a", "b")
	r := w.rollouts()
	w.run(r.runOnce)
	if n := w.publishedTimes(task); n != 0 {
		t.Errorf("published %d times although its API may be sending it", n)
	}
	w.clock.advance(grace)
	w.broker.setAway(true)
	w.run(r.runOnce)
	w.expect(tasker.Created, task)
	w.broker.setAway(false)
	w.broker.refuse[wire.MessageID(task.ID)] = true
	w.run(r.runOnce)
	w.expect(tasker.Created, task)
	w.clock.advance(time.Minute)
	w.run(r.runOnce)
	w.expect(tasker.Sent, task)
	w.clock.advance(time.Hour)
	w.run(r.relay)
	if n := w.publishedTimes(task); n != 1 {
		t.Errorf("published %d times", n)
	}
}

// Two processes take twenty rollouts through their waves: each wave is opened once.
func TestRolloutsOfTwoProcesses(t *testing.T) {
	w := newWorld(t)
	w.register("a", "b")
	loops := []*rollouts{w.rollouts(), w.rollouts()}
	var tasks []tasker.Task
	for i := range 20 {
		tasks = append(tasks, w.roll(fmt.Sprint("r", i), `{"batch":1,"order":"name"}`, "a", "b"))
	}
	for _, endpoint := range []string{"a", "b"} {
		for _, task := range tasks {
			w.receive(task, endpoint)
			w.finish(task, tasker.ResultDone, endpoint)
		}
		w.clock.advance(2 * time.Second)
		errs := make(chan error)
		for _, loop := range loops {
			go func() { errs <- loop.runOnce(t.Context()) }()
		}
		for range loops {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, task := range tasks {
		w.rolled(task, "DONE", 2)
	}
}
