package rabbit

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"pgregory.net/rapid"

	"github.com/taskerhq/tasker/internal/broker"
)

// ackServer is a channel as RabbitMQ sees it.
type ackServer struct {
	closed    bool
	unsettled []uint64 // delivered, in order
	acked     map[uint64]bool
	written   int // frames
}

var errNoChannel = errors.New("the channel has ended")

func (s *ackServer) take(tag uint64, multiple bool) ([]uint64, error) {
	if s.closed {
		return nil, errNoChannel
	}
	s.written++
	if !slices.Contains(s.unsettled, tag) {
		s.closed = true // PRECONDITION_FAILED: unknown delivery tag
		return nil, errNoChannel
	}
	var taken []uint64
	s.unsettled = slices.DeleteFunc(s.unsettled, func(t uint64) bool {
		take := t == tag || multiple && t < tag
		if take {
			taken = append(taken, t)
		}
		return take
	})
	return taken, nil
}

func (s *ackServer) Ack(tag uint64, multiple bool) error {
	taken, err := s.take(tag, multiple)
	for _, t := range taken {
		s.acked[t] = true
	}
	return err
}

func (s *ackServer) Nack(tag uint64, multiple, _ bool) error {
	_, err := s.take(tag, multiple)
	return err
}

func (s *ackServer) Reject(uint64, bool) error { panic("not used") }

// Whatever is delivered, acknowledged alone or together, and requeued: only what
// was to be acknowledged is, and the server is never told of a delivery twice,
// which would end the channel with all its deliveries.
func TestNothingElseIsAcknowledged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &ackServer{acked: map[uint64]bool{}}
		a := newAcks(s, &flow{})
		var held []*delivery // unsettled
		want := map[uint64]bool{}
		delivered := uint64(0)
		choose := func() (chosen []*delivery) {
			for _, d := range held {
				if rapid.IntRange(0, 3).Draw(t, fmt.Sprint("take ", d.amqp.DeliveryTag)) > 0 {
					chosen = append(chosen, d)
				}
			}
			chosen = rapid.Permutation(chosen).Draw(t, "order")
			held = slices.DeleteFunc(held, func(d *delivery) bool { return slices.Contains(chosen, d) })
			return chosen
		}
		t.Repeat(map[string]func(*rapid.T){
			"deliver": func(t *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(t, "messages") {
					delivered++
					s.unsettled = append(s.unsettled, delivered)
					held = append(held, &delivery{amqp: amqp.Delivery{DeliveryTag: delivered}, acks: a})
				}
			},
			"acknowledge several": func(*rapid.T) {
				chosen := choose()
				group := make([]broker.Delivery, len(chosen))
				for i, d := range chosen {
					group[i] = d
					want[d.amqp.DeliveryTag] = true
				}
				if len(group) > 0 {
					group = append(group, group[0])
				}
				for i, err := range broker.AckAll(group) {
					if (err != nil) != (i == len(chosen)) {
						t.Errorf("%d of %d: %v", i, len(group), err)
					}
				}
			},
			"settle one": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				d := held[i]
				held = slices.Delete(held, i, i+1)
				if rapid.Bool().Draw(t, "requeue") {
					if err := d.Requeue(); err != nil {
						t.Error(err)
					}
					return
				}
				want[d.amqp.DeliveryTag] = true
				if err := d.Ack(); err != nil {
					t.Error(err)
				}
			},
			"": func(t *rapid.T) {
				for tag := range s.acked {
					if !want[tag] {
						t.Errorf("%d was acknowledged", tag)
					}
				}
				if len(s.acked) != len(want) || s.closed {
					t.Errorf("%d were acknowledged, want %d; channel closed: %t", len(s.acked), len(want), s.closed)
				}
				if len(s.unsettled) != len(held) {
					t.Errorf("%d unsettled at the server, %d here", len(s.unsettled), len(held))
				}
				if n := len(a.settled); n > int(delivered) || len(held) == 0 && n > 0 {
					t.Errorf("%d tags are remembered", n)
				}
			},
		})
	})
}

// Those that nothing unsettled precedes are acknowledged by one frame.
func TestOneAcknowledgementForMany(t *testing.T) {
	s := &ackServer{acked: map[uint64]bool{}}
	a := newAcks(s, &flow{})
	var all []broker.Delivery
	for tag := uint64(1); tag <= 100; tag++ {
		s.unsettled = append(s.unsettled, tag)
		all = append(all, &delivery{amqp: amqp.Delivery{DeliveryTag: tag}, acks: a})
	}
	broker.AckAll(all[:50])
	if err := all[60].Ack(); err != nil {
		t.Fatal(err)
	}
	broker.AckAll(append(all[50:60:60], all[61:90]...))
	broker.AckAll(all[91:93])
	if s.written != 5 || len(s.acked) != 92 || !slices.Equal(s.unsettled, []uint64{91, 94, 95, 96, 97, 98, 99, 100}) {
		t.Errorf("%d frames, %d acknowledged, unsettled %v", s.written, len(s.acked), s.unsettled)
	}
	s.closed = true
	for _, err := range broker.AckAll(all[93:]) {
		if !errors.Is(err, errNoChannel) {
			t.Errorf("on a channel that has ended: %v", err)
		}
	}
	if a.flow.settled.Load() != 99 {
		t.Errorf("%d counted as settled", a.flow.settled.Load())
	}
}
