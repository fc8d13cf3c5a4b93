package web_test

import (
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// A task is shown with its priority, and a result that waits with its position.
func TestPriority(t *testing.T) {
	t.Parallel()
	task := view(tasker.Sent)
	task.Priority = 9
	result := tasker.TaskResult{ID: 1, TaskID: 7, Endpoint: "web01", State: tasker.Received, Position: 12}
	api := &fakeAPI{answers: map[string]any{
		"/v1/task-types/worker":        client.TaskTypeAnswer{TaskTypeInfo: client.TaskTypeInfo{Name: "worker"}},
		"/worker":                      client.TaskPage[tasker.Task]{Tasks: []tasker.Task{{ID: 7, Payload: []byte("1")}}},
		"/worker/w1/summary":           client.TaskSummary{Task: task},
		"/worker/w1/groups":            client.TaskGroups{Task: task, Expected: 1, Received: 1},
		"/worker/w1/results":           client.ResultPage{Results: []tasker.TaskResult{result}},
		"/worker/w1/results/web01":     client.ResultAnswer{Result: result},
		"/worker/w1/results/web01/log": client.LogAnswer{},
	}}
	for path, want := range map[string]string{
		"/tasks/worker/w1":               "<dt>Priority</dt><dd>9</dd>",
		"/tasks/worker/w1/results/web01": "<dt>Position</dt><dd>12 of what waits there</dd>",
	} {
		if a := page(t, api, path); !strings.Contains(a.body, want) {
			t.Errorf("%s: status %d, no %q in\n%s", path, a.status, want, a.body)
		}
	}
}
