package client_test

import (
	"context"
	"fmt"
	"log"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

func Example() {
	ctx := context.Background()
	c, err := client.New(devURL, "")
	if err != nil {
		log.Fatal(err)
	}
	_, _, err = c.CreateTask(ctx, "worker", client.NewTask{Identifier: "order-1", Payload: map[string]string{"foo": "bar"}})
	if err != nil {
		log.Fatal(err)
	}
	answer, err := c.Wait(ctx, "worker", "order-1")
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range answer.Results {
		fmt.Println(r.Endpoint, r.State)
	}
	// Output:
	// console1 DONE
	// console2 DONE
}

func ExampleClient_CreateTask() {
	ctx := context.Background()
	c, err := client.New(devURL, "")
	if err != nil {
		log.Fatal(err)
	}
	order := client.NewTask{Identifier: "order-2", Endpoints: []string{"console1"}}
	for range 2 {
		_, created, err := c.CreateTask(ctx, "worker", order)
		fmt.Println(created, err)
	}
	order.Payload = "something else"
	_, _, err = c.CreateTask(ctx, "worker", order)
	fmt.Println(tasker.CodeOf(err))
	// Output:
	// true <nil>
	// false <nil>
	// conflict
}

func ExampleClient_Watch() {
	ctx := context.Background()
	c, err := client.New(devURL, "")
	if err != nil {
		log.Fatal(err)
	}
	if _, _, err := c.CreateTask(ctx, "worker", client.NewTask{Identifier: "order-3"}); err != nil {
		log.Fatal(err)
	}
	for event, err := range c.Watch(ctx, "worker", "order-3") {
		if err != nil {
			log.Fatal(err)
		}
		switch data := event.Data.(type) {
		case *client.TaskAnswer:
			fmt.Println("watching", data.Task.Identifier)
		case *client.EndEvent:
			fmt.Println("ended", data.Status)
		}
	}
	// Output:
	// watching order-3
	// ended DONE
}

func ExampleClient_Endpoints() {
	c, err := client.New(devURL, "")
	if err != nil {
		log.Fatal(err)
	}
	for endpoint, err := range c.Endpoints(context.Background(), "worker") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(endpoint.Name, endpoint.Alive)
	}
	// Output:
	// console1 true
	// console2 true
}

// run is the program of docs/client.md.
func run(ctx context.Context, url, token, identifier string) error {
	c, err := client.New(url, token)
	if err != nil {
		return err
	}
	_, _, err = c.CreateTask(ctx, "worker", client.NewTask{Identifier: identifier, Payload: map[string]string{"foo": "bar"}})
	if err != nil {
		return err
	}
	answer, err := c.Wait(ctx, "worker", identifier)
	if err != nil {
		return err
	}
	if answer.Task.Status != tasker.Done {
		return fmt.Errorf("%s at %d of %d endpoints", answer.Task.Status, answer.Summary.Failed, answer.Summary.Expected)
	}
	return nil
}

func ExampleClient_Wait() {
	err := run(context.Background(), devURL, "", "order-4")
	switch tasker.CodeOf(err) {
	case tasker.Conflict: // the identifier belongs to another task
	case tasker.Invalid: // the message names the field
	case tasker.Unavailable: // try again later: a repeated call creates no second task
	}
	fmt.Println(err)
	// Output:
	// <nil>
}

func ExampleClient_Drain() {
	ctx := context.Background()
	c, err := client.New(devURL, "")
	if err != nil {
		log.Fatal(err)
	}
	drained, err := c.Drain(ctx, "console2", client.Pause{Reason: "new disk", Until: "2h"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(drained.Hold.Reason, drained.Hold.Until.Sub(drained.Hold.At))
	resumed, err := c.ResumeEndpoint(ctx, "console2")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resumed.Changed)
	// Output:
	// new disk 2h0m0s
	// true
}
