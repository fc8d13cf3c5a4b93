package handlers_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/taskerhq/tasker/handlers"
)

// greet says hello to the person in the payload, {"name": "Ada"}.
func greet(_ context.Context, req *handlers.Request, who person) (string, error) {
	if who.Name == "" {
		return "", handlers.Permanent(errors.New("missing name")) // a retry would fail as well
	}
	return "hello " + who.Name + ", says " + req.Endpoint, nil
}

type person struct {
	Name string `json:"name"`
}

func newGreet(handlers.Settings) (handlers.Handler, error) { return handlers.Typed(greet), nil }

func Example() {
	h, err := newGreet(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := h.Handle(context.Background(), &handlers.Request{Endpoint: "console1", Payload: []byte(`{"name":"Ada"}`)})
	fmt.Println(string(result), err)
	// Output: "hello Ada, says console1" <nil>
}
