package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
)

// A handler is a function that takes a request and returns one JSON value.
func ExampleFunc() {
	greet := handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		var payload struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(req.Payload, &payload); err != nil {
			return nil, handlers.Permanent(err) // another run would fail as well
		}
		return json.Marshal(map[string]string{"greeting": "hello " + payload.Name})
	})
	result, err := greet.Handle(context.Background(), &handlers.Request{Payload: json.RawMessage(`{"name":"console1"}`)})
	fmt.Println(string(result), err)
	// Output: {"greeting":"hello console1"} <nil>
}

// With types a handler needs no decoding and no encoding; a payload that does
// not fit is a permanent error that says where.
func ExampleTyped() {
	type person struct {
		Name string `json:"name"`
	}
	greet := handlers.Typed(func(_ context.Context, _ *handlers.Request, p person) (string, error) {
		return "hello " + p.Name, nil
	})
	result, err := greet.Handle(context.Background(), &handlers.Request{Payload: json.RawMessage(`{"name":"console1"}`)})
	fmt.Println(string(result), err)
	_, err = greet.Handle(context.Background(), &handlers.Request{Payload: json.RawMessage(`{"Name":"console1"}`)})
	fmt.Println(err, handlers.IsPermanent(err))
	// Output:
	// "hello console1" <nil>
	// the payload has an unknown member "Name": it has name true
}

// A registry says which handler performs the tasks of which type.
func ExampleRegistry() {
	sleep, err := builtin.Catalog().Make("sleep", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := handlers.NewRegistry()
	if err := registry.Register("nap", sleep); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(registry.TaskTypes())
	fmt.Println(registry.Register("nap", sleep))
	// Output:
	// [nap]
	// task type "nap" has a handler already
}

// An error may carry the errnr of the task's result.
func ExampleWithCode() {
	err := handlers.WithCode(32, errors.New("the disk is full"))
	fmt.Println(handlers.Errnr(err), err)
	// Output: 32 the disk is full
}

// A permanent error is not retried, whatever the policy says.
func ExamplePermanent() {
	err := fmt.Errorf("deploy: %w", handlers.Permanent(errors.New("no such release")))
	fmt.Println(handlers.IsPermanent(err), err)
	// Output: true deploy: no such release
}

// A handler that knows when it is worth another try says so.
func ExampleRetryAfter() {
	err := handlers.RetryAfter(90*time.Second, errors.New("the mirror is busy"))
	delay, ok := handlers.RetryDelay(err)
	fmt.Println(delay, ok)
	// Output: 1m30s true
}

// The built-in handlers check their settings when they are made.
func ExampleCatalog() {
	_, err := builtin.Catalog().Make("worker", handlers.Settings{"duration": "soon"})
	fmt.Println(err)
	// Output: handler "worker": setting "duration": "soon" is no duration: give seconds, or text such as 1m30s
}
