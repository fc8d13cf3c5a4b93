package main

import (
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"github.com/taskerhq/tasker/handlers"
	exechandler "github.com/taskerhq/tasker/handlers/exec"
)

const benchProgram = "/bin/true"

// BenchmarkPlainForkExec measures fork and exec alone, to compare with
// [BenchmarkExec] of the same run.
func BenchmarkPlainForkExec(b *testing.B) {
	if _, err := exec.LookPath(benchProgram); err != nil {
		b.Skip(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := exec.Command(benchProgram).Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExec runs the same program as a task's handler: in its own session,
// with directory, payload and three pipes.
func BenchmarkExec(b *testing.B) {
	if _, err := exec.LookPath(benchProgram); err != nil {
		b.Skip(err)
	}
	for name, settings := range map[string]handlers.Settings{
		"plain":  {"command": benchProgram},
		"umask":  {"command": benchProgram, "umask": "027"},
		"limits": {"command": benchProgram, "limits": map[string]any{"open_files": 100}},
	} {
		b.Run(name, func(b *testing.B) {
			h, err := exechandler.New(settings)
			if err != nil {
				b.Fatal(err)
			}
			req := &handlers.Request{
				TaskID: 1, Identifier: "bench", Type: "bench", Endpoint: "console1", Attempt: 1, Step: 1,
				Deadline: time.Now().Add(time.Hour), Payload: json.RawMessage(`{"foo":"bar"}`),
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Handle(b.Context(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
