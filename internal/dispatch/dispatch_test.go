package dispatch_test

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/wire"
)

func TestDispatch(t *testing.T) {
	for name, test := range map[string]struct {
		endpoints []string
		target    broker.Target
	}{
		"to all":          {nil, broker.ToAll()},
		"to those listed": {[]string{"console1", "console2"}, broker.To("console1", "console2")},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, test.endpoints...)
			sent, err := f.dispatch(t.Context(), t, dispatch.Config{})
			if err != nil || sent.Status != tasker.Sent || sent.SentTime == nil {
				t.Fatalf("got %+v, %v", sent, err)
			}
			if stored := f.stored(t); stored.Status != tasker.Sent {
				t.Errorf("stored task: %s", stored.Status)
			}
			if f.claimable(t) {
				t.Error("the relay can claim a sent task")
			}
			body, err := wire.EncodeTask(f.task)
			if err != nil {
				t.Fatal(err)
			}
			want := []broker.Publication{{
				TaskType: "worker", Target: test.target, MessageID: wire.MessageID(f.task.ID), Body: body, Once: true,
				Transient: true, Copies: len(test.endpoints),
			}}
			if !reflect.DeepEqual(f.broker.published, want) {
				t.Errorf("published %+v, want %+v", f.broker.published, want)
			}
		})
	}
}

// A task for any endpoint wakes one for each of its places, and no message has the payload.
func TestDispatchToAny(t *testing.T) {
	f := setUp(t)
	task, _, err := f.CreateTask(t.Context(), tasker.Task{
		Type: "worker", Identifier: "any", Payload: []byte(`"secret"`), Endpoints: []string{"a", "b", "c"}, Deliver: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	sent, err := f.dispatcher(t, dispatch.Config{}).Dispatch(t.Context(), task)
	if err != nil || sent.Status != tasker.Sent || len(sent.Unserved) > 0 {
		t.Fatalf("got %+v, %v", sent, err)
	}
	if len(f.broker.published) != 3 {
		t.Fatalf("published %d messages", len(f.broker.published))
	}
	for _, p := range f.broker.published {
		message, err := wire.DecodeTask(p.Body)
		if err != nil || !p.Target.Any() || message.TaskID != task.ID || message.Payload != nil {
			t.Errorf("published %+v: %s, %v", p.Target, p.Body, err)
		}
	}
}

// A task whose listed endpoints were all removed is for none, not for all.
func TestDispatchToNobody(t *testing.T) {
	f := setUp(t, "console1", "console2")
	f.task.RemovedEndpoints = []string{"console1", "console2"}
	if sent, err := f.dispatch(t.Context(), t, dispatch.Config{}); err != nil || sent.Status != tasker.Sent {
		t.Fatalf("got %+v, %v", sent, err)
	}
	if len(f.broker.published) > 0 {
		t.Errorf("published %+v", f.broker.published)
	}
}

// Nothing is published to endpoints that are not registered, and they are reported
// at once even if the broker is away.
func TestNotRegistered(t *testing.T) {
	f := setUp(t, "console1", "console2")
	f.task.Endpoints = []string{"console1", "console2", "ghost1", "ghost2"}
	ghosts := f.task.Endpoints[2:]
	d := f.dispatcher(t, slow)
	f.broker.publish = func(context.Context) (broker.Receipt, error) { return broker.Receipt{}, broker.ErrNotConnected }
	if task, err := d.Dispatch(t.Context(), f.task); err == nil || !slices.Equal(task.Unserved, ghosts) {
		t.Errorf("got %+v, %v", task, err)
	}
	f.broker.publish = nil
	f.register(t, "ghost2") // missing from the cache, but found
	claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
	if err != nil || len(claimed) != 1 || claimed[0].Attempt != 1 {
		t.Fatal(claimed, err)
	}
	claimed[0].Endpoints = f.task.Endpoints
	sent, err := d.Resume(t.Context(), claimed[0])
	if err != nil || sent.Status != tasker.Sent || !slices.Equal(sent.Unserved, []string{"ghost1"}) {
		t.Errorf("got %+v, %v", sent, err)
	}
	if got, want := f.broker.targets(), []string{"console1", "console2", "console1", "console2", "ghost2"}; !slices.Equal(got, want) {
		t.Errorf("published to %v, want %v", got, want)
	}
	// If the registrations cannot be read, publish to all.
	f.registryFails = true
	sent, err = f.dispatcher(t, dispatch.Config{}).Dispatch(t.Context(), f.task)
	if err != nil || len(f.broker.targets()) != 9 {
		t.Errorf("published to %v: %+v, %v", f.broker.targets(), sent, err)
	}
}

// Listed endpoints without a queue are recorded as unserved and stay expected.
func TestUnserved(t *testing.T) {
	f := setUp(t, "console1", "console2")
	f.broker.publish = func(context.Context) (broker.Receipt, error) {
		return broker.Receipt{Unserved: []string{"console2"}}, nil
	}
	if _, err := f.dispatch(t.Context(), t, dispatch.Config{}); err != nil {
		t.Fatal(err)
	}
	stored := f.stored(t)
	if stored.Status != tasker.Sent || !slices.Equal(stored.Unserved, []string{"console2"}) ||
		!slices.Equal(stored.Expected, []string{"console1", "console2"}) {
		t.Errorf("stored task: %+v", stored)
	}
}

// A task for all that no queue takes is not an error: it is sent, and INCOMPLETE
// later.
func TestUnrouted(t *testing.T) {
	f := setUp(t)
	f.broker.publish = func(context.Context) (broker.Receipt, error) { return broker.Receipt{Unrouted: true}, nil }
	if task, err := f.dispatch(t.Context(), t, dispatch.Config{}); err != nil || task.Status != tasker.Sent {
		t.Errorf("got %+v, %v", task, err)
	}
}

// A dispatch goes on if its caller leaves, before or during it.
func TestCallerLeaves(t *testing.T) {
	f := setUp(t)
	ctx, leave := context.WithCancel(t.Context())
	f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
		leave()
		return broker.Receipt{}, ctx.Err()
	}
	for range 2 {
		if task, err := f.dispatch(ctx, t, dispatch.Config{}); err != nil || task.Status != tasker.Sent {
			t.Errorf("got %+v, %v", task, err)
		}
	}
}
