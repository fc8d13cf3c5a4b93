//go:build cluster

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/test/promises"
)

// journalVariable makes the test binary act as tasker, and names the directory
// of its handlers' journals.
const journalVariable = "CLUSTER_JOURNAL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(journalVariable); dir != "" {
		os.Exit(tasker(dir))
	}
	os.Exit(m.Run())
}

// tasker is the tasker program with handlers that write a journal.
func tasker(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	runManager := func(ctx context.Context, cfg config.Config, opts app.ManagerOptions, log *slog.Logger) error {
		registry, err := journaling(dir, cfg.TaskTypeNames())
		if err != nil {
			return err
		}
		return app.RunManagerWith(ctx, cfg, registry, opts, log)
	}
	return cli.Execute(ctx, cli.Program{
		Actions: cli.Actions{RunAPI: app.RunAPI, RunManager: runManager, InitDatabase: app.InitDatabase},
		Args:    os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Version: "cluster",
	})
}

// journaling returns handlers that record the start and the end of each run
// before they continue.
func journaling(dir string, taskTypes []string) (*handlers.Registry, error) {
	journal, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%d.jsonl", os.Getpid())), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	var runs atomic.Int64
	write := func(e promises.Entry) error {
		e.Time = time.Now()
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = journal.Write(append(line, '\n')) // one write, so that runs do not interleave
		return errors.Join(err, journal.Sync())
	}
	handle := func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		e := promises.Entry{
			Event: "start", TaskID: req.TaskID, Identifier: req.Identifier, Type: req.Type, Endpoint: req.Endpoint,
			Attempt: req.Attempt, PID: os.Getpid(), Run: fmt.Sprintf("%d-%d", os.Getpid(), runs.Add(1)),
		}
		if err := write(e); err != nil {
			return nil, err
		}
		e.Event, e.Outcome = "end", "done"
		if ctx.Err() != nil {
			e.Outcome = "stopped"
		}
		if err := write(e); err != nil {
			return nil, err
		}
		result, err := json.Marshal(map[string]string{"run": e.Run})
		return result, errors.Join(err, context.Cause(ctx))
	}
	registry := handlers.NewRegistry()
	for _, t := range taskTypes {
		if err := registry.Register(t, handlers.Func(handle)); err != nil {
			return nil, err
		}
	}
	return registry, nil
}
