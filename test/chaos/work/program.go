package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/taskerhq/tasker/handlers"
	execprogram "github.com/taskerhq/tasker/handlers/exec"
	"github.com/taskerhq/tasker/test/promises"
)

// ProgramArgument is the only argument of an executable that is to be a program, which
// calls [RunProgram].
const ProgramArgument = "run-as-program"

// managerVariable is the environment variable with the process of the manager, whose
// faults are those of the program.
const managerVariable = "CHAOS_MANAGER"

// newProgram returns the handler that runs this executable as a program.
func newProgram(dir string) (handlers.Handler, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	h, err := execprogram.New(handlers.Settings{
		"command":     []any{self, ProgramArgument},
		"environment": map[string]any{JournalVariable: dir, managerVariable: strconv.Itoa(os.Getpid())},
		"result":      "json",
	})
	if err != nil {
		return nil, err
	}
	return handlers.Wrap(h, func(next handlers.Handler) handlers.Handler { return begin{next} }), nil
}

// begin is middleware that tells a program when its run began.
type begin struct{ next handlers.Handler }

// Handle implements [handlers.Handler].
func (b begin) Handle(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
	payload := programPayload{Begun: time.Now()}
	if err := json.Unmarshal(req.Payload, &payload.Payload); err != nil {
		return nil, handlers.Permanent(err)
	}
	begun := *req
	var err error
	if begun.Payload, err = json.Marshal(payload); err != nil {
		return nil, err
	}
	return b.next.Handle(ctx, &begun)
}

// programPayload is what a program reads.
type programPayload struct {
	Payload
	// Begun is when the manager began the run. On a busy machine it takes seconds until the
	// program can record something, which is no fault of the manager's.
	Begun time.Time `json:"begun"`
}

// RunProgram is one run as a program: it records its start, works as long as its
// standard input says, records its end, and writes its result. SIGTERM stops it.
//
// Meanwhile a child waits in a process group of its own. The program ends it before it
// succeeds, but not when it is stopped: what stopped or killed the program has to.
func RunProgram(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, release := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer release()
	var payload programPayload
	if err := json.NewDecoder(in).Decode(&payload); err != nil {
		return fmt.Errorf("read the payload: %w", err)
	}
	entry, err := programEntry()
	if err != nil {
		return err
	}
	entry.Time = payload.Begun
	result, err := newJournals(os.Getenv(JournalVariable)).record(entry, func() (handlers.Result, error) {
		child := exec.Command("sleep", "600")
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := child.Start(); err != nil {
			return nil, err
		}
		select {
		case <-time.After(time.Duration(payload.Milliseconds) * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if err := child.Process.Kill(); err != nil {
			return nil, err
		}
		_ = child.Wait() // says that it was killed
		return json.Marshal(map[string]string{"run": entry.Run})
	})
	if err != nil {
		return err
	}
	_, err = out.Write(result)
	return err
}

// programEntry returns the entry of this process.
func programEntry() (promises.Entry, error) {
	number := func(name string) int {
		n, _ := strconv.Atoi(os.Getenv(name))
		return n
	}
	entry := promises.Entry{
		TaskID: int64(number("TASKER_TASK_ID")), Identifier: os.Getenv("TASKER_IDENTIFIER"), Type: os.Getenv("TASKER_TYPE"),
		Endpoint: os.Getenv("TASKER_ENDPOINT"), Attempt: number("TASKER_ATTEMPT"), PID: number(managerVariable),
	}
	entry.Run = fmt.Sprintf("%s-%d-%d-%s-%d", entry.Endpoint, entry.PID, entry.TaskID, entry.Type, os.Getpid())
	if entry.TaskID < 1 || entry.Attempt < 1 || entry.PID < 1 || entry.Endpoint == "" {
		return entry, errors.New("the variables that describe the task are missing")
	}
	return entry, nil
}
