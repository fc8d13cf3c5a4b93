package store_test

import (
	"context"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/testnodes"
)

// TestReadOnly: a read-only database, like a replaced primary, is unavailable
// for writers, which is worth waiting for, but works for readers. Nothing of a
// write stays, and writes work again later over the same store.
func TestReadOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	if _, err := exec.LookPath("mariadbd"); err != nil {
		t.Skip("mariadbd is not installed")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	// The switch is global.
	server, err := testnodes.StartMariaDB(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Kill)
	admin := plain(t, server.URI())
	do := func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			if _, err := admin.ExecContext(ctx, statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	// An administrator may still write, but tasker is not one.
	do("CREATE DATABASE tasker", "CREATE USER tasker@'127.0.0.1' IDENTIFIED BY 'pw'", "GRANT ALL ON tasker.* TO tasker@'127.0.0.1'")
	f := open(t, (&url.URL{Scheme: "mysql", User: url.UserPassword("tasker", "pw"), Host: server.Addr(), Path: "/tasker"}).String())
	if _, _, err := f.Schema.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	f.acquire(t, managerA, "a")
	running, waiting, unsent := f.send(t, "running", "a"), f.send(t, "waiting", "a"), f.create(t, "unsent", "a")
	f.receive(t, managerA, incoming(running, "a", tasker.Running), incoming(waiting, "a", tasker.Received))
	writes := map[string]func() error{
		"CreateTask": func() error {
			_, _, err := f.Tasks.CreateTask(ctx, tasker.Task{Type: "worker", Identifier: "new", Endpoints: []string{"a"}})
			return err
		},
		"MarkSent": func() error { _, err := f.Outbox.MarkSent(ctx, unsent, nil); return err },
		"ReceiveResults": func() error {
			_, err := f.Inbox.ReceiveResults(ctx, messagesOf(managerA, incoming(unsent, "a", tasker.Received)))
			return err
		},
		"StartAttempts": func() error {
			_, err := f.Attempts.StartAttempts(ctx, startsOf(managerA,
				[]ledger.Start{{ResultKey: tasker.ResultKey{TaskID: waiting.ID, Endpoint: "a"}}}))
			return err
		},
		"FinishAttempts": func() error {
			_, err := f.Attempts.FinishAttempts(ctx, []ledger.End{finish(running, "a", 1, tasker.ResultDone)})
			return err
		},
		"SaveLive":  func() error { return f.Live.SaveLive(ctx, []ledger.LiveUpdate{told(running, "a", 1, 0, 3)}) },
		"Heartbeat": func() error { _, err := f.Endpoints.Heartbeat(ctx, managerA, []string{"a"}, lease); return err },
		"AcquireEndpoint": func() error {
			_, err := f.Endpoints.AcquireEndpoint(ctx, tasker.Endpoint{Name: "b", Manager: managerA, TaskTypes: []string{"worker"}}, lease)
			return err
		},
	}

	do("SET GLOBAL read_only = 1")
	for name, write := range writes {
		if err := write(); tasker.CodeOf(err) != tasker.Unavailable || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("%s gives %v, want that the database is read-only", name, err)
		}
	}
	if err := f.CheckWrites(ctx); tasker.CodeOf(err) != tasker.Unavailable || f.Ping(ctx) != nil {
		t.Errorf("that it takes no writes is told by %v", err)
	}
	if got := f.states(t, running)["a"]; got != tasker.Running {
		t.Errorf("the running one is %s", got)
	}
	if got := f.states(t, waiting)["a"]; got != tasker.Received {
		t.Errorf("the waiting one is %s", got)
	}
	if got := f.status(t, unsent); got != tasker.Created {
		t.Errorf("the unsent one is %s", got)
	}
	if _, err := f.Tasks.FindTask(ctx, "worker", "new"); tasker.CodeOf(err) != tasker.NotFound {
		t.Errorf("the task that was refused: %v", err)
	}

	do("SET GLOBAL read_only = 0")
	if err := f.CheckWrites(ctx); err != nil {
		t.Error(err)
	}
	for _, name := range []string{
		"Heartbeat", "AcquireEndpoint", "CreateTask", "MarkSent", "ReceiveResults", "StartAttempts", "SaveLive",
		"FinishAttempts",
	} {
		if err := writes[name](); err != nil {
			t.Errorf("%s afterwards: %v", name, err)
		}
	}
	if got := f.states(t, running)["a"]; got != tasker.ResultDone {
		t.Errorf("afterwards the running one is %s", got)
	}
	if got := f.states(t, waiting)["a"]; got != tasker.Running {
		t.Errorf("afterwards the waiting one is %s", got)
	}
	if got := f.states(t, unsent)["a"]; got != tasker.Received {
		t.Errorf("afterwards the unsent one is %s", got)
	}
}

// TestBinaryLogOfStatements: with binlog_format=STATEMENT, InnoDB refuses every
// write of a READ COMMITTED session.
func TestBinaryLogOfStatements(t *testing.T) {
	f, do := ownServer(t, "log_bin = binlog", "binlog_format = ROW")
	f.acquire(t, managerA, "a")
	task := f.create(t, "one", "a")
	if err := f.CheckWrites(t.Context()); err != nil {
		t.Error(err)
	}
	do("SET GLOBAL binlog_format = STATEMENT")
	g := open(t, f.uri)
	for name, err := range map[string]error{
		"CheckWrites": g.CheckWrites(t.Context()),
		"MarkSent":    func() error { _, err := g.Outbox.MarkSent(t.Context(), task, nil); return err }(),
	} {
		if tasker.CodeOf(err) != tasker.Unavailable || !strings.Contains(err.Error(), "BINLOG_FORMAT = STATEMENT") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := g.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	do("SET GLOBAL binlog_format = MIXED")
	if _, err := open(t, f.uri).Outbox.MarkSent(t.Context(), task, nil); err != nil {
		t.Error(err)
	}
}
