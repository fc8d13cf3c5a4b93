package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/testservices"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := storetest.DropKept(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

const (
	managerA = "01AAAAAAAAAAAAAAAAAAAAAAAA"
	managerB = "01BBBBBBBBBBBBBBBBBBBBBBBB"
	lease    = time.Minute
	month    = 30 * 24 * time.Hour
)

// clock is a local clock that a test moves.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time          { return c.now }
func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

// fixture is a store with an empty schema and a clock.
type fixture struct {
	*store.Store
	clock *clock
	uri   string
}

// eachBackend runs a test on SQLite and, if the service is available, on MySQL
// or MariaDB, in parallel with other tests.
func eachBackend(t *testing.T, test func(t *testing.T, f fixture)) {
	t.Helper()
	t.Parallel()
	for name, uri := range map[string]func(testing.TB) string{"sqlite": sqliteURI, "mysql": storetest.MySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t, uri(t))
			storetest.Migrate(t, f.Store)
			test(t, f)
		})
	}
}

func sqliteURI(t testing.TB) string {
	return "sqlite://" + filepath.Join(t.TempDir(), "tasker.db")
}

func open(t *testing.T, uri string, options ...store.Option) fixture {
	t.Helper()
	c := &clock{now: time.Date(2026, 5, 6, 1, 14, 24, 123456789, time.UTC)}
	s, err := store.Open(store.Config{URI: uri}, slog.New(slog.DiscardHandler), append(options, store.WithClock(c.Now))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return fixture{s, c, uri}
}

func (f fixture) create(t *testing.T, identifier string, endpoints ...string) tasker.Task {
	t.Helper()
	task, created, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
		Type: "worker", Identifier: identifier, Payload: []byte(`{"foo":"bar"}`), Endpoints: endpoints,
	})
	if err != nil || !created {
		t.Fatalf("CreateTask: created %v, %v", created, err)
	}
	return task
}

