package manager_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/local"
	"github.com/taskerhq/tasker/manager"
)

// blocked is a broker that accepts no dead letters, as RabbitMQ accepts no messages
// while memory or disk run low: they fail once gaveUp is closed and succeed once it
// is free.
type blocked struct {
	*local.Broker
	gaveUp   chan struct{}
	mu       sync.Mutex
	free     bool
	tried    int
	returned int
}

func (b *blocked) tell(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

type blockedDelivery struct {
	broker.Delivery
	broker *blocked
}

func (d blockedDelivery) DeadLetter(ctx context.Context, reason string) error {
	var free bool
	d.broker.tell(func() { d.broker.tried++; free = d.broker.free })
	if free {
		return d.Delivery.DeadLetter(ctx, reason)
	}
	<-d.broker.gaveUp
	return context.DeadlineExceeded
}

func (d blockedDelivery) Requeue() error {
	d.broker.tell(func() { d.broker.returned++ })
	if r, ok := d.Delivery.(interface{ Requeue() error }); ok {
		return r.Requeue()
	}
	return errors.New("the broker takes nothing back")
}

func (b *blocked) Consume(ctx context.Context, s broker.Subscription) error {
	deliver := s.Deliver
	s.Deliver = func(d broker.Delivery) { deliver(blockedDelivery{d, b}) }
	return b.Broker.Consume(ctx, s)
}

// Dead letters that the broker does not accept hold up neither the tasks that came
// with them nor those behind them. They go back to the queue and become dead
// letters when the broker accepts them.
func TestDeadLettersGoTheirOwnWay(t *testing.T) {
	w := newWorld(t)
	b := &blocked{Broker: w.broker, gaveUp: make(chan struct{})}
	c := &counting{}
	f := newFaulty(w.store, false, map[string]int{})
	done := w.start(f, b, c, func(cfg *manager.Config) { cfg.Prefetch = 4 })
	w.await(w.post("first", "null", "a"), tasker.ResultDone)
	// One that is undecodable and one of an unknown task.
	w.publish("rubbish")
	w.publish(`{"v":1,"task_id":99,"identifier":"none","type":"job","payload":null,"start_time":"2026-01-02T03:04:05Z"}`)
	w.until(func() string {
		var tried int
		b.tell(func() { tried = b.tried })
		if tried < 2 {
			return "both messages to go to the dead letters"
		}
		return ""
	})
	w.await(w.post("second", "null", "a"), tasker.ResultDone)
	close(b.gaveUp)
	w.until(func() string {
		var returned int
		b.tell(func() { returned = b.returned })
		if returned < 2 {
			return "both messages to go back to their queue"
		}
		return ""
	})
	b.tell(func() { b.free = true })
	w.until(func() string {
		if len(w.broker.DeadLetters()) < 2 {
			return "both messages to be dead letters"
		}
		return ""
	})
	f.crash(t, done)
}
