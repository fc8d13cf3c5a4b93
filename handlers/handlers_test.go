package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
)

func newHandler(t *testing.T, name string, settings handlers.Settings) handlers.Handler {
	t.Helper()
	h, err := builtin.Catalog().Make(name, settings)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func request(payload string) *handlers.Request {
	return &handlers.Request{Payload: json.RawMessage(payload)}
}

// TestBuiltinsTakeTheirTime runs in a bubble, whose clock jumps: it measures
// without waiting.
func TestBuiltinsTakeTheirTime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler  string
		settings handlers.Settings
		payload  string
		want     time.Duration
		result   string
		errnr    int
		errmsg   string
	}{
		"worker":                 {"worker", nil, "null", 20 * time.Second, `{"yeah":1234123,"yiya":"yippie"}`, 0, ""},
		"worker in seconds":      {"worker", handlers.Settings{"duration": 3}, `{"foo":"bar"}`, 3 * time.Second, `{"yeah":1234123,"yiya":"yippie"}`, 0, ""},
		"worker in fractions":    {"worker", handlers.Settings{"duration": 0.25}, "null", 250 * time.Millisecond, `{"yeah":1234123,"yiya":"yippie"}`, 0, ""},
		"worker at once":         {"worker", handlers.Settings{"duration": 0}, "null", 0, `{"yeah":1234123,"yiya":"yippie"}`, 0, ""},
		"backup":                 {"backup", nil, "null", 5 * time.Second, "", 32, "could not backup!"},
		"backup, as text":        {"backup", handlers.Settings{"duration": "1m30s"}, "null", 90 * time.Second, "", 32, "could not backup!"},
		"backup, as a duration":  {"backup", handlers.Settings{"duration": 60.0}, "null", time.Minute, "", 32, "could not backup!"},
		"sleep":                  {"sleep", nil, `{"seconds": 0.5}`, 500 * time.Millisecond, `{"seconds":0.5}`, 0, ""},
		"sleep not at all":       {"sleep", nil, `{"seconds": 0}`, 0, `{"seconds":0}`, 0, ""},
		"sleep for a whole year": {"sleep", nil, `{"seconds": 3.1536e7}`, 365 * 24 * time.Hour, `{"seconds":31536000}`, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHandler(t, test.handler, test.settings)
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				result, err := h.Handle(t.Context(), request(test.payload))
				if took := time.Since(start); took != test.want {
					t.Errorf("it took %s, want %s", took, test.want)
				}
				if string(result) != test.result || handlers.Errnr(err) != test.errnr || err != nil && err.Error() != test.errmsg {
					t.Errorf("got %s, errnr %d, %v", result, handlers.Errnr(err), err)
				}
			})
		})
	}
}

func TestBuiltinsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"worker", "backup", "sleep"} {
		for _, cause := range []error{handlers.ErrTimeout, handlers.ErrCanceled, handlers.ErrShutdown} {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(cause)
			result, err := newHandler(t, name, nil).Handle(ctx, request(`{"seconds": 3600}`))
			if !errors.Is(err, cause) || result != nil {
				t.Errorf("%s: got %s, %v; want %v", name, result, err, cause)
			}
		}
	}
}

func TestSleepRefusesPayloads(t *testing.T) {
	t.Parallel()
	h := newHandler(t, "sleep", nil)
	for _, payload := range []string{
		"null", "{}", `{"seconds": null}`, `{"seconds": "1"}`, `{"seconds": -0.1}`, `{"seconds": 1e300}`, `{"seconds": 1e999}`,
		`{"seconds": 1, "more": 2}`, "[]", "5", "", "{",
	} {
		result, err := h.Handle(t.Context(), request(payload))
		if err == nil || result != nil || !handlers.IsPermanent(err) || handlers.Errnr(err) != tasker.ErrnrHandler {
			t.Errorf("%s: got %s, %v; want a permanent error", payload, result, err)
		}
	}
}

func TestNewBuiltinRefuses(t *testing.T) {
	t.Parallel()
	for want, test := range map[string]struct {
		name     string
		settings handlers.Settings
	}{
		`there is no handler "nope"; there are ` + strings.Join(builtin.Catalog().Names(), ", "):           {"nope", nil},
		`handler "worker": unknown setting "duratoin": it has duration`:                                    {"worker", handlers.Settings{"duration": 1, "duratoin": 1}},
		`handler "sleep": unknown setting "duration": it has no settings`:                                  {"sleep", handlers.Settings{"duration": 1}},
		`handler "backup": setting "duration": "soon" is no duration: give seconds, or text such as 1m30s`: {"backup", handlers.Settings{"duration": "soon"}},
		`handler "backup": setting "duration": true is no duration: give seconds, or text such as 1m30s`:   {"backup", handlers.Settings{"duration": true}},
		`handler "worker": setting "duration": -1 is negative: give a duration of 0 and more`:              {"worker", handlers.Settings{"duration": -1}},
	} {
		if h, err := builtin.Catalog().Make(test.name, test.settings); h != nil || err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	r := handlers.NewRegistry()
	h := handlers.Func(func(context.Context, *handlers.Request) (handlers.Result, error) { return nil, nil })
	if err := r.Register("b", h); err != nil {
		t.Fatal(err)
	}
	if err := r.Register("a", h); err != nil {
		t.Fatal(err)
	}
	if err := r.Register("a", h); err == nil || !strings.Contains(err.Error(), `"a" has a handler already`) {
		t.Errorf("a second handler: got %v", err)
	}
	if err := r.Register("c", nil); err == nil {
		t.Error("a nil handler was taken")
	}
	if got := r.TaskTypes(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
	if _, ok := r.Lookup("a"); !ok {
		t.Error("a is not found")
	}
	if _, ok := r.Lookup("c"); ok {
		t.Error("c is found")
	}
}

// TestMarksAreKeptByWrapping: what a handler says of an error holds however
// the error is wrapped.
func TestMarksAreKeptByWrapping(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	err := fmt.Errorf("outer: %w", handlers.Permanent(handlers.RetryAfter(time.Minute, handlers.WithCode(7, cause))))
	if !handlers.IsPermanent(err) || handlers.Errnr(err) != 7 || !errors.Is(err, cause) || err.Error() != "outer: cause" {
		t.Errorf("got %v, %d", err, handlers.Errnr(err))
	}
	if d, ok := handlers.RetryDelay(err); !ok || d != time.Minute {
		t.Errorf("got %s, %t", d, ok)
	}
	if _, ok := handlers.RetryDelay(cause); ok || handlers.IsPermanent(cause) {
		t.Error("a plain error is marked")
	}
	for name, marked := range map[string]error{
		"Permanent": handlers.Permanent(nil), "RetryAfter": handlers.RetryAfter(1, nil), "WithCode": handlers.WithCode(1, nil),
	} {
		if marked != nil {
			t.Errorf("%s(nil) is %v", name, marked)
		}
	}
	// A greater one the database refuses, and the result would never be stored.
	for errnr, want := range map[int]int{
		5: 5, 0: tasker.ErrnrHandler, -1: tasker.ErrnrHandler, math.MaxInt32: math.MaxInt32, math.MaxInt32 + 1: tasker.ErrnrHandler,
	} {
		if got := handlers.Errnr(handlers.WithCode(errnr, cause)); got != want {
			t.Errorf("errnr %d became %d, want %d", errnr, got, want)
		}
	}
	if handlers.Errnr(nil) != 0 || handlers.Errnr(cause) != tasker.ErrnrHandler {
		t.Error("wrong errnr of no error, or of a plain one")
	}
}
