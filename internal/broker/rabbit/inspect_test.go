package rabbit_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testservices"
)

// probe returns the probe of an address.
func probe(t *testing.T, uri string) *rabbit.Probe {
	t.Helper()
	probes, err := rabbit.Probes(rabbit.Config{URIs: []string{uri}})
	if err != nil || len(probes) != 1 {
		t.Fatalf("%d probes, %v", len(probes), err)
	}
	t.Cleanup(probes[0].Close)
	return probes[0]
}

func TestProbe(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	b := newBroker(t, rabbit.Config{URIs: []string{uri}})
	_, ready := consume(t, b, queue)
	receive(t, ready)
	for range 3 { // to the shared queue, which nobody reads
		if _, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", Target: broker.ToAny(), MessageID: "m"}); err != nil {
			t.Fatal(err)
		}
	}
	p := probe(t, uri)
	if _, _, _, err := p.Queue(t.Context(), "tasker.dead"); err == nil {
		t.Error("it looked without a connection")
	}
	if version, err := p.Connect(t.Context()); err != nil || version == "" {
		t.Fatalf("version %q, %v", version, err)
	}
	// A missing object closes the channel; later calls work all the same.
	for name, want := range map[string]bool{"tasker.worker": true, "tasker.nothing": false, "tasker.dead": true, "tasker.none": false} {
		if exists, err := p.Exchange(t.Context(), name); err != nil || exists != want {
			t.Errorf("exchange %s: %v, %v", name, exists, err)
		}
	}
	for name, want := range map[string]struct {
		messages, consumers int
		exists              bool
	}{
		"tasker.worker.console1": {0, 1, true}, "tasker.worker.any": {3, 0, true}, "tasker.worker.console2": {0, 0, false},
	} {
		messages, consumers, exists, err := p.Queue(t.Context(), name)
		if err != nil || messages != want.messages || consumers != want.consumers || exists != want.exists {
			t.Errorf("queue %s: %d messages, %d consumers, %v, %v; want %+v", name, messages, consumers, exists, err, want)
		}
	}
	if exists, err := p.Exchange(t.Context(), "tasker.nothing"); err != nil || exists {
		t.Errorf("looking made an exchange: %v, %v", exists, err)
	}
}

func TestProbeRefused(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	for name, change := range map[string]func(*url.URL){
		"password":     func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "hunter2") },
		"virtual host": func(u *url.URL) { u.Path += "-other" },
	} {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		_, err = probe(t, u.String()).Connect(t.Context())
		if tasker.CodeOf(err) != tasker.Unauthorized || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a wrong %s: %v (%s)", name, err, tasker.CodeOf(err))
		}
	}
}

func TestProbeOfOneWhoIsAway(t *testing.T) {
	proxy, uri := testservices.Proxied(t, testservices.RabbitMQ(t))
	p := probe(t, uri)
	if _, err := p.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	reason := errors.New("the time is up")
	ended := func() context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		return ctx
	}
	proxy.Hold() // it answers nothing any more
	if _, err := p.Exchange(ended(), "tasker.worker"); !errors.Is(err, reason) {
		t.Errorf("looking: %v", err)
	}
	if _, err := probe(t, uri).Connect(ended()); !errors.Is(err, reason) || tasker.CodeOf(err) != tasker.Unavailable {
		t.Errorf("connecting: %v (%s)", err, tasker.CodeOf(err))
	}
	proxy.Release()
	proxy.Cut()
	if _, err := probe(t, uri).Connect(t.Context()); tasker.CodeOf(err) != tasker.Unavailable {
		t.Errorf("connecting to nobody: %v (%s)", err, tasker.CodeOf(err))
	}
}

// TestArguments are those of the queues that are declared.
func TestArguments(t *testing.T) {
	t.Parallel()
	endpoint, dead, err := rabbit.Arguments(rabbit.Config{URIs: []string{"amqp://h"}, QueueType: "quorum"})
	if err != nil || endpoint["x-queue-type"] != "quorum" || endpoint["x-dead-letter-exchange"] != "tasker.dead" ||
		endpoint["x-expires"] != int64(7*24*3600*1000) || dead["x-queue-type"] != "quorum" || dead["x-expires"] != nil {
		t.Errorf("%v, %v, %v", endpoint, dead, err)
	}
	if _, _, err := rabbit.Arguments(rabbit.Config{}); err == nil {
		t.Error("a configuration without an address was taken")
	}
}
