package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/rollout"
)

// TestRolloutAnyOrder has anything happen to rollouts in any order, by processes that die
// after any decision and while they send: no endpoint gets the task before its wave, none
// starts while the rollout is held, none is sent to twice without a crash, and in the end all
// have ended.
func TestRolloutAnyOrder(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			f := open(t, sqliteURI(t))
			if _, _, err := f.Schema.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			w := &walk{Rand: rand.New(rand.NewPCG(seed, 1)), started: map[string]bool{}}
			w.fleet = f.roll(t, 2+w.IntN(9), w.settings())
			for range 120 {
				w.step(t)
				w.check(t)
				if t.Failed() {
					t.Fatalf("after %v", w.log)
				}
			}
			w.settle(t)
		})
	}
}

// walk is a random walk of a rollout.
type walk struct {
	*rand.Rand
	*fleet
	started map[string]bool // where an attempt has begun
	crashes int             // how often something may have been sent twice
	log     []string
}

func (w *walk) settings() string {
	return []string{
		`{"batch":1,"max_failures":2,"wave_max_failures":"100%"}`,
		`{"batch":[1,"30%","100%"],"max_failures":1,"pause":"20s"}`,
		`{"batch":2,"approve":true,"max_failures":"20%","on_halt":"cancel"}`,
		`{"batch":["50%","100%"],"wave_timeout":"90s","proceed_at":"60%","max_failures":"50%"}`,
		`{"max_concurrency":3,"ramp":true,"max_failures":1}`,
		`{"batch":3,"splay":"30s","unreached":"ignore"}`,
	}[w.IntN(6)]
}

func (w *walk) step(t *testing.T) {
	t.Helper()
	name := w.names[w.IntN(len(w.names))]
	switch n := w.IntN(20); {
	case n < 5:
		w.log = append(w.log, "receive "+name)
		w.receiveAt(t, name)
	case n < 9:
		w.log = append(w.log, "finish "+name)
		states := []tasker.ResultState{tasker.ResultDone, tasker.ResultDone, tasker.ResultDone, tasker.ResultFailed}
		w.finish(t, finish(w.task, name, 1, states[w.IntN(len(states))]))
	case n < 11:
		w.log = append(w.log, "start "+name)
		if started := w.attempt(t, w.task, name, 0); started && !w.started[name] {
			w.begins(t, name)
		}
	case n < 16:
		w.look(t)
	case n < 18:
		d := time.Duration(1+w.IntN(40)) * time.Second
		w.log = append(w.log, "clock "+d.String())
		w.clock.advance(d)
		w.acquire(t, managerA, w.names...)
		w.relay(t)
	default:
		w.person(t)
	}
}

// look makes a decision; sometimes the process dies before it does what follows.
func (w *walk) look(t *testing.T) {
	t.Helper()
	a, err := w.Rollouts.Advance(t.Context(), w.task.ID, waveWait)
	if err != nil {
		t.Fatal(err)
	}
	w.log = append(w.log, fmt.Sprintf("look: %v %s %d", a.Changed, a.State, a.Wave))
	switch {
	case a.Send.Attempt > 0 && w.IntN(3) == 0:
		w.log = append(w.log, "dies")
	case a.Send.Attempt > 0 && w.IntN(3) == 0: // after the broker has confirmed the first slice
		wave, _, err := w.Outbox.NextWave(t.Context(), a.Send, time.Minute, 2)
		if err != nil {
			t.Fatal(err)
		}
		w.log = append(w.log, fmt.Sprint("dies after sending to ", wave.Endpoints))
		w.sent = append(w.sent, wave.Endpoints...)
		w.crashes += len(wave.Endpoints)
	default:
		w.follow(t, a)
	}
}

func (w *walk) receiveAt(t *testing.T, name string) {
	t.Helper()
	_, r := w.found(t)
	rec := w.receive(t, managerA, incoming(w.task, name, tasker.Running))[0]
	if rec.Outcome == ledger.Recorded {
		w.begins(t, name)
	}
	if rec.Outcome == ledger.Recorded && r.Wave == 0 {
		t.Errorf("%s has the task although no wave is open", name)
	}
}

// begins notes that an attempt has begun.
func (w *walk) begins(t *testing.T, name string) {
	t.Helper()
	w.started[name] = true
	if _, r := w.found(t); r.State == string(rollout.Halted) || r.State == string(rollout.Paused) {
		t.Errorf("%s starts while it is %s", name, r.State)
	}
}

func (w *walk) person(t *testing.T) {
	t.Helper()
	var err error
	var a ledger.Advance
	what := []string{"pause", "resume", "approve", "promote"}[w.IntN(4)]
	if what == "promote" && w.IntN(4) > 0 {
		what = "resume"
	}
	switch what {
	case "pause":
		_, err = w.Holds.Hold(t.Context(), tasker.HoldRequest{HoldSubject: taskSubject(w.task), By: "ann"})
	case "approve":
		a, err = w.Rollouts.Approve(t.Context(), w.act(0, false), waveWait)
	default:
		a, err = w.Rollouts.ResumeRollout(t.Context(), w.act(0, what == "promote"), waveWait)
	}
	if err != nil && tasker.CodeOf(err) != tasker.Conflict {
		t.Fatal(err)
	}
	w.log = append(w.log, fmt.Sprint(what, ": ", err == nil))
	w.follow(t, a)
}

// check checks what must hold at any time.
func (w *walk) check(t *testing.T) {
	t.Helper()
	task, r := w.found(t)
	open := r.Wave
	if r.MaxConcurrency == 0 {
		open = 0
		if r.Wave > 0 {
			open = r.Waves[r.Wave-1].Until
		}
	}
	opened := w.names[:open]
	for _, name := range slices.Concat(w.sent, task.Expected, keys(w.started)) {
		if !slices.Contains(opened, name) {
			t.Errorf("%s has it, of %v whose waves are open", name, opened)
		}
	}
	if unique := slices.Compact(slices.Sorted(slices.Values(w.sent))); len(w.sent) > len(unique)+w.crashes {
		t.Errorf("sent to %v, with %d that may be sent twice", w.sent, w.crashes)
	}
	if len(task.Expected)+task.Unopened != len(w.names) && !task.Status.Final() {
		t.Errorf("%v are expected, %d not open", task.Expected, task.Unopened)
	}
}

func keys(set map[string]bool) (list []string) {
	for name := range set {
		list = append(list, name)
	}
	return list
}

// settle has a patient person and endpoints that succeed take it to its end.
func (w *walk) settle(t *testing.T) {
	t.Helper()
	for range 200 {
		w.clock.advance(30 * time.Second)
		w.acquire(t, managerA, w.names...)
		w.advance(t)
		w.relay(t)
		_, r := w.found(t)
		switch rollout.State(r.State) {
		case rollout.Done:
			sent := func(name string) bool { return slices.Contains(w.sent, name) }
			if missing := slices.DeleteFunc(slices.Clone(w.names), sent); len(missing) > 0 {
				t.Errorf("never sent to %v: %v", missing, w.log)
			}
			return
		case rollout.WaitingApproval:
			w.approve(t, 0, true)
		case rollout.Halted, rollout.Paused:
			w.resume(t, false, true)
		}
		for _, name := range w.find(t, w.task).Expected {
			w.receive(t, managerA, incoming(w.task, name, tasker.Running))
			w.attempt(t, w.task, name, 0)
			w.finish(t, finish(w.task, name, 1, tasker.ResultDone))
		}
	}
	t.Errorf("it does not end: %v", w.log)
}