// send creates a task and marks it as sent.
func (f fixture) send(t *testing.T, identifier string, endpoints ...string) tasker.Task {
	t.Helper()
	task, err := f.Outbox.MarkSent(t.Context(), f.create(t, identifier, endpoints...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func (f fixture) acquire(t *testing.T, manager string, endpoints ...string) {
	t.Helper()
	for _, name := range endpoints {
		holder, err := f.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{
			Name: name, Manager: manager, TaskTypes: []string{"worker"}, Host: "host", PID: 1,
		}, lease)
		if err != nil || holder != nil {
			t.Fatalf("AcquireEndpoint: holder %v, %v", holder, err)
		}
	}
}

// messagesOf returns the messages as consumed by a manager.
func messagesOf(manager string, messages ...ledger.Incoming) []ledger.Incoming {
	list := slices.Clone(messages)
	for i := range list {
		list[i].Manager = manager
	}
	return list
}

// startsOf returns the starts as asked for by a manager.
func startsOf(manager string, starts []ledger.Start) []ledger.Start {
	list := slices.Clone(starts)
	for i := range list {
		list[i].Manager = manager
	}
	return list
}

func incoming(task tasker.Task, endpoint string, state tasker.ResultState) ledger.Incoming {
	return ledger.Incoming{
		ResultKey:  tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint},
		Identifier: task.Identifier, Type: task.Type, State: state,
	}
}

func (f fixture) receive(t *testing.T, manager string, messages ...ledger.Incoming) []ledger.Recording {
	t.Helper()
	return f.receiveAll(t, messagesOf(manager, messages...)...)
}

func (f fixture) receiveAll(t *testing.T, messages ...ledger.Incoming) []ledger.Recording {
	t.Helper()
	recordings, err := f.Inbox.ReceiveResults(t.Context(), messages)
	if err != nil {
		t.Fatal(err)
	}
	return recordings
}

// unsettled returns which of the tasks a look finds behind their results.
func (f fixture) unsettled(t *testing.T, tasks []int64, wait time.Duration) (unsettled []int64, err error) {
	t.Helper()
	looks, err := f.Statuses.LookAtTasks(t.Context(), tasks, wait)
	for _, look := range looks {
		if look.Unsettled {
			unsettled = append(unsettled, look.ID)
		}
	}
	return unsettled, err
}

func (f fixture) finish(t *testing.T, ends ...ledger.End) []bool {
	t.Helper()
	stored, err := f.Attempts.FinishAttempts(t.Context(), ends)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func finish(task tasker.Task, endpoint string, attempt int, state tasker.ResultState) ledger.End {
	f := ledger.End{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Attempt: attempt, State: state}
	if state != tasker.ResultDone {
		f.Errnr, f.Errmsg = 1, "it failed"
	}
	return f
}

func (f fixture) status(t *testing.T, task tasker.Task) tasker.TaskStatus {
	t.Helper()
	found, err := f.Tasks.FindTask(t.Context(), task.Type, task.Identifier)
	if err != nil {
		t.Fatal(err)
	}
	return found.Status
}

// states returns the states of a task's results by endpoint.
func (f fixture) states(t *testing.T, task tasker.Task) map[string]tasker.ResultState {
	t.Helper()
	results, err := f.Results.TaskResults(t.Context(), task.ID)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]tasker.ResultState{}
	for _, r := range results {
		states[r.Endpoint] = r.State
	}
	return states
}

func wantCode(t *testing.T, err error, code tasker.Code) {
	t.Helper()
	if tasker.CodeOf(err) != code {
		t.Fatalf("error %v has code %q, want %q", err, tasker.CodeOf(err), code)
	}
}

func outcomes(recordings []ledger.Recording) []ledger.Outcome {
	list := make([]ledger.Outcome, len(recordings))
	for i, a := range recordings {
		list[i] = a.Outcome
	}
	return list
}

func wantOutcomes(t *testing.T, recordings []ledger.Recording, want ...ledger.Outcome) {
	t.Helper()
	if got := outcomes(recordings); !slices.Equal(got, want) {
		t.Fatalf("outcomes are %v, want %v (%+v)", got, want, recordings)
	}
}

func TestSchema(t *testing.T) {
	for name, uri := range map[string]func(testing.TB) string{"sqlite": sqliteURI, "mysql": testservices.MySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t, uri(t))
			wantCode(t, f.Schema.CheckSchema(t.Context()), tasker.Conflict)

			errs := make(chan error)
			for range 3 {
				go func() {
					_, _, err := f.Schema.Migrate(t.Context())
					errs <- err
				}()
			}
			for range 3 {
				// SQLite has one process, which migrates once.
				if err := <-errs; err != nil && name != "sqlite" {
					t.Error(err)
				}
			}
			if err := f.Schema.CheckSchema(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.create(t, "one")
			from, to, err := f.Schema.Migrate(t.Context())
			if err != nil || from != to {
				t.Fatalf("Migrate again: from %d to %d, %v", from, to, err)
			}
			tables, err := f.Schema.Tables(t.Context())
			if err != nil || !slices.Contains(tables, store.Table{Name: "tasks", Rows: 1}) {
				t.Fatalf("Tables: %v, %v", tables, err)
			}
			if err := f.Schema.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantCode(t, f.Schema.CheckSchema(t.Context()), tasker.Conflict)
			if _, _, err := f.Schema.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	f := open(t, "mysql://tasker:secret@127.0.0.1:1/tasker")
	_, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: "one"})
	wantCode(t, err, tasker.Unavailable)
	wantCode(t, f.Ping(t.Context()), tasker.Unavailable)
	wantCode(t, f.Schema.CheckSchema(t.Context()), tasker.Unavailable)

	_, err = store.Open(store.Config{URI: "sqlite:///nowhere/at/all/tasker.db"}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "/nowhere/at/all/tasker.db") {
		t.Errorf("a file that cannot be made: %v", err)
	}
}

func TestOpenRefusesBadAddresses(t *testing.T) {
	for _, uri := range []string{
		"", "tasker", "postgres://host/db", "mysql://user:secret@host", "mysql:///db", "mysql://user:sec ret@host/db",
		"mysql://user:secret@host/db?ssl=true", "sqlite://", "sqlite:///file?mode=ro",
	} {
		s, err := store.Open(store.Config{URI: uri}, slog.New(slog.DiscardHandler))
		if err == nil {
			_ = s.Close()
			t.Errorf("%q was accepted", uri)
			continue
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "sec ret") {
			t.Errorf("%q: the error shows the password: %v", uri, err)
		}
	}
}

func TestClockFollowsTheDatabase(t *testing.T) {
	f := open(t, testservices.MySQL(t)) // its clock says 2026-05-06
	if err := f.SyncClock(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The database runs on this machine, so its clock is the real one.
	if off := time.Since(f.Now()).Abs(); off > time.Minute {
		t.Errorf("after SyncClock the store's clock is off by %v", off)
	}
}

func TestContextEnds(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := f.Tasks.FindTask(ctx, "worker", "one"); err == nil {
			t.Error("a call with an ended context worked")
		}
	})
}

// A process that has only read so far knows the database's time, too.
func TestReadersClock(t *testing.T) {
	t.Parallel()
	uri := testservices.MySQL(t)
	w := open(t, uri)
	storetest.Migrate(t, w.Store)
	const lease = time.Hour // the test does not take as long
	if _, err := w.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: managerA, TaskTypes: []string{"worker"}},
		lease); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Config{URI: uri}, slog.New(slog.DiscardHandler),
		store.WithClock(func() time.Time { return time.Now().Add(5 * lease) }))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	seen, err := s.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
	if err != nil || len(seen) != 1 || !seen[0].Alive {
		t.Errorf("endpoints %+v, %v", seen, err)
	}
}
