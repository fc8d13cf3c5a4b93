// Package work has the task types of a chaos run, and handlers that record
// their runs in a journal.
package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/test/promises"
)

// JournalVariable is the environment variable with the directory of the
// journals.
const JournalVariable = "CHAOS_JOURNAL"

// Type is a task type and its configuration.
type Type struct {
	Name    string   `yaml:"name"`
	Handler string   `yaml:"handler"` // must exist in the real program too
	Timeout string   `yaml:"timeout"`
	Retry   []string `yaml:"retry"`
	Outcome string   `yaml:"-"`
	Program bool     `yaml:"-"` // each run is a program of its own
}

// Types returns the task types of a chaos run: one for each way in which a
// handler ends, one whose interrupted attempts are retried, and one that runs programs.
func Types() []Type {
	return []Type{
		{Name: "done", Handler: "worker", Timeout: "1m", Retry: []string{}, Outcome: "done"},
		{Name: "patient", Handler: "worker", Timeout: "1m", Retry: []string{"100ms", "100ms", "100ms", "100ms"}, Outcome: "done"},
		{Name: "failed", Handler: "worker", Timeout: "1m", Retry: []string{"200ms"}, Outcome: "failed"},
		{Name: "timed_out", Handler: "worker", Timeout: "300ms", Retry: []string{}, Outcome: "timed_out"},
		{Name: "flaky", Handler: "worker", Timeout: "1m", Retry: []string{"200ms", "200ms"}, Outcome: "flaky"},
		{Name: "program", Handler: "worker", Timeout: "1m", Retry: []string{"100ms", "100ms"}, Outcome: "done", Program: true},
	}
}

// Promises returns the types in the checker's form.
func Promises() []promises.Type {
	var types []promises.Type
	for _, t := range Types() {
		types = append(types, promises.Type{Name: t.Name, MaxAttempts: len(t.Retry) + 1, Outcome: t.Outcome})
	}
	return types
}

// Payload is the payload of every task.
type Payload struct {
	Milliseconds int `json:"ms"` // how long the handler works
}

// Registry returns the handlers of all types, with journals in dir.
func Registry(dir string) (*handlers.Registry, error) {
	j := newJournals(dir)
	registry := handlers.NewRegistry()
	for _, t := range Types() {
		var h handlers.Handler = &handler{outcome: t.Outcome, journals: j}
		if t.Program {
			var err error
			if h, err = newProgram(dir); err != nil {
				return nil, err
			}
		}
		if err := registry.Register(t.Name, h); err != nil {
			return nil, err
		}
	}
	return registry, nil
}

type handler struct {
	outcome  string
	journals *journals
	runs     atomic.Int64
}

var errPlanned = errors.New("planned failure")

// Handle records its start, works, records its end, and returns the planned
// outcome.
func (h *handler) Handle(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
	entry := promises.Entry{
		TaskID: req.TaskID, Identifier: req.Identifier, Type: req.Type, Endpoint: req.Endpoint,
		Attempt: req.Attempt, PID: os.Getpid(),
		Run: fmt.Sprintf("%s-%d-%s-%d", req.Endpoint, os.Getpid(), req.Type, h.runs.Add(1)),
	}
	var payload Payload
	if err := json.Unmarshal(req.Payload, &payload); err != nil {
		return nil, handlers.Permanent(err)
	}
	return h.journals.record(entry, func() (handlers.Result, error) {
		return h.work(ctx, req, time.Duration(payload.Milliseconds)*time.Millisecond, entry.Run)
	})
}

// record calls work between the entries of its start, at the entry's time or else now,
// and of its end.
func (j *journals) record(entry promises.Entry, work func() (handlers.Result, error)) (handlers.Result, error) {
	entry.Event = "start"
	if entry.Time.IsZero() {
		entry.Time = time.Now()
	}
	if err := j.write(entry); err != nil {
		return nil, err
	}
	result, err := work()
	switch {
	case err == nil:
		entry.Outcome = "done"
	case errors.Is(err, errPlanned):
		entry.Outcome = "failed"
	default:
		entry.Outcome = "stopped"
	}
	entry.Event, entry.Time = "end", time.Now()
	if err := j.write(entry); err != nil {
		return nil, err
	}
	return result, err
}

func (h *handler) work(ctx context.Context, req *handlers.Request, length time.Duration, run string) (handlers.Result, error) {
	if h.outcome == "timed_out" {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	select {
	case <-time.After(length):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if h.outcome == "failed" || h.outcome == "flaky" && req.Attempt == 1 {
		return nil, errPlanned
	}
	return json.Marshal(map[string]string{"run": run})
}

// journals are the files in which runs are recorded, one per endpoint. Several
// processes may append to one: each line is one write.
type journals struct {
	dir   string
	mu    sync.Mutex
	files map[string]*os.File
}

func newJournals(dir string) *journals { return &journals{dir: dir, files: map[string]*os.File{}} }

// write appends an entry and syncs.
func (j *journals) write(entry promises.Entry) error {
	file, err := j.open(entry.Endpoint)
	if err != nil {
		return err
	}
	line, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	if _, err := file.Write(append(line, '\n')); err != nil {
		return err
	}
	return file.Sync()
}

func (j *journals) open(endpoint string) (*os.File, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if file, ok := j.files[endpoint]; ok {
		return file, nil
	}
	file, err := os.OpenFile(filepath.Join(j.dir, endpoint+".jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	j.files[endpoint] = file
	return file, nil
}
