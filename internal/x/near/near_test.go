package near_test

import (
	"testing"

	"github.com/taskerhq/tasker/internal/x/near"
)

func TestName(t *testing.T) {
	t.Parallel()
	known := []string{"port", "task-type", "endpoint"}
	for name, want := range map[string]string{"prt": "port", "tasktype": "task-type", "port": "port", "something": "", "": ""} {
		if got := near.Name(name, known); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
