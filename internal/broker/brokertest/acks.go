package brokertest

import (
	"context"
	"fmt"
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
)

// published publishes messages m0, m1 and so on to a consumer's queue, and
// returns them.
func (c *consumer) published(b broker.Broker, n int) []broker.Delivery {
	c.t.Helper()
	list := make([]broker.Delivery, n)
	for i := range list {
		publish(c.t, b, broker.ToAll(), fmt.Sprint("m", i))
	}
	for i := range list {
		list[i] = c.next()
	}
	return list
}

// ackAll acknowledges deliveries and checks of which that failed.
func ackAll(t *testing.T, deliveries []broker.Delivery, failed ...int) {
	t.Helper()
	errs := broker.AckAll(deliveries)
	if len(errs) != len(deliveries) {
		t.Fatalf("%d errors for %d deliveries", len(errs), len(deliveries))
	}
	want := map[int]bool{}
	for _, i := range failed {
		want[i] = true
	}
	for i, err := range errs {
		if (err != nil) != want[i] {
			t.Errorf("AckAll of %q: %v", deliveries[i].MessageID(), err)
		}
	}
}

// testAckAll: what is acknowledged together does not reach what lies between,
// whatever became of that.
func testAckAll(t *testing.T, h Harness) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c1, c2 := consume(t, h.Broker, console(1), 0), consume(t, h.Broker, console(2), 0)
	d := c1.published(h.Broker, 16)
	other := make([]broker.Delivery, len(d))
	for i := range other {
		other[i] = c2.next()
	}
	ackAll(t, nil)
	ackAll(t, []broker.Delivery{d[0], d[1], other[2]})
	ack(t, d[3])
	if err := d[4].DeadLetter(ctx, "rubbish"); err != nil {
		t.Fatal(err)
	}
	// In any order; 3 and 4 are settled, 7 is not, 0 was before.
	ackAll(t, []broker.Delivery{d[6], other[0], d[2], d[5], d[0], d[8], other[1]}, 4)
	if err := d[9].Requeue(); err != nil {
		t.Fatal(err)
	}
	again := c1.next()
	ackAll(t, []broker.Delivery{d[10], d[7], d[11], d[9], d[13]}, 3)
	if again.MessageID() != "m9" {
		t.Fatalf("delivered %q again, want m9", again.MessageID())
	}
	c1.stop()
	c2.stop()
	ackAll(t, []broker.Delivery{d[12], other[5]}, 0, 1) // too late
	c1, c2 = consume(t, h.Broker, console(1), 0), consume(t, h.Broker, console(2), 0)
	// A queue may forget the place of a message that was requeued.
	left := map[string]bool{"m9": true, "m12": true, "m14": true, "m15": true}
	for range len(left) {
		d := c1.next()
		if !left[d.MessageID()] {
			t.Errorf("delivered %q again", d.MessageID())
		}
		delete(left, d.MessageID())
		ack(t, d)
	}
	for i := 3; i < len(other); i++ {
		c2.want(fmt.Sprint("m", i))
	}
	publish(t, h.Broker, broker.ToAll(), "last")
	c1.want("last")
	c2.want("last")
	if dead := h.DeadLetters(t); len(dead) != 1 || dead[0].MessageID != "m4" {
		t.Errorf("dead letters %+v, want m4", dead)
	}
}

// testStaleAcks: deliveries of a lost channel are not acknowledged, and their
// numbers do not reach those of the next one.
func testStaleAcks(t *testing.T, h Harness) {
	c := consume(t, h.Broker, console(1), 0)
	stale := c.published(h.Broker, 6)
	ackAll(t, stale[:2])
	h.Faults.Cut()
	c.becomes(false)
	h.Faults.Restore()
	c.becomes(true)
	fresh := make([]broker.Delivery, 0, 6)
	for len(fresh) < 4 {
		// The last acknowledgement may have been lost with the connection.
		if d := c.next(); len(fresh) > 0 || d.MessageID() == "m2" {
			fresh = append(fresh, d)
		} else {
			ack(t, d)
		}
	}
	all := []broker.Delivery{stale[2], fresh[1], stale[3], stale[4], fresh[0], stale[5]}
	ackAll(t, all, 0, 2, 3, 5)
	c.stop()
	c = consume(t, h.Broker, console(1), 0)
	for _, id := range []string{"m4", "m5"} {
		c.want(id)
	}
}
