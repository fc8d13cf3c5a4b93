package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// A task is shown with its topic, and the newer task that superseded it.
func TestTopic(t *testing.T) {
	t.Parallel()
	task := view(tasker.Canceled)
	task.Topic, task.OnConflict = "nightly", tasker.ConflictSupersede
	task.Superseded = &tasker.Supersession{By: "w2", At: time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC)}
	api := &fakeAPI{answers: map[string]any{
		"/v1/task-types/worker": client.TaskTypeAnswer{TaskTypeInfo: client.TaskTypeInfo{Name: "worker"}},
		"/worker":               client.TaskPage[tasker.Task]{Tasks: []tasker.Task{{ID: 7, Payload: []byte("1")}}},
		"/worker/w1/summary":    client.TaskSummary{Task: task},
		"/worker/w1/groups":     client.TaskGroups{Task: task, Expected: 1, Received: 1},
		"/worker/w1/results":    client.ResultPage{},
	}}
	a := page(t, api, "/tasks/worker/w1")
	for _, want := range []string{
		"<dt>Topic</dt><dd>nightly, replaces older ones</dd>", `<dt>Superseded</dt><dd>by <a href="tasks/worker/w2">w2</a>, `,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("status %d, no %q in\n%s", a.status, want, a.body)
		}
	}
}
