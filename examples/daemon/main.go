// The daemon example is a tasker with its own handler, "greet", in addition to the
// built-in ones. It has all of tasker's commands: see "daemon --help".
package main

import (
	"context"
	"errors"
	"log"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
)

func main() {
	catalog := builtin.Catalog()
	if err := catalog.Add("greet", newGreet); err != nil {
		log.Fatal(err)
	}
	cli.Main(catalog, "")
}

type person struct {
	Name string `json:"name"`
}

type greeting struct {
	Text string `json:"text"`
}

// newGreet makes the handler from the settings of a task type.
func newGreet(settings handlers.Settings) (handlers.Handler, error) {
	conf := struct {
		Word string `json:"word"`
	}{"hello"}
	if err := settings.Decode(&conf); err != nil {
		return nil, err
	}
	return handlers.Typed(func(ctx context.Context, req *handlers.Request, who person) (greeting, error) {
		if who.Name == "" {
			return greeting{}, handlers.Permanent(errors.New("missing name")) // a retry would fail as well
		}
		req.Log.InfoContext(ctx, "greeting", "name", who.Name)
		req.Progress(1, 1, "greeted")
		return greeting{conf.Word + " " + who.Name + ", says " + req.Endpoint}, nil
	}), nil
}
