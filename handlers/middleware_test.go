package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
	"github.com/taskerhq/tasker/handlers/sleep"
)

// noting is middleware that notes when it is entered and left, and forwards Handle
// only.
func noting(notes *[]string, name string) handlers.Middleware {
	return func(next handlers.Handler) handlers.Handler {
		return handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
			*notes = append(*notes, name+" in")
			defer func() { *notes = append(*notes, name+" out") }()
			return next.Handle(ctx, req)
		})
	}
}

// full is a handler with optional interfaces.
type full struct {
	notes *[]string
	err   error
}

func (f *full) Handle(context.Context, *handlers.Request) (handlers.Result, error) {
	*f.notes = append(*f.notes, "handle")
	return handlers.Result("1"), nil
}

func (f *full) Check() error { return f.err }

func (f *full) Describe() handlers.Description {
	return handlers.Description{Description: "everything"}
}

func (f *full) Close() error {
	*f.notes = append(*f.notes, "close")
	return f.err
}

// closing is middleware that is a closer, and has an Unwrap method.
type closing struct {
	handlers.Handler
	notes *[]string
}

func (c closing) Unwrap() handlers.Handler { return c.Handler }

func (c closing) Close() error {
	*c.notes = append(*c.notes, "close outer")
	return errors.New("outer")
}

func run(t *testing.T, h handlers.Handler) {
	t.Helper()
	if result, err := h.Handle(t.Context(), request("null")); string(result) != "1" || err != nil {
		t.Errorf("got %s, %v", result, err)
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	var notes []string
	inner := &full{notes: &notes}
	if handlers.Wrap(inner) != handlers.Handler(inner) {
		t.Error("without middleware it is another handler")
	}
	run(t, handlers.Wrap(inner, noting(&notes, "a"), noting(&notes, "b")))
	if want := []string{"a in", "b in", "handle", "b out", "a out"}; !slices.Equal(notes, want) {
		t.Errorf("got %q", notes)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	var notes []string
	errHere := errors.New("no program")
	inner := &full{notes: &notes, err: errHere}
	for name, h := range map[string]handlers.Handler{
		"bare":      inner,
		"wrapped":   handlers.Wrap(inner, noting(&notes, "a"), noting(&notes, "b")),
		"unwrapped": closing{inner, &notes},
		"both":      handlers.Wrap(closing{handlers.Wrap(inner, noting(&notes, "a")), &notes}, noting(&notes, "b")),
		"mixed": handlers.Wrap(inner, noting(&notes, "a"), func(next handlers.Handler) handlers.Handler {
			return closing{next, &notes}
		}),
	} {
		checker, ok := handlers.Find[handlers.Checker](h)
		if !ok || !errors.Is(checker.Check(), errHere) {
			t.Errorf("%s: the checker is not found", name)
		}
		describer, ok := handlers.Find[handlers.Describer](h)
		if !ok || describer.Describe().Description != "everything" {
			t.Errorf("%s: the describer is not found", name)
		}
	}
	outer := handlers.Described(inner, handlers.Description{Description: "outer"})
	if d, ok := handlers.Find[handlers.Describer](handlers.Wrap(outer, noting(&notes, "a"))); !ok || d.Describe().Description != "outer" {
		t.Error("the outermost describer is not preferred")
	}
	if _, ok := handlers.Find[handlers.Checker](outer); !ok {
		t.Error("a description hides the checker")
	}
	run(t, outer)
	plain := handlers.Wrap(handlers.Func(nil), noting(&notes, "a"))
	if _, ok := handlers.Find[handlers.Checker](plain); ok {
		t.Error("a checker was found where none is")
	}
	if _, ok := handlers.Find[handlers.Checker](nil); ok {
		t.Error("a checker was found in nil")
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	var notes []string
	errHere := errors.New("inner")
	h := handlers.Wrap(closing{&full{notes: &notes, err: errHere}, &notes}, noting(&notes, "a"))
	if err := handlers.Close(h); err == nil || err.Error() != "outer\ninner" || !errors.Is(err, errHere) {
		t.Errorf("got %v", err)
	}
	if want := []string{"close outer", "close"}; !slices.Equal(notes, want) {
		t.Errorf("got %q, want %q", notes, want)
	}
	if err := handlers.Close(handlers.Func(nil)); err != nil {
		t.Errorf("without a closer: got %v", err)
	}
}

func TestRegistryUse(t *testing.T) {
	t.Parallel()
	var notes []string
	r := handlers.NewRegistry()
	shared := &full{notes: &notes}
	register := func(taskType string, h handlers.Handler) {
		if err := r.Register(taskType, h); err != nil {
			t.Fatal(err)
		}
	}
	register("before", shared)
	r.Use(noting(&notes, "a"))
	register("between", handlers.Wrap(shared, noting(&notes, "own")))
	r.Use(noting(&notes, "b"), noting(&notes, "c"))
	register("after", &full{notes: &notes, err: errors.New("broken")})
	for taskType, want := range map[string][]string{
		"before":  {"a in", "b in", "c in", "handle", "c out", "b out", "a out"},
		"between": {"a in", "b in", "c in", "own in", "handle", "own out", "c out", "b out", "a out"},
		"after":   {"a in", "b in", "c in", "handle", "c out", "b out", "a out"},
	} {
		notes = nil
		h, _ := r.Lookup(taskType)
		if run(t, h); !slices.Equal(notes, want) {
			t.Errorf("%s: got %q", taskType, notes)
		}
	}
	notes = nil
	if err := r.Close(); err == nil || err.Error() != "broken" {
		t.Errorf("got %v", err)
	}
	if want := []string{"close", "close"}; !slices.Equal(notes, want) {
		t.Errorf("closed: got %q, want each handler once", notes)
	}
}

func TestCatalogUse(t *testing.T) {
	t.Parallel()
	var notes []string
	c := builtin.Catalog()
	if err := c.Add("full", func(handlers.Settings) (handlers.Handler, error) { return &full{notes: &notes}, nil }); err != nil {
		t.Fatal(err)
	}
	c.Use(noting(&notes, "a"))
	h, err := c.Make("full", nil)
	if err != nil {
		t.Fatal(err)
	}
	if run(t, h); !slices.Equal(notes, []string{"a in", "handle", "a out"}) {
		t.Errorf("got %q", notes)
	}
	for want, add := range map[string]func() error{
		"missing name of a handler":       func() error { return c.Add("", sleep.New) },
		`handler "x": the factory is nil`: func() error { return c.Add("x", nil) },
		`duplicate handler "sleep"`:       func() error { return c.Add("sleep", sleep.New) },
		`handler "none": the factory returned nil`: func() error {
			if err := c.Add("none", func(handlers.Settings) (handlers.Handler, error) { return nil, nil }); err != nil {
				return err
			}
			_, err := c.Make("none", nil)
			return err
		},
	} {
		if err := add(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Middleware runs code around every run; here it prints how runs end.
func ExampleWrap() {
	report := func(next handlers.Handler) handlers.Handler {
		return handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
			result, err := next.Handle(ctx, req)
			fmt.Println(req.Identifier, "ended:", err)
			return result, err
		})
	}
	fails := handlers.Func(func(context.Context, *handlers.Request) (handlers.Result, error) {
		return nil, errors.New("no such release")
	})
	_, _ = handlers.Wrap(fails, report).Handle(context.Background(), &handlers.Request{Identifier: "deploy-7"})
	// Output: deploy-7 ended: no such release
}
