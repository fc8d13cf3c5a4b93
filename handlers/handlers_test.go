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
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
)

func request(payload string) *handlers.Request {
	return &handlers.Request{Payload: json.RawMessage(payload)}
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
	if err := r.Register("a", h); err == nil || !strings.Contains(err.Error(), `duplicate handler for task type "a"`) {
		t.Errorf("a second handler: got %v", err)
	}
	if err := r.Register("c", nil); err == nil {
		t.Error("a nil handler was accepted")
	}
	if got := r.TaskTypes(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
	if _, ok := r.Lookup("a"); !ok {
		t.Error("a was not found")
	}
	if _, ok := r.Lookup("c"); ok {
		t.Error("c was found")
	}
}

// TestMarksSurviveWrapping: the marks of an error hold however it is wrapped.
func TestMarksSurviveWrapping(t *testing.T) {
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
	// The database refuses a larger number, and the result would never be stored.
	for errnr, want := range map[int]int{
		5: 5, 0: tasker.ErrnrHandler, -1: tasker.ErrnrHandler, math.MaxInt32: math.MaxInt32, math.MaxInt32 + 1: tasker.ErrnrHandler,
	} {
		if got := handlers.Errnr(handlers.WithCode(errnr, cause)); got != want {
			t.Errorf("errnr %d became %d, want %d", errnr, got, want)
		}
	}
	if handlers.Errnr(nil) != 0 || handlers.Errnr(cause) != tasker.ErrnrHandler {
		t.Error("wrong errnr of nil, or of a plain error")
	}
}
