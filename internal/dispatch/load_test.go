package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/dispatch"
)

// A long list is published slice by slice; the next attempt continues where one
// was cut off.
func TestLongList(t *testing.T) {
	endpoints := make([]string, 600)
	for i := range endpoints {
		endpoints[i] = fmt.Sprintf("console%03d", i)
	}
	f := setUp(t, endpoints...)
	f.broker.publish = func(context.Context) (broker.Receipt, error) {
		if len(f.broker.targets()) > 300 {
			return broker.Receipt{}, broker.ErrUnconfirmed
		}
		return broker.Receipt{Unserved: []string{"console007"}}, nil
	}
	d := f.dispatcher(t, slow)
	if _, err := d.Dispatch(t.Context(), f.task); !errors.Is(err, broker.ErrUnconfirmed) {
		t.Errorf("got %v", err)
	}
	first := len(f.broker.targets())
	f.broker.publish = nil
	*f.clock = time.Minute
	claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	sent, err := d.Resume(t.Context(), claimed[0])
	if err != nil || sent.Status != tasker.Sent || !slices.Equal(sent.Unserved, []string{"console007"}) {
		t.Errorf("got %v %v, %v", sent.Status, sent.Unserved, err)
	}
	second := f.broker.targets()[first:]
	if first != 512 || len(second) != 600-256 || second[0] != "console256" {
		t.Errorf("published to %d, and then to %d from %s on", first, len(second), second[0])
	}
}

// What awaits the broker's confirm is bounded by copies, not by tasks. Beyond the
// bound a task is left to the relay, and the backlog drains as the broker confirms.
func TestLoad(t *testing.T) {
	f := setUp(t)
	names := make([]string, 300)
	for i := range names {
		names[i] = fmt.Sprint("console", i)
	}
	f.register(t, names...)
	confirm := make(chan struct{})
	f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
		select {
		case <-confirm:
		case <-ctx.Done():
		}
		return broker.Receipt{}, ctx.Err()
	}
	const tasks = 40
	d := f.dispatcher(t, dispatch.Config{Timeout: 50 * time.Millisecond})
	var posts sync.WaitGroup
	for i := range tasks {
		task, _, err := f.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: fmt.Sprint("t", i)})
		if err != nil {
			t.Fatal(err)
		}
		posts.Go(func() {
			if _, err := d.Dispatch(t.Context(), task); !errors.Is(err, dispatch.ErrOutstanding) && !errors.Is(err, dispatch.ErrBusy) {
				t.Errorf("task %d: %v", i, err)
			}
		})
	}
	posts.Wait()
	deadline := time.Now().Add(time.Minute)
	for copies := 0; copies < 8192-len(names); {
		f.broker.mu.Lock()
		copies = len(f.broker.published) * len(names)
		f.broker.mu.Unlock()
		if copies > 8192 || time.Now().After(deadline) {
			t.Fatalf("%d copies await a confirm", copies)
		}
		runtime.Gosched()
	}
	close(confirm)
	for sent := 0; sent < tasks; {
		claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range claimed {
			_, _ = d.Resume(t.Context(), u)
		}
		list, _, err := f.ListTasks(t.Context(), tasker.TaskQuery{Type: "worker", Status: tasker.Sent, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		if sent = len(list); time.Now().After(deadline) {
			t.Fatalf("%d of %d tasks were sent", sent, tasks)
		}
	}
	f.broker.mu.Lock()
	defer f.broker.mu.Unlock()
	// On a slow machine the database may not store every mark in time.
	if n := len(f.broker.published); f.broker.twice || n > tasks+tasks/2 {
		t.Errorf("%d tasks published %d times, one of them again before its confirm: %t", tasks, n, f.broker.twice)
	}
}
