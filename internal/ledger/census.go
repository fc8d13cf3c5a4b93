package ledger

import (
	"time"

	"github.com/taskerhq/tasker"
)

// Census is what the database has at one time, counted.
type Census struct {
	// Open are the tasks that have not ended, by type and status. What has none is
	// left out.
	Open []OpenTasks
	// Seen and Silent are numbers of registered endpoints.
	Seen, Silent int
	DeadLetters  int
	// Drained counts the endpoints that are drained, and the others what is paused.
	Drained, PausedTypes, PausedTasks int
	// Rollouts are the numbers of rollouts that have not ended, by state.
	Rollouts map[string]int
}

// OpenTasks are the tasks of a type and a status.
type OpenTasks struct {
	Type   string
	Status tasker.TaskStatus
	Tasks  int
	Oldest time.Time // when the oldest of them was accepted
}
