package rabbit

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestNewChecksItsConfig(t *testing.T) {
	const good = "amqp://tasker:s3cret@127.0.0.1:5672/tasker"
	tests := []struct {
		name string
		cfg  Config
		want string // in the error; empty if there is none
	}{
		{"no URI", Config{}, "no URIs"},
		{"scheme", Config{URIs: []string{good, "http://tasker:s3cret@host"}}, "URI 2"},
		{"slash in the password", Config{URIs: []string{"amqp://tasker:s3cret/s3cret@host"}}, "percent-encoded"},
		{"percent in the password", Config{URIs: []string{"amqp://tasker:s3cret%zz@host"}}, "percent-encoded"},
		{"space", Config{URIs: []string{"amqp://tasker:s3cret @host"}}, "URI 1"},
		{"heartbeat in the URI", Config{URIs: []string{good + "?heartbeat=often"}}, "heartbeat"},
		{"queue type", Config{URIs: []string{good}, QueueType: "stream"}, `queue type "stream"`},
		{"expiry too long", Config{URIs: []string{good}, QueueExpires: 50 * 24 * time.Hour}, "expiry"},
		{"negative expiry", Config{URIs: []string{good}, QueueExpires: -1}, "expiry"},
		{"heartbeat", Config{URIs: []string{good}, Heartbeat: time.Millisecond}, "heartbeat"},
		{"good", Config{URIs: []string{good}}, ""},
		{"all of it", Config{
			URIs: []string{good, "amqps://[::1]"}, QueueType: "quorum", QueueExpires: time.Hour, Heartbeat: time.Minute,
			ConnectionName: "x",
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := New(test.cfg, slog.New(slog.DiscardHandler))
			if err == nil {
				err = errors.Join(b.Close(), b.Close())
			}
			switch {
			case test.want == "" && err != nil:
				t.Errorf("error %q, want none", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want one with %q", err, test.want)
			case err != nil && strings.Contains(err.Error(), "s3cret"):
				t.Errorf("error %q shows the password", err)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	given := Config{URIs: []string{"amqp://u:p@h"}}
	cfg, addresses, err := given.normalize()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.QueueType != "classic" || cfg.QueueExpires != 7*24*time.Hour || cfg.Heartbeat != 10*time.Second || cfg.ConnectionName == "" {
		t.Errorf("defaults %+v", cfg)
	}
	if want := "amqp://u@h:5672/"; addresses[0].shown != want {
		t.Errorf("shown as %s, want %s", addresses[0].shown, want)
	}
	if given.QueueType != "" {
		t.Error("the config given was changed")
	}
}

// A moment of success does not start the backoff over, a longer time does.
func TestRetry(t *testing.T) {
	r := newRetry()
	for range 30 {
		r.Next()
	}
	grown := r
	r.worked(time.Now())
	if r != grown {
		t.Error("it started over after no time")
	}
	if r.worked(time.Now().Add(-time.Minute)); r == grown {
		t.Error("it did not start over")
	}
}

func TestRefused(t *testing.T) {
	because := func(code int, reason string) error { return &amqp.Error{Code: code, Reason: reason, Server: true} }
	server := func(code int) error { return because(code, "said so") }
	for _, test := range []struct {
		err  error
		want bool
		hint string
	}{
		{because(amqp.PreconditionFailed, "PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue 'q'"), true, "delete it"},
		{because(amqp.PreconditionFailed, "PRECONDITION_FAILED - unknown delivery tag 7"), true, "tag 7"},
		{server(amqp.AccessRefused), true, "permission"},
		{server(amqp.NotFound), true, ""},
		{server(amqp.ConnectionForced), false, ""},
		{amqp.ErrClosed, false, ""},
		{errors.New("EOF"), false, ""},
	} {
		if got := limitOf(test.err); got != 0 {
			t.Errorf("limitOf(%v) is %d", test.err, got)
		}
		if got := refused(test.err); got != test.want {
			t.Errorf("refused(%v) is %t", test.err, got)
		}
		if got := explain(test.err); !errors.Is(got, test.err) || !strings.Contains(got.Error(), test.hint) {
			t.Errorf("explain(%v) is %q, want it with %q", test.err, got, test.hint)
		}
	}
}

func TestLimitOf(t *testing.T) {
	for reason, want := range map[string]int{
		"PRECONDITION_FAILED - message size 20000 is larger than configured max size 10000": 10000,
		"PRECONDITION_FAILED - message size 999999999 is larger than max size 536870912":    536870912,
		"PRECONDITION_FAILED - message size 20000 is odd":                                   0,
	} {
		err := refusal(&amqp.Error{Code: amqp.PreconditionFailed, Reason: reason, Server: true})
		if got := limitOf(err); got != want {
			t.Errorf("limitOf(%v) is %d, want %d", err, got, want)
		}
	}
}

func TestJob(t *testing.T) {
	j := newJob(t.Context(), "x", []string{"a", "b", "c", "d"}, amqp.Publishing{MessageId: "m"})
	j.settle("b", true, nil)
	j.settle("a", false, nil)
	select {
	case <-j.done:
		t.Fatal("done with half of its keys")
	default:
	}
	j.fail(2, errLost)
	<-j.done
	if j.err != nil || !slices.Equal(j.returned, []string{"b"}) || !slices.Equal(j.lost, []string{"c", "d"}) {
		t.Errorf("error %v, returned %q, lost %q", j.err, j.returned, j.lost)
	}
	next := j.next()
	if !slices.Equal(next.keys, j.lost) || next.apart || next.anew || next.exchange != "x" || next.message.MessageId != "m" || next.open != 2 {
		t.Errorf("again: %+v", next)
	}
	next.settle("c", false, errNack)
	next.settle("d", false, nil)
	<-next.done
	if next.err != nil || len(next.lost) > 0 || !slices.Equal(next.nacked, []string{"c"}) {
		t.Errorf("error %v, lost %q, nacked %q; a nack is no loss", next.err, next.lost, next.nacked)
	}
	last := next.next()
	last.settle("c", false, errSuspect)
	<-last.done
	if apart := last.next(); !slices.Equal(apart.keys, []string{"c"}) || !apart.apart || !apart.anew {
		t.Errorf("what is under suspicion goes on as %+v", apart)
	}
	if done := newJob(t.Context(), "x", nil, amqp.Publishing{}).next(); done != nil {
		t.Errorf("nothing is left, and it goes on as %+v", done)
	}
}

// Of many consumers that begin at once, each waits for its own declaration only, and
// none is taken for one that RabbitMQ does not answer.
func TestDeclarationsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink("test", Config{AnswerTimeout: time.Second}, nil, newGroup(), slog.New(slog.DiscardHandler))
		defer l.group.close()
		var now, most atomic.Int64
		var all sync.WaitGroup
		for range 20 * maxCalls {
			all.Go(func() {
				_, err := callWithTimeout(t.Context(), l, nil, func() (struct{}, error) {
					most.Store(max(most.Load(), now.Add(1)))
					time.Sleep(900 * time.Millisecond)
					now.Add(-1)
					return struct{}{}, nil
				}, func(struct{}) {})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := most.Load(); n != maxCalls {
			t.Errorf("%d declarations at once, want %d", n, maxCalls)
		}
		// Whoever gives up gives up its turn.
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 * maxCalls {
			_, err := callWithTimeout(ended, l, nil, func() (struct{}, error) {
				<-l.group.ctx.Done()
				return struct{}{}, nil
			}, func(struct{}) {})
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if len(l.calls) != 0 {
			t.Errorf("%d turns are left taken", len(l.calls))
		}
	})
}
