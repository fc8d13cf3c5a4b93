package tasker_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker"
)

func TestErrors(t *testing.T) {
	t.Parallel()
	wrapped := tasker.WrapError(tasker.Unavailable, io.ErrUnexpectedEOF, "the database does not answer")
	for name, test := range map[string]struct {
		err  error
		code tasker.Code
		text string
	}{
		"plain":        {errors.New("x"), tasker.Internal, "x"},
		"coded":        {tasker.Errorf(tasker.NotFound, "no task %q", "a"), tasker.NotFound, `no task "a"`},
		"of a field":   {tasker.FieldErrorf("/endpoints/1", "is empty"), tasker.Invalid, "is empty"},
		"with a cause": {wrapped, tasker.Unavailable, "the database does not answer: unexpected EOF"},
		"wrapped":      {fmt.Errorf("list: %w", wrapped), tasker.Unavailable, "list: the database does not answer: unexpected EOF"},
		"the outermost counts": {
			tasker.WrapError(tasker.Conflict, wrapped, "taken"), tasker.Conflict,
			"taken: the database does not answer: unexpected EOF",
		},
		"joined": {errors.Join(io.EOF, wrapped), tasker.Unavailable, "EOF\nthe database does not answer: unexpected EOF"},
	} {
		if tasker.CodeOf(test.err) != test.code || test.err.Error() != test.text {
			t.Errorf("%s: got %s: %v", name, tasker.CodeOf(test.err), test.err)
		}
	}
	if tasker.CodeOf(nil) != "" {
		t.Errorf("nil has the code %q", tasker.CodeOf(nil))
	}
	if !errors.Is(wrapped, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if got := tasker.FieldErrorf("/endpoints/1", "x").Field; got != "/endpoints/1" {
		t.Errorf("the field is %q", got)
	}
}

// TestRetryPolicy: there is a delay after every attempt but the last.
func TestRetryPolicy(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p tasker.RetryPolicy
		for _, seconds := range rapid.SliceOfN(rapid.IntRange(0, 1000), 0, 10).Draw(t, "pauses") {
			p.Delays = append(p.Delays, time.Duration(seconds)*time.Second)
		}
		runs := 1
		for {
			delay, again := p.Next(runs, nil)
			if !again {
				break
			}
			if delay != p.Delays[runs-1] {
				t.Fatalf("after run %d: a pause of %s", runs, delay)
			}
			runs++
		}
		if runs != p.MaxAttempts() || runs != len(p.Delays)+1 {
			t.Fatalf("%d runs of at most %d, with %d pauses", runs, p.MaxAttempts(), len(p.Delays))
		}
		outside := rapid.OneOf(rapid.IntRange(-10, 0), rapid.IntRange(runs, runs+10)).Draw(t, "attempt")
		if delay, again := p.Next(outside, nil); again || delay != 0 {
			t.Fatalf("after run %d: %s, %t", outside, delay, again)
		}
	})
}

// TestRetryPolicyJitter: a delay with jitter is the part of it that is drawn.
func TestRetryPolicyJitter(t *testing.T) {
	t.Parallel()
	p := tasker.RetryPolicy{Delays: []time.Duration{time.Minute, time.Hour}, Jitter: true}
	for drawn, want := range map[float64]time.Duration{0: 0, 0.5: 30 * time.Minute, 0.75: 45 * time.Minute} {
		if delay, ok := p.Next(2, func() float64 { return drawn }); delay != want || !ok {
			t.Errorf("drawn %v: got %v, %t, want %v", drawn, delay, ok, want)
		}
	}
	if delay, ok := p.Next(3, nil); delay != 0 || ok {
		t.Errorf("after the last: got %v, %t", delay, ok)
	}
}

func Example() {
	// A task for two endpoints: one has finished, the other was silent until
	// the time was over.
	s := tasker.Summarize([]string{"console1", "console2"}, []tasker.Outcome{
		{Endpoint: "console1", State: tasker.ResultDone},
	})
	fmt.Println(s.Received, s.Missing, tasker.NextStatus(tasker.Sent, s, true))
	// Output: 1 [console2] INCOMPLETE
}
