package brokertest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
)

// collector is a running ConsumeDeadLetters call.
type collector struct {
	t       *testing.T
	letters chan broker.DeadLetter
	verdict chan error // of each letter, in turn
	cancel  context.CancelFunc
	done    chan error
}

// collect starts consuming dead letters, until the test ends.
func collect(t *testing.T, b broker.Broker) *collector {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	u := &collector{
		t: t, letters: make(chan broker.DeadLetter), verdict: make(chan error), cancel: cancel, done: make(chan error, 1),
	}
	go func() {
		u.done <- b.ConsumeDeadLetters(ctx, func(ctx context.Context, letter broker.DeadLetter) error {
			select {
			case u.letters <- letter:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case err := <-u.verdict:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-u.done; err != nil {
			t.Logf("ConsumeDeadLetters returned %v", err)
		}
	})
	return u
}

// handle takes the next letter, and settles it with err.
func (u *collector) handle(err error) broker.DeadLetter {
	u.t.Helper()
	letter := receive(u.t, u.letters, "a dead letter")
	u.verdict <- err
	return letter
}

// stop ends it, and waits for that.
func (u *collector) stop() {
	u.t.Helper()
	u.cancel()
	if err := receive(u.t, u.done, "ConsumeDeadLetters to end"); err != nil {
		u.t.Fatalf("ConsumeDeadLetters returned %v, want nil when its context ends", err)
	}
	u.done <- nil // for the cleanup
}

// kill makes dead letters of new messages with these ids, with the reason
// "rubbish <id>".
func kill(t *testing.T, h Harness, ids ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := consume(t, h.Broker, console(1), 0)
	for _, id := range ids {
		publish(t, h.Broker, broker.To("console1"), id)
		if err := c.next().DeadLetter(ctx, "rubbish "+id); err != nil {
			t.Fatal(err)
		}
	}
	c.stop()
}

// noneLeft checks that all dead letters are gone, for good.
func noneLeft(t *testing.T, h Harness) {
	t.Helper()
	if dead := h.DeadLetters(t); len(dead) > 0 {
		t.Errorf("%d dead letters are left: %v", len(dead), dead)
	}
}

func testConsumeDeadLetters(t *testing.T, h Harness) {
	u := collect(t, h.Broker) // before there is one
	ids := []string{"a", "b", "b"}
	kill(t, h, ids...)
	seen := make(map[string]bool)
	for _, id := range ids {
		letter := u.handle(nil)
		if letter.Queue != console(1).Name() || letter.Reason != "rubbish "+id || letter.MessageID != id ||
			string(letter.Body) != `{"id":"`+id+`"}` || letter.Time.IsZero() || letter.Redelivered {
			t.Errorf("letter %+v with body %s, want that of %s", letter, letter.Body, id)
		}
		if letter.ID == "" || seen[letter.ID] {
			t.Errorf("letter %s has ID %q, want one of its own", id, letter.ID)
		}
		seen[letter.ID] = true
	}
	kill(t, h, "c")
	if letter := u.handle(nil); letter.MessageID != "c" {
		t.Errorf("letter %+v, want that of c", letter)
	}
	u.stop()
	noneLeft(t, h)
}

// A letter that fails comes again, unchanged, and does not block the others.
func testFailingDeadLetter(t *testing.T, h Harness) {
	kill(t, h, "bad", "good")
	u := collect(t, h.Broker)
	bad := u.handle(errors.New("not now"))
	if good := u.handle(nil); good.MessageID != "good" {
		t.Fatalf("%q comes after the failed one, want good", good.MessageID)
	}
	for range 2 {
		again := u.handle(errors.New("still not"))
		if again.ID != bad.ID || again.Reason != bad.Reason || again.Queue != bad.Queue || again.MessageID != bad.MessageID ||
			string(again.Body) != string(bad.Body) || !again.Time.Equal(bad.Time) {
			t.Fatalf("it came again as %+v, was %+v", again, bad)
		}
	}
	if last := u.handle(nil); last.ID != bad.ID {
		t.Errorf("letter %+v, want %+v", last, bad)
	}
	u.stop()
	noneLeft(t, h)
}

// A letter whose handling did not end comes again, unchanged.
func testUnsettledDeadLetter(t *testing.T, h Harness) {
	kill(t, h, "a")
	u := collect(t, h.Broker)
	letter := receive(t, u.letters, "a dead letter")
	u.stop()
	u = collect(t, h.Broker)
	again := u.handle(nil)
	if again.ID != letter.ID || !again.Redelivered {
		t.Errorf("it came again as %+v, was %+v", again, letter)
	}
	u.stop()
	noneLeft(t, h)
}

func testSharedDeadLetters(t *testing.T, h Harness) {
	const count = 40
	var ids []string
	for i := range count {
		ids = append(ids, fmt.Sprint(i))
	}
	first, second := collect(t, h.Broker), collect(t, h.Broker)
	kill(t, h, ids...)
	seen := make(map[string]bool)
	for range count {
		var letter broker.DeadLetter
		select {
		case letter = <-first.letters:
			first.verdict <- nil
		case letter = <-second.letters:
			second.verdict <- nil
		}
		if seen[letter.ID] {
			t.Errorf("letter %+v came twice", letter)
		}
		seen[letter.ID] = true
	}
	first.stop()
	second.stop()
	noneLeft(t, h)
}

// Messages that foreign clients publish to the dead letters have no header.
// They are kept all the same, equal ones as two.
func testForeignDeadLetters(t *testing.T, h Harness) {
	if h.PublishDead == nil {
		return // no foreign client reaches this broker
	}
	if err := h.Broker.Declare(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := "\xff\x00 rubbish"
	u := collect(t, h.Broker)
	for range 2 {
		h.PublishDead(t, []byte(body))
	}
	one, two := u.handle(nil), u.handle(nil)
	for _, letter := range []broker.DeadLetter{one, two} {
		if string(letter.Body) != body || letter.Queue != "" || letter.Reason != "" || letter.MessageID != "" || letter.ID == "" {
			t.Errorf("letter %+v with body %q", letter, letter.Body)
		}
	}
	if one.ID == two.ID {
		t.Errorf("two letters have ID %s", one.ID)
	}
	u.stop()
	noneLeft(t, h)
}

// Letters survive cuts, and deleting the queue costs no more than its content.
func testDeadLettersUnderFaults(t *testing.T, h Harness) {
	kill(t, h, "a", "b")
	u := collect(t, h.Broker)
	a := receive(t, u.letters, "a dead letter")
	h.Faults.Cut()
	u.verdict <- nil // too late for the broker: it comes again
	h.Faults.Restore()
	seen := map[string]bool{}
	for !seen["b"] || !seen["a"] {
		letter := u.handle(nil)
		seen[letter.MessageID] = true
		if letter.MessageID == "a" && letter.ID != a.ID {
			t.Errorf("a came again as another letter: %+v, was %+v", letter, a)
		}
	}
	for i, remove := range []func(){
		func() {
			h.Faults.DeleteQueue(t, broker.DeadQueue)
			// By the consumer alone: RabbitMQ does not tell the consumer of a
			// quorum queue that it is gone if somebody else creates it first.
			eventually(t, "the queue is created again", func() bool {
				select {
				case <-u.letters: // once more, as its acknowledgement was lost
					u.verdict <- nil
				default:
				}
				return h.Faults.HasQueue(t, broker.DeadQueue)
			})
		},
		func() { h.Faults.DeleteExchange(t, broker.DeadExchange) },
	} {
		remove()
		id := fmt.Sprint(i)
		kill(t, h, id)
		for u.handle(nil).MessageID != id { // others may come once more
		}
	}
}

func testDeadLettersClosed(t *testing.T, h Harness) {
	u := collect(t, h.Broker)
	kill(t, h, "a")
	u.handle(nil)
	if err := h.Broker.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, receive(t, u.done, "ConsumeDeadLetters to end"), broker.ErrClosed)
	u.done <- nil
	wantError(t, h.Broker.ConsumeDeadLetters(t.Context(), nil), broker.ErrClosed)
}
