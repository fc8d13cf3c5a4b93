package store_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/rollout"
)

// waveWait is the time in which an endpoint should have received a task.
const waveWait = time.Minute

// fleet is a rollout whose endpoints a manager serves.
type fleet struct {
	fixture
	task  tasker.Task
	names []string
	sent  []string // in the order in which the task was sent to them
	moves []string // what the rollout did
	told  []string // the endpoints that were told of a hold or its end, latest first
	begun int      // attempts to send
}

// settingsOf returns the canonical form of the settings of a rollout.
func settingsOf(t *testing.T, object string) json.RawMessage {
	t.Helper()
	settings, err := rollout.Decode([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	return canonical
}

// numbered returns the names of n endpoints, in order.
func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("e%02d", i+1))
	}
	return names
}

// rolloutOf returns a new task with a rollout in the order of the endpoints' names.
func rolloutOf(t *testing.T, object string, names ...string) tasker.Task {
	t.Helper()
	return tasker.Task{
		Type: "worker", Identifier: "r", Payload: []byte(`{"foo":"bar"}`), Endpoints: names,
		Rollout: &tasker.Rollout{Settings: settingsOf(t, object)},
	}
}

// roll starts a rollout at n endpoints, and does what there is to do.
func (f fixture) roll(t *testing.T, n int, object string) *fleet {
	t.Helper()
	names := numbered(n)
	f.acquire(t, managerA, names...)
	object = strings.TrimSuffix(object, "}") + `,"order":"name"}`
	task, created, err := f.Tasks.CreateTask(t.Context(), rolloutOf(t, object, names...))
	if err != nil || !created {
		t.Fatalf("created: %v, %v", created, err)
	}
	fl := &fleet{fixture: f, task: task, names: names}
	fl.deliver(t, ledger.WaveClaim{TaskID: task.ID, Attempt: 1})
	fl.advance(t)
	return fl
}

// deliver makes an attempt to send the task.
func (f *fleet) deliver(t *testing.T, claim ledger.WaveClaim) {
	t.Helper()
	f.begun++
	for {
		wave, current, err := f.Outbox.NextWave(t.Context(), claim, time.Minute, 3)
		if err != nil {
			t.Fatal(err)
		}
		if !current || len(wave.Endpoints) == 0 {
			return
		}
		f.sent = append(f.sent, wave.Endpoints...)
		if err := f.Outbox.SaveWave(t.Context(), claim, wave.Endpoints, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// follow does what follows from a decision.
func (f *fleet) follow(t *testing.T, a ledger.Advance) {
	t.Helper()
	if a.Changed {
		f.moves = append(f.moves, fmt.Sprint(a.State, " ", a.Wave))
	}
	if len(a.Held) > 0 {
		f.told = a.Held
	}
	if a.Send.Attempt > 0 {
		f.deliver(t, a.Send)
	}
	if a.Behind {
		if _, err := f.Statuses.Aggregate(t.Context(), []int64{f.task.ID}, waveWait); err != nil {
			t.Fatal(err)
		}
	}
}

// advance looks until there is nothing more to decide.
func (f *fleet) advance(t *testing.T) (halted string) {
	t.Helper()
	for range 100 {
		a, err := f.Rollouts.Advance(t.Context(), f.task.ID, waveWait)
		if err != nil {
			t.Fatal(err)
		}
		if a.Halted != "" {
			halted = a.Halted
		}
		f.follow(t, a)
		if !a.Changed {
			return halted
		}
	}
	t.Fatal("the rollout does not come to rest")
	return ""
}

// after advances the clock, with the heartbeats of the endpoints, and then the rollout.
func (f *fleet) after(t *testing.T, d time.Duration) {
	t.Helper()
	f.clock.advance(d)
	f.acquire(t, managerA, f.names...)
	f.advance(t)
}

// get has endpoints receive the task, and run it at once.
func (f *fleet) get(t *testing.T, state tasker.ResultState, endpoints ...string) {
	t.Helper()
	for _, name := range endpoints {
		wantOutcomes(t, f.receive(t, managerA, incoming(f.task, name, state)), ledger.Recorded)
	}
}

// end has endpoints receive the task, run it and end it, and looks.
func (f *fleet) end(t *testing.T, state tasker.ResultState, endpoints ...string) {
	t.Helper()
	f.get(t, tasker.Running, endpoints...)
	f.ends(t, state, endpoints...)
}

// ends ends what runs at endpoints.
func (f *fleet) ends(t *testing.T, state tasker.ResultState, endpoints ...string) {
	t.Helper()
	for _, name := range endpoints {
		f.finish(t, finish(f.task, name, 1, state))
	}
	if _, err := f.Statuses.Aggregate(t.Context(), []int64{f.task.ID}, waveWait); err != nil {
		t.Fatal(err)
	}
	f.advance(t)
}

// found returns the rollout as people see it.
func (f *fleet) found(t *testing.T) (tasker.Task, *tasker.Rollout) {
	t.Helper()
	task := f.find(t, f.task)
	r, err := f.Rollouts.FindRollout(t.Context(), &task, waveWait, 100)
	if err != nil {
		t.Fatal(err)
	}
	return task, r
}

// want wants a state, the last wave that is open, and the number of endpoints that the task
// was sent to.
func (f *fleet) want(t *testing.T, state rollout.State, wave, sent int) {
	t.Helper()
	task, r := f.found(t)
	if r.State != string(state) || r.Wave != wave || len(f.sent) != sent {
		t.Fatalf("it is %s, wave %d, sent to %v (%s), want %s, wave %d, sent to %d", r.State, r.Wave, f.sent, r.Reason, state, wave, sent)
	}
	if task.Rollout.State != r.State || task.Rollout.Wave != r.Wave || task.Rollout.Waves != nil {
		t.Errorf("the task says %+v", task.Rollout)
	}
	if open := len(task.Expected) + task.Unopened; open != len(f.names) && !task.Status.Final() {
		t.Errorf("%d endpoints are expected and %d not open, of %d", len(task.Expected), task.Unopened, len(f.names))
	}
	if unique := slices.Compact(slices.Sorted(slices.Values(f.sent))); len(unique) != len(f.sent) {
		t.Errorf("sent twice: %v", f.sent)
	}
	held := f.count(t, fmt.Sprintf("holds WHERE task_id = %d", f.task.ID)) > 0
	if held != (state == rollout.Halted || state == rollout.Paused) && !task.Status.Final() {
		t.Errorf("it is %s, and held: %v", state, held)
	}
}

// rollAgain starts another rollout in the same database.
func (f fixture) rollAgain(t *testing.T, n int, object string) *fleet {
	t.Helper()
	return f.rollAt(t, n, fmt.Sprint("again", f.rows(t, "tasks")), object)
}

// rollAt starts a rollout with an identifier.
func (f fixture) rollAt(t *testing.T, n int, identifier, object string) *fleet {
	t.Helper()
	f.acquire(t, managerA, numbered(n)...)
	object = strings.TrimSuffix(object, "}") + `,"order":"name"}`
	task := rolloutOf(t, object, numbered(n)...)
	task.Identifier = identifier
	created, _, err := f.Tasks.CreateTask(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	fl := &fleet{fixture: f, task: created, names: numbered(n)}
	fl.deliver(t, ledger.WaveClaim{TaskID: created.ID, Attempt: 1})
	fl.advance(t)
	return fl
}
