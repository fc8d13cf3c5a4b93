package app_test

import (
	"context"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/app"
)

// heard is a log whose messages a test reads.
type heard chan string

func (heard) Enabled(context.Context, slog.Level) bool { return true }
func (h heard) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h heard) WithGroup(string) slog.Handler          { return h }

func (h heard) Handle(_ context.Context, r slog.Record) error {
	h <- r.Message
	return nil
}

// await reads until a message comes, or the test's own time is over.
func (h heard) await(ctx context.Context, t *testing.T, message string) {
	t.Helper()
	for {
		select {
		case m := <-h:
			if m == message {
				return
			}
		case <-ctx.Done():
			t.Fatalf("the log does not say %q", message)
		}
	}
}

const stateMessage = "process state"

func askForState(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
}

// TestStateBeforeTheDatabaseIsThere: the signal does not end a process that
// still waits for its database.
func TestStateBeforeTheDatabaseIsThere(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cfg := load(t, "TASKER_MANAGER_DB_URI=mysql://a:b@127.0.0.1:1/x",
		"TASKER_MANAGER_MESSAGE_QUEUE_URI=amqp://a:b@127.0.0.1:1/x", "TASKER_MANAGER_SPOOL_DIR="+t.TempDir())
	running, stop := context.WithCancel(ctx)
	log, done := make(heard, 1000), make(chan error, 1)
	go func() {
		done <- app.RunManager(running, cfg, app.ManagerOptions{Endpoints: []string{"a"}}, slog.New(log))
	}()
	log.await(ctx, t, "waiting for the database")
	askForState(t)
	log.await(ctx, t, stateMessage)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestStateOfDev is logged once, although it is an API and a manager.
func TestStateOfDev(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	log, done, ready := make(heard, 1000), make(chan error, 1), make(chan string, 1)
	opts := app.DevOptions{Ephemeral: true, Ready: func(addr string) { ready <- addr }}
	go func() { done <- app.RunDev(running, load(t), opts, slog.New(log)) }()
	select {
	case <-ready:
	case <-ctx.Done():
		t.Fatal("the process is not ready")
	}
	askForState(t)
	log.await(ctx, t, stateMessage)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	close(log)
	for m := range log {
		if m == stateMessage {
			t.Error("the state was logged twice")
		}
	}
}
