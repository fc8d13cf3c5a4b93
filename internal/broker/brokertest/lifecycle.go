package brokertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
)

func testReady(t *testing.T, h Harness) {
	eventually(t, "the broker is ready", func() bool { return h.Broker.Ready() == nil })
	if err := h.Broker.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, h.Broker.Ready(), broker.ErrClosed)
}

// listener is a running Listen call.
type listener struct {
	keys chan string
	done chan error
	stop context.CancelFunc
}

func listen(t *testing.T, b broker.Broker, pattern string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &listener{keys: make(chan string, 10_000), done: make(chan error, 1), stop: cancel}
	go func() {
		l.done <- b.Listen(ctx, pattern, func(key string, body []byte) { l.keys <- key + " " + string(body) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-l.done; err != nil {
			t.Logf("Listen returned %v", err)
		}
	})
	return l
}

// hears sends probes until each listener has got one: no signal reports when a
// listener is registered. Some probes may come later.
func hears(t *testing.T, b broker.Broker, key string, listeners ...*listener) {
	t.Helper()
	for _, l := range listeners {
		eventually(t, "an event "+key+" is heard", func() bool {
			_ = b.Notify(t.Context(), key, []byte("probe"))
			select {
			case <-l.keys:
				return true
			default:
				return false
			}
		})
	}
}

func testEvents(t *testing.T, h Harness) {
	patterns := []string{"#", "results.*", "results.#", "*.worker", "results.worker.done"}
	listeners := make(map[string]*listener)
	for _, p := range patterns {
		listeners[p] = listen(t, h.Broker, p)
	}
	// Wait for all before checking what they hear.
	hears(t, h.Broker, "results.worker", listeners["#"], listeners["results.*"], listeners["results.#"], listeners["*.worker"])
	hears(t, h.Broker, "results.worker.done", listeners["results.worker.done"])

	keys := []string{"results", "results.backup", "results.worker.done", "logs.worker", "other"}
	for _, key := range append(keys, "results.worker", "results.worker.done") {
		if err := h.Broker.Notify(t.Context(), key, []byte("now")); err != nil {
			t.Fatal(err)
		}
	}
	for pattern, want := range map[string][]string{
		"#": {
			"results", "results.backup", "results.worker.done", "logs.worker", "other", "results.worker",
			"results.worker.done",
		},
		"results.*":           {"results.backup", "results.worker"},
		"results.#":           {"results", "results.backup", "results.worker.done", "results.worker", "results.worker.done"},
		"*.worker":            {"logs.worker", "results.worker"},
		"results.worker.done": {"results.worker.done", "results.worker.done"},
	} {
		var got []string
		for len(got) < len(want) {
			var key string
			text := receive(t, listeners[pattern].keys, "an event for "+pattern)
			if _, err := fmt.Sscanf(text, "%s now", &key); err == nil {
				got = append(got, key)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pattern %s heard %q, want %q", pattern, got, want)
		}
	}
	l := listeners["#"]
	l.stop()
	if err := receive(t, l.done, "a listener to end"); err != nil {
		t.Errorf("Listen returned %v, want nil when its context ends", err)
	}
	l.done <- nil
}

func testClose(t *testing.T, h Harness) {
	b := h.Broker
	c, l := consume(t, b, console(1), 0), listen(t, b, "#")
	hears(t, b, "key", l)
	publish(t, b, broker.ToAll(), "m1")
	d := c.next()
	var wg sync.WaitGroup
	for range 2 { // at once, and again
		wg.Go(func() {
			if err := b.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	for what, done := range map[string]chan error{"Consume": c.done, "Listen": l.done} {
		err := receive(t, done, what+" to end")
		wantError(t, err, broker.ErrClosed)
		done <- nil
	}
	ctx := t.Context()
	wantError(t, d.Ack())
	wantError(t, d.DeadLetter(ctx, "late"))
	_, err := try(t, b, broker.ToAll(), "m2")
	wantError(t, err, broker.ErrClosed)
	wantError(t, b.Consume(ctx, broker.Subscription{Queue: console(1), Deliver: func(broker.Delivery) {}}), broker.ErrClosed)
	wantError(t, b.Listen(ctx, "#", func(string, []byte) {}), broker.ErrClosed)
	wantError(t, b.Notify(ctx, "key", nil), broker.ErrClosed)
	wantError(t, b.Declare(ctx, taskType), broker.ErrClosed)
	wantError(t, b.Ready(), broker.ErrClosed)
}
