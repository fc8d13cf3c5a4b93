package rabbit

import (
	"cmp"
	"slices"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

// acks settles the deliveries of one channel, which RabbitMQ numbers from 1
// without gaps. A channel that is opened again is another one, with acks of its
// own.
type acks struct {
	ch   amqp.Acknowledger
	flow *flow

	mu sync.Mutex // held while a settlement is written: they reach the broker one by one
	// lowest is the lowest tag that is not settled, and settled has those above it
	// that are.
	lowest  uint64
	settled map[uint64]bool
}

var _ broker.Group = (*acks)(nil)

func newAcks(ch amqp.Acknowledger, flow *flow) *acks {
	return &acks{ch: ch, flow: flow, lowest: 1, settled: map[uint64]bool{}}
}

// ack acknowledges one delivery.
func (a *acks) ack(tag uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settle(tag, func() error { return a.ch.Ack(tag, false) })
}

// requeue returns one delivery to its queue.
func (a *acks) requeue(tag uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settle(tag, func() error { return a.ch.Nack(tag, false, true) })
}

// reject has RabbitMQ make one delivery a dead letter. Unlike [delivery.DeadLetter] it
// waits for no confirm, so nothing of the message is kept here meanwhile.
func (a *acks) reject(tag uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settle(tag, func() error { return a.ch.Nack(tag, false, false) })
}

// settle writes the settlement of a delivery. The caller holds the lock.
func (a *acks) settle(tag uint64, write func() error) error {
	a.flow.settled.Add(1)
	if err := write(); err != nil {
		return err // the channel has ended
	}
	a.written(tag)
	return nil
}

// written notes that the settlement of a delivery has been written.
func (a *acks) written(tag uint64) {
	a.settled[tag] = true
	for a.settled[a.lowest] {
		delete(a.settled, a.lowest)
		a.lowest++
	}
}

// ackAll acknowledges deliveries, whose tags are sorted. An acknowledgement of
// several reaches all up to its tag, so there is one only as far as each lower
// tag is among them, or settled before; the others are acknowledged one by one.
func (a *acks) ackAll(tags []uint64) []error {
	a.mu.Lock()
	defer a.mu.Unlock()
	errs := make([]error, len(tags))
	n := a.leading(tags)
	if n > 1 {
		err := a.ch.Ack(tags[n-1], true)
		for i, tag := range tags[:n] {
			a.flow.settled.Add(1)
			if errs[i] = err; err == nil {
				a.written(tag)
			}
		}
	} else {
		n = 0
	}
	for i, tag := range tags[n:] {
		errs[n+i] = a.settle(tag, func() error { return a.ch.Ack(tag, false) })
	}
	return errs
}

// leading returns how many of tags, from the first one, have only each other and
// settled ones below them.
func (a *acks) leading(tags []uint64) int {
	next := a.lowest
	for n, tag := range tags {
		for a.settled[next] {
			next++
		}
		if tag != next {
			return n
		}
		next++
	}
	return len(tags)
}

// AckGroup implements [broker.Group].
func (a *acks) AckGroup(deliveries []broker.Delivery) []error {
	errs := make([]error, len(deliveries))
	var mine []int // indexes of those to acknowledge
	for i, d := range deliveries {
		if d := d.(*delivery); d.settled.CompareAndSwap(false, true) {
			mine = append(mine, i)
		} else {
			errs[i] = d.wrap("acknowledge", errSettled)
		}
	}
	tag := func(i int) uint64 { return deliveries[i].(*delivery).amqp.DeliveryTag }
	slices.SortFunc(mine, func(i, j int) int { return cmp.Compare(tag(i), tag(j)) })
	tags := make([]uint64, len(mine))
	for n, i := range mine {
		tags[n] = tag(i)
	}
	for n, err := range a.ackAll(tags) {
		if err != nil {
			errs[mine[n]] = deliveries[mine[n]].(*delivery).wrap("acknowledge", err)
		}
	}
	return errs
}
