package store_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Reads of many tasks leave out large payloads; those are read one by one.
func TestLargePayloadsAreReadAlone(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		large := `"` + strings.Repeat("x", 100_000) + `"`
		task, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
			Type: "worker", Identifier: "large", Payload: json.RawMessage(large), Endpoints: []string{"a"},
		})
		if err != nil {
			t.Fatal(err)
		}
		f.acquire(t, managerA, "a")
		small := f.create(t, "small", "a")
		received := f.receive(t, managerA, incoming(task, "a", tasker.Received), incoming(small, "a", tasker.Received))
		if len(received[0].Task.Payload) != 0 || string(received[1].Task.Payload) != string(small.Payload) {
			t.Errorf("received with %d and %d bytes", len(received[0].Task.Payload), len(received[1].Task.Payload))
		}
		work, err := f.Attempts.WaitingWork(t.Context(), "a", "worker", 10)
		if err != nil || len(work) != 2 || len(work[0].Task.Payload) != 0 || string(work[1].Task.Payload) != string(small.Payload) {
			t.Errorf("waiting: %+v, %v", work, err)
		}
		if payload, err := f.Inbox.TaskPayload(t.Context(), task.ID); err != nil || string(payload) != large {
			t.Errorf("got %d bytes, %v", len(payload), err)
		}
		if _, err := f.Inbox.TaskPayload(t.Context(), 999); tasker.CodeOf(err) != tasker.NotFound {
			t.Errorf("of no task: %v", err)
		}
	})
}

// A result of an older manager, nested as deep as parsers go, does not make its
// task unreadable.
func TestDeepResultIsReadable(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.create(t, "deep", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
		if _, err := f.Attempts.FinishAttempts(t.Context(), []ledger.End{{
			ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Attempt: 1, State: tasker.ResultDone, Payload: json.RawMessage(deep),
		}}); err != nil {
			t.Fatal(err)
		}
		results, err := f.Results.TaskResults(t.Context(), task.ID)
		if err != nil || len(results) != 1 {
			t.Fatalf("%+v, %v", results, err)
		}
		encoded, err := json.Marshal(map[string]any{"taskResponseList": results})
		if err != nil || !strings.Contains(string(encoded), `"`+deep+`"`) {
			t.Errorf("%d bytes, %v", len(encoded), err)
		}
	})
}
