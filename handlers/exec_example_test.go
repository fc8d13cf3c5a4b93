//go:build unix

package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/taskerhq/tasker/handlers"
)

// exec binds a task type to a program. A parameter is one argument, whatever is
// in it.
func ExampleNewExec() {
	greet, err := handlers.NewExec(handlers.Settings{
		"command":    []any{"/bin/echo", "hello,", "${name}"},
		"parameters": map[string]any{"name": map[string]any{"required": true, "max_length": 20}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, payload := range []string{`{"name":"$(reboot); *"}`, `{"name":"--help"}`, `{"hostname":"console1"}`} {
		result, err := greet.Handle(context.Background(), &handlers.Request{Payload: json.RawMessage(payload)})
		fmt.Println(string(result), err)
	}
	// Output:
	// "hello, $(reboot); *" <nil>
	//  the parameter "name": it begins with "-", so that the program would take it for an option (allow_dash lets it)
	//  the payload has "hostname", which is no parameter: there are name
}
