package work_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/test/chaos/work"
)

// TestHandlers: each type's handler ends as its outcome says, and writes down
// what it is about to return.
func TestHandlers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		taskType string
		attempt  int
		outcome  string
	}{
		{"done", 1, "done"},
		{"patient", 3, "done"},
		{"failed", 2, "failed"},
		{"flaky", 1, "failed"},
		{"flaky", 2, "done"},
		{"timed_out", 1, "stopped"},
	} {
		dir := t.TempDir()
		registry, err := work.Registry(dir)
		if err != nil {
			t.Fatal(err)
		}
		handler, ok := registry.Lookup(test.taskType)
		if !ok {
			t.Fatalf("there is no handler for %s", test.taskType)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		if test.outcome == "stopped" {
			cancel(handlers.ErrTimeout)
		}
		result, err := handler.Handle(ctx, &handlers.Request{
			TaskID: 7, Identifier: "a", Type: test.taskType, Endpoint: "console0", Attempt: test.attempt, Payload: []byte(`{"ms":1}`),
		})
		cancel(nil)
		if (err == nil) != (test.outcome == "done") {
			t.Errorf("%s, attempt %d: %v", test.taskType, test.attempt, err)
		}
		entries, err := work.ReadJournals(dir)
		if err != nil || len(entries) != 2 {
			t.Fatalf("%s: the journal has %+v, %v", test.taskType, entries, err)
		}
		start, end := entries[0], entries[1]
		if start.Event != "start" || end.Event != "end" || start.Run != end.Run || end.Outcome != test.outcome || end.PID != os.Getpid() {
			t.Errorf("%s, attempt %d: the journal has %+v", test.taskType, test.attempt, entries)
		}
		var payload struct{ Run string }
		if test.outcome == "done" && (json.Unmarshal(result, &payload) != nil || payload.Run != end.Run) {
			t.Errorf("%s: the result is %s, its run %s", test.taskType, result, end.Run)
		}
	}
}

// TestReadJournals: a line that a killed process did not end was not synced,
// and any other that cannot be read is an error.
func TestReadJournals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(content string) {
		if err := os.WriteFile(filepath.Join(dir, "console0.jsonl"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("{\"event\":\"start\",\"run\":\"r\"}\n{\"event\":\"en")
	if entries, err := work.ReadJournals(dir); err != nil || len(entries) != 1 || entries[0].Run != "r" {
		t.Errorf("with a torn end: %+v, %v", entries, err)
	}
	if n := work.CountRuns(dir); n != 1 {
		t.Errorf("%d runs are counted", n)
	}
	write("{\"event\":\"start\"\n{\"event\":\"end\"}\n")
	if _, err := work.ReadJournals(dir); err == nil {
		t.Error("a torn line in the middle is no error")
	}
}
