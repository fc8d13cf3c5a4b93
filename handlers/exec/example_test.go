//go:build unix

package exec_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/exec"
)

// A parameter is one argument of the program, whatever it contains.
func ExampleNew() {
	greet, err := exec.New(handlers.Settings{
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
	//  parameter "name": begins with "-", so the program would read it as an option; set allow_dash to allow it
	//  unknown parameter "hostname": the parameters are name
}
