package cli

import (
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// A result that waits is shown with its place among those that wait.
func TestResultPosition(t *testing.T) {
	for position, want := range map[int]string{
		0: "web1 RECEIVED\n",
		3: "web1 RECEIVED\nposition 3 of what waits there\n",
	} {
		answer := client.ResultAnswer{Result: tasker.TaskResult{Endpoint: "web1", State: tasker.Received, Position: position}}
		if got := resultText(answer); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
