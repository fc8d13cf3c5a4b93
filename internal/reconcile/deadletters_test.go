package reconcile

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
)

func (f *faultyStore) StoreDeadLetter(ctx context.Context, l tasker.DeadLetter) (bool, error) {
	if err := f.enter("StoreDeadLetter"); err != nil {
		return false, err
	}
	stored, err := f.DeadLetters.StoreDeadLetter(ctx, l)
	if failAfter := f.enter("after StoreDeadLetter"); failAfter != nil {
		return false, failAfter
	}
	return stored, err
}

// deadLetter makes dead letters of new messages with these bodies.
func (w *world) deadLetter(bodies ...string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	ready, settled, ended := make(chan bool, 2), make(chan error), make(chan error, 1)
	go func() {
		ended <- w.broker.Consume(ctx, broker.Subscription{
			Queue:   broker.Queue{TaskType: "worker", Endpoint: "console1"},
			Ready:   func(is bool) { ready <- is },
			Deliver: func(d broker.Delivery) { settled <- d.DeadLetter(ctx, "it is rubbish") },
		})
	}()
	<-ready
	for _, body := range bodies {
		if _, err := w.broker.Publish(ctx, broker.Publication{TaskType: "worker", MessageID: "m", Body: []byte(body)}); err != nil {
			w.t.Fatal(err)
		}
		if err := <-settled; err != nil {
			w.t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) deadLetters() []tasker.DeadLetter {
	w.t.Helper()
	letters, err := w.ListDeadLetters(w.t.Context(), tasker.DeadLetterQuery{Limit: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	return letters
}

// gathered waits until the broker has no dead letters left.
func (w *world) gathered() {
	w.t.Helper()
	w.until("the dead letters to be gathered", func() bool { return len(w.broker.DeadLetters()) == 0 })
}

// TestDeadLetters are stored with all details, equal ones too.
func TestDeadLetters(t *testing.T) {
	w := newWorld(t)
	w.start(New(Config{}, w.parts(), w.broker, w.dispatcher(), w.log).Run)
	w.deadLetter("rubbish", "rubbish", "junk")
	w.gathered()
	letters := w.deadLetters()
	if len(letters) != 3 {
		t.Fatalf("%d letters, want 3: %v", len(letters), letters)
	}
	if l := letters[0]; string(l.Body) != "junk" || l.Reason != "it is rubbish" || l.Queue != "tasker.worker.console1" ||
		l.MessageID != "m" || l.Time.IsZero() {
		t.Errorf("the newest is %+v", l)
	}
}

// TestDeadLettersTwice: a process dies after it stored a letter and before it
// acknowledged it; the next one stores no second letter.
func TestDeadLettersTwice(t *testing.T) {
	w := newWorld(t)
	w.deadLetter("rubbish")
	w.fail("after StoreDeadLetter", true)
	ctx, crash := context.WithCancel(t.Context())
	var first sync.WaitGroup
	first.Go(func() { newDeadLetters(w, w.log).run(ctx, w.broker) })
	w.until("the letter to be stored", func() bool { return w.called("after StoreDeadLetter") > 0 })
	crash()
	first.Wait()
	if n := len(w.broker.DeadLetters()); n != 1 {
		t.Fatalf("%d letters are at the broker, want 1", n)
	}
	w.fail("after StoreDeadLetter", false)
	for range 2 { // two of the next processes
		d := newDeadLetters(w, w.log)
		w.start(func(ctx context.Context) { d.run(ctx, w.broker) })
	}
	w.gathered()
	if letters := w.deadLetters(); len(letters) != 1 {
		t.Errorf("it is stored %d times", len(letters))
	}
}

// TestDeadLettersWithoutDatabase stay at the broker, and the log shows when
// that begins and ends, and each letter, briefly.
func TestDeadLettersWithoutDatabase(t *testing.T) {
	w := newWorld(t)
	w.deadLetter("one", "two", "three")
	w.fail("StoreDeadLetter", true)
	var log bytes.Buffer
	d := newDeadLetters(w, slog.New(slog.NewTextHandler(&log, nil)))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { d.run(ctx, w.broker) })
	w.until("four tries", func() bool { return w.called("StoreDeadLetter") >= 4 })
	if n := len(w.broker.DeadLetters()); n != 3 {
		t.Errorf("%d letters are at the broker, want 3", n)
	}
	w.fail("StoreDeadLetter", false)
	w.gathered()
	stop()
	running.Wait()
	if n := len(w.deadLetters()); n != 3 {
		t.Errorf("%d letters are stored, want 3", n)
	}
	told := log.String()
	for text, want := range map[string]int{"dead letter not stored": 1, "stored again": 1, "requeue or discard": 3} {
		if n := strings.Count(told, text); n != want {
			t.Errorf("%d lines with %q, want %d:\n%s", n, text, want, told)
		}
	}
	log.Reset()
	if err := d.handle(t.Context(), broker.DeadLetter{
		ID: "x", Reason: strings.Repeat("r", 100_000),
		Queue: strings.Repeat("q", 100_000),
	}); err != nil {
		t.Fatal(err)
	}
	if log.Len() > 2000 {
		t.Errorf("a line of %d bytes", log.Len())
	}
}

// A letter that the database refuses, or over which the connection breaks, is
// kept truncated and does not hold up the others.
func TestDeadLettersThatAreTooLarge(t *testing.T) {
	for name, refused := range map[string]error{
		"refused":             tasker.Errorf(tasker.TooLarge, "too large"),
		"the connection ends": tasker.Errorf(tasker.Unavailable, "broken pipe"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			parts := w.parts()
			parts.DeadLetters = &narrow{DeadLetters: w, err: refused}
			w.start(New(Config{}, parts, w.broker, w.dispatcher(), w.log).Run)
			large := strings.Repeat("x", 200_000)
			w.deadLetter("before", large, "after")
			w.gathered()
			letters := w.deadLetters()
			if len(letters) != 3 {
				t.Fatalf("%d letters", len(letters))
			}
			for _, l := range letters {
				whole, err := w.FindDeadLetter(t.Context(), l.ID)
				if err != nil {
					t.Fatal(err)
				}
				if whole.Size != int64(len(large)) {
					continue
				}
				if len(whole.Body) == 0 || len(whole.Body) > 100_000 || !strings.HasPrefix(large, string(whole.Body)) {
					t.Errorf("%d bytes are kept", len(whole.Body))
				}
				if err := w.DeleteDeadLetter(t.Context(), l.ID); err != nil {
					t.Error(err)
				}
				return
			}
			t.Error("no letter has the true size")
		})
	}
}

// narrow is a database that refuses large dead letters.
type narrow struct {
	DeadLetters
	err error
}

func (n *narrow) StoreDeadLetter(ctx context.Context, l tasker.DeadLetter) (bool, error) {
	if len(l.Body) > 100_000 {
		return false, n.err
	}
	return n.DeadLetters.StoreDeadLetter(ctx, l)
}
