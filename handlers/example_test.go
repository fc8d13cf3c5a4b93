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

// A handler is a function that takes a request and returns a JSON value.
func ExampleFunc() {
	greet := handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		var payload struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(req.Payload, &payload); err != nil {
			return nil, handlers.Permanent(err) // a retry would fail as well
		}
		return json.Marshal(map[string]string{"greeting": "hello " + payload.Name})
	})
	result, err := greet.Handle(context.Background(), &handlers.Request{Payload: json.RawMessage(`{"name":"console1"}`)})
	fmt.Println(string(result), err)
	// Output: {"greeting":"hello console1"} <nil>
}

// Typed decodes the payload and encodes the result. A payload that does not fit is a
// permanent error that names the place.
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
	// unknown member "Name" in the payload: the members are name true
}

// A registry has the handler of each task type.
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
	// duplicate handler for task type "nap"
}

// An error can have the errnr of the task's result.
func ExampleWithCode() {
	err := handlers.WithCode(32, errors.New("the disk is full"))
	fmt.Println(handlers.Errnr(err), err)
	// Output: 32 the disk is full
}

// A permanent error is never retried.
func ExamplePermanent() {
	err := fmt.Errorf("deploy: %w", handlers.Permanent(errors.New("no such release")))
	fmt.Println(handlers.IsPermanent(err), err)
	// Output: true deploy: no such release
}

// A handler can say when to retry.
func ExampleRetryAfter() {
	err := handlers.RetryAfter(90*time.Second, errors.New("the mirror is busy"))
	delay, ok := handlers.RetryDelay(err)
	fmt.Println(delay, ok)
	// Output: 1m30s true
}

// Handlers check their settings when they are made.
func ExampleCatalog() {
	_, err := builtin.Catalog().Make("worker", handlers.Settings{"duration": "soon"})
	fmt.Println(err)
	// Output: handler "worker": setting "duration": invalid duration "soon": must be seconds, or text such as 1m30s
}
