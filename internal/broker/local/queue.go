package local

import (
	"cmp"
	"slices"

	"github.com/taskerhq/tasker/internal/x/signal"
)

// message is a message in a queue.
type message struct {
	seq         uint64 // its place in the queue
	id          string
	body        []byte
	redelivered bool
}

// queue keeps messages in order and deals them to its consumers in turn. The
// Broker's mutex guards it.
type queue struct {
	seq       uint64
	waiting   []*message
	consumers []*consumer
	turn      int // index of the next consumer to deal to
}

// consumer is one Consume call. It holds a message from the time it is dealt
// until it is settled.
type consumer struct {
	prefetch  int
	inbox     []*message // dealt, not yet delivered
	unsettled map[*message]bool
	wake      signal.Signal // raised when the inbox is not empty
}

func (q *queue) put(id string, body []byte) {
	q.seq++
	q.waiting = append(q.waiting, &message{seq: q.seq, id: id, body: body})
	q.deal()
}

func (q *queue) add(c *consumer) {
	q.consumers = append(q.consumers, c)
	q.deal()
}

// remove removes a consumer: its unsettled messages return in order.
func (q *queue) remove(c *consumer) {
	q.consumers = slices.DeleteFunc(q.consumers, func(other *consumer) bool { return other == c })
	for m := range c.unsettled {
		m.redelivered = true
		q.waiting = append(q.waiting, m)
	}
	q.sort()
	c.inbox, c.unsettled = nil, nil
	q.deal()
}

// settle removes a message from the queue, and reports whether c still held it.
func (q *queue) settle(c *consumer, m *message) bool {
	if !c.unsettled[m] {
		return false
	}
	delete(c.unsettled, m)
	q.deal()
	return true
}

// putBack returns a message to its place, and reports whether c still held it.
func (q *queue) putBack(c *consumer, m *message) bool {
	if !c.unsettled[m] {
		return false
	}
	delete(c.unsettled, m)
	m.redelivered = true
	q.waiting = append(q.waiting, m)
	q.sort()
	q.deal()
	return true
}

func (q *queue) sort() {
	slices.SortFunc(q.waiting, func(a, b *message) int { return cmp.Compare(a.seq, b.seq) })
}

// deal deals waiting messages to the consumers that may hold more, in turn.
func (q *queue) deal() {
	for len(q.waiting) > 0 {
		c := q.next()
		if c == nil {
			return
		}
		m := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		c.unsettled[m] = true
		c.inbox = append(c.inbox, m)
		c.wake.Raise()
	}
}

func (q *queue) next() *consumer {
	for i := range q.consumers {
		at := (q.turn + i) % len(q.consumers)
		if c := q.consumers[at]; len(c.unsettled) < c.prefetch {
			q.turn = at + 1
			return c
		}
	}
	return nil
}

// take returns the next message to deliver, or nil.
func (c *consumer) take() *message {
	if len(c.inbox) == 0 {
		return nil
	}
	m := c.inbox[0]
	c.inbox[0] = nil
	c.inbox = c.inbox[1:]
	return m
}
