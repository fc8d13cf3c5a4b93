package manager_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
)

// ordered is a handler that notes what runs, and waits until its gate is open.
type ordered struct {
	gate  chan struct{}
	began chan string
	mu    sync.Mutex
	list  []string
}

func (o *ordered) Handle(_ context.Context, req *handlers.Request) (handlers.Result, error) {
	o.mu.Lock()
	o.list = append(o.list, req.Identifier)
	o.mu.Unlock()
	o.began <- req.Identifier
	<-o.gate
	return nil, nil
}

// Of the tasks that wait those with the highest priority start first, and of the same
// priority the oldest; what runs is not stopped for them. The order survives the
// manager.
func TestPriorities(t *testing.T) {
	w := newWorld(t)
	first := &ordered{gate: make(chan struct{}), began: make(chan string, 100)}
	one := jobType(func(j *tasker.TaskType) { j.Concurrency = 1 })
	m := w.serve(w.store, first, one)
	post := func(identifier string, priority int) tasker.Task {
		task, _, err := w.store.CreateTask(t.Context(), tasker.Task{
			Type: "job", Identifier: identifier, Endpoints: []string{"a"}, Priority: priority,
		})
		if err != nil {
			t.Fatal(err)
		}
		return w.send(task)
	}
	running := post("running", 0)
	<-first.began
	var waiting []tasker.Task
	for _, one := range []struct {
		identifier string
		priority   int
	}{{"low", 0}, {"lower", 0}, {"middle", 5}, {"high", 9}, {"higher", 9}, {"last", 0}} {
		waiting = append(waiting, post(one.identifier, one.priority))
	}
	for _, task := range waiting {
		w.await(task, tasker.Received)
	}
	close(first.gate)
	w.await(running, tasker.ResultDone)
	for _, task := range waiting {
		w.await(task, tasker.ResultDone)
	}
	want := []string{"running", "high", "higher", "middle", "low", "lower", "last"}
	if !slices.Equal(first.list, want) {
		t.Errorf("ran %v, want %v", first.list, want)
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}

	waiting = []tasker.Task{post("low2", 0), post("high2", 9), post("middle2", 3)} // nobody is there
	second := &ordered{gate: make(chan struct{}), began: make(chan string, 100)}
	drained := tasker.HoldSubject{Endpoint: "a"}
	w.hold(drained, tasker.Expiry{})
	w.serve(w.store, second, one)
	for _, task := range waiting {
		w.await(task, tasker.Received)
	}
	w.unhold(drained)
	close(second.gate)
	for _, task := range waiting {
		w.await(task, tasker.ResultDone)
	}
	if want := []string{"high2", "middle2", "low2"}; !slices.Equal(second.list, want) {
		t.Errorf("the next manager ran %v, want %v", second.list, want)
	}
}
