package work_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/test/chaos/work"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == work.ProgramArgument {
		if err := work.RunProgram(context.Background(), os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		return
	}
	m.Run()
}

// Each handler ends with its type's outcome, and records what it is about to
// return.
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
		{"program", 1, "done"},
	} {
		dir := t.TempDir()
		registry, err := work.Registry(dir)
		if err != nil {
			t.Fatal(err)
		}
		handler, ok := registry.Lookup(test.taskType)
		if !ok {
			t.Fatalf("no handler for %s", test.taskType)
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
			t.Fatalf("%s: journal %+v, %v", test.taskType, entries, err)
		}
		start, end := entries[0], entries[1]
		if start.Event != "start" || end.Event != "end" || start.Run != end.Run || end.Outcome != test.outcome || end.PID != os.Getpid() {
			t.Errorf("%s, attempt %d: journal %+v", test.taskType, test.attempt, entries)
		}
		var payload struct{ Run string }
		if test.outcome == "done" && (json.Unmarshal(result, &payload) != nil || payload.Run != end.Run) {
			t.Errorf("%s: result %s, want run %s", test.taskType, result, end.Run)
		}
	}
}

// A program that is stopped records so.
func TestStoppedProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	registry, err := work.Registry(dir)
	if err != nil {
		t.Fatal(err)
	}
	handler, _ := registry.Lookup("program")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	stopped := errors.New("stopped")
	handled := make(chan error, 1)
	go func() {
		_, err := handler.Handle(ctx, &handlers.Request{
			TaskID: 7, Identifier: "a", Type: "program", Endpoint: "console0", Attempt: 1, Payload: []byte(`{"ms":600000}`),
		})
		handled <- err
	}()
	for deadline := time.Now().Add(time.Minute); work.CountRuns(dir) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the program did not start")
		}
	}
	cancel(stopped)
	if err := <-handled; !errors.Is(err, stopped) {
		t.Errorf("%v, want the cause of the end", err)
	}
	entries, err := work.ReadJournals(dir)
	if err != nil || len(entries) != 2 || entries[1].Outcome != "stopped" {
		t.Errorf("journal %+v, %v", entries, err)
	}
}

// An unfinished last line is skipped; any other unreadable line is an error.
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
		t.Errorf("unfinished last line: %+v, %v", entries, err)
	}
	if n := work.CountRuns(dir); n != 1 {
		t.Errorf("CountRuns %d", n)
	}
	write("{\"event\":\"start\"\n{\"event\":\"end\"}\n")
	if _, err := work.ReadJournals(dir); err == nil {
		t.Error("no error for an unreadable line in the middle")
	}
}
