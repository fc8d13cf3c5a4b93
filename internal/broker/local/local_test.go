package local_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/brokertest"
	"github.com/taskerhq/tasker/internal/broker/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newBroker(t *testing.T) *local.Broker {
	b := local.New(slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestConformance(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Harness {
		b := newBroker(t)
		return brokertest.Harness{
			Broker: b,
			DeadLetters: func(*testing.T) []brokertest.DeadLetter {
				var dead []brokertest.DeadLetter
				for _, d := range b.DeadLetters() {
					dead = append(dead, brokertest.DeadLetter{Queue: d.Queue, Reason: d.Reason, MessageID: d.MessageID, Body: string(d.Body)})
				}
				return dead
			},
		}
	})
}

// TestDeadLettersAreBounded keeps the newest 1,000, and logs those dropped.
func TestDeadLettersAreBounded(t *testing.T) {
	var said strings.Builder
	b := local.New(slog.New(slog.NewTextHandler(&said, nil)))
	t.Cleanup(func() { _ = b.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const count = 1010
	n := 0
	subscription := broker.Subscription{
		Queue: broker.Queue{TaskType: "worker", Endpoint: "console1"},
		Ready: func(ready bool) {
			for i := 0; ready && i < count; i++ {
				if _, err := b.Publish(ctx, broker.Publication{TaskType: "worker", MessageID: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		},
		Deliver: func(d broker.Delivery) {
			if err := d.DeadLetter(ctx, "rubbish"); err != nil {
				t.Error(err)
			}
			if n++; n == count {
				cancel()
			}
		},
	}
	if err := b.Consume(ctx, subscription); err != nil {
		t.Fatal(err)
	}
	dead := b.DeadLetters()
	if len(dead) != 1000 || dead[0].MessageID != "10" || dead[999].MessageID != "1009" {
		t.Errorf("%d dead letters from %q to %q, want 1000 from 10 to 1009", len(dead), dead[0].MessageID, dead[len(dead)-1].MessageID)
	}
	if n := strings.Count(said.String(), "the oldest is dropped"); n != count-1000 {
		t.Errorf("%d drops were logged, want %d", n, count-1000)
	}
}

// TestSlowListener does not hold up notifiers or other listeners.
func TestSlowListener(t *testing.T) {
	b := newBroker(t)
	ctx, cancel := context.WithCancel(t.Context())
	busy, release := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		first := true
		done <- b.Listen(ctx, "#", func(string, []byte) {
			if first {
				first = false
				close(busy)
			}
			<-release
		})
	}()
	for waiting := true; waiting; {
		if err := b.Notify(ctx, "key", nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-busy:
			waiting = false
		default:
		}
	}
	for range 10_000 { // far more than are kept for it
		if err := b.Notify(ctx, "key", nil); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestSharedInTurn deals the messages of a queue to its consumers in turn.
func TestSharedInTurn(t *testing.T) {
	b := newBroker(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	deliveries := make([]chan string, 3)
	for i := range deliveries {
		deliveries[i] = make(chan string, 30)
		ready := make(chan bool, 2)
		wg.Go(func() {
			if err := b.Consume(ctx, broker.Subscription{
				Queue:   broker.Queue{TaskType: "worker"},
				Deliver: func(d broker.Delivery) { deliveries[i] <- d.MessageID() },
				Ready:   func(r bool) { ready <- r },
			}); err != nil {
				t.Error(err)
			}
		})
		<-ready
	}
	for i := range 30 {
		if _, err := b.Publish(ctx, broker.Publication{TaskType: "worker", Target: broker.ToAny(), MessageID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 {
		if got := <-deliveries[i%3]; got != fmt.Sprint(i) {
			t.Errorf("consumer %d got %s, want %d", i%3, got, i)
		}
	}
}
