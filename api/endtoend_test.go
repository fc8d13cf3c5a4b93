package api_test

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/local"
	"github.com/taskerhq/tasker/internal/cancel"
	"github.com/taskerhq/tasker/internal/conductor"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/hold"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/removal"
	"github.com/taskerhq/tasker/internal/rounds"
	"github.com/taskerhq/tasker/internal/scheduler"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/wire"
)

const managerID = "01AAAAAAAAAAAAAAAAAAAAAAAA"

// system is the API on the embedded database and broker.
type system struct {
	*harness
	db        *store.Store
	broker    *local.Broker
	conductor *conductor.Conductor
}

func newSystem(t *testing.T) *system {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Config{URI: "sqlite://" + filepath.Join(t.TempDir(), "tasker.db")}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	storetest.Migrate(t, db)
	b := local.New(log)
	t.Cleanup(func() { _ = b.Close() })
	h := &harness{log: &logBuffer{}}
	schedules := scheduler.New(scheduler.Config{Store: db.Schedules, Starter: &fakeStarter{}, Canceler: cancel.New(db.Cancels, b, log), Log: log})
	dispatcher := dispatch.New(dispatch.Config{Timeout: dispatch.MaxTimeout}, db.Outbox, b, log)
	t.Cleanup(dispatcher.Close)
	conducting := conductor.New(conductor.Deps{
		Store: db.Rollouts, Statuses: db.Statuses, Sender: dispatcher, Broker: b, Log: log,
	}, time.Minute)
	t.Cleanup(conducting.Wait)
	h.server, err = api.New(testConfig(), api.Deps{
		Tasks: db.Tasks, Statuses: db.Statuses, Results: db.Results, Live: db.Live, Endpoints: db.Endpoints, Tokens: db.Tokens,
		DeadLetters: db.DeadLetters, Database: db.DB,
		Dispatcher: dispatcher, Starter: &fakeStarter{}, Conductor: conducting, Rollouts: db.Rollouts,
		Requeuer: dispatch.NewRequeuer(dispatch.Config{}, db.DeadLetters, b),
		Remover:  removal.New(db.Removals, b, log), Canceler: cancel.New(db.Cancels, b, log), Retrier: rounds.New(db.Rounds, b, log),
		Holder: hold.New(db.Holds, b, func(time.Time) {}, log), Holds: db.Holds,
		Schedules: db.Schedules, Scheduler: schedules,
		Broker: b, Log: h.log.logger(), Exposition: observe.Handler(observe.NewRegistry("")),
	})
	if err != nil {
		t.Fatal(err)
	}
	schedules.Tasks = h.server
	h.serve(t, h.server.Handler())
	return &system{harness: h, db: db, broker: b, conductor: conducting}
}

// subscribe registers an endpoint and returns the messages that reach its queue.
func (s *system) subscribe(t *testing.T, endpoint string) <-chan wire.Task {
	t.Helper()
	if _, err := s.db.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: endpoint, TaskTypes: []string{"worker"}, Manager: managerID, Host: "h", Version: "1"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	arrived, ready, ended := make(chan wire.Task, 10), make(chan bool, 2), make(chan error, 1)
	go func() {
		ended <- s.broker.Consume(ctx, broker.Subscription{
			Queue: broker.Queue{TaskType: "worker", Endpoint: endpoint},
			Deliver: func(d broker.Delivery) {
				message, err := wire.DecodeTask(d.Body())
				if err != nil {
					t.Error(err)
				}
				if err := d.Ack(); err != nil {
					t.Error(err)
				}
				arrived <- message
			},
			Ready: func(ok bool) { ready <- ok },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case <-time.After(5 * time.Minute):
		t.Fatal("the consumer does not get ready")
	}
	return arrived
}

// perform receives a message, records it, and finishes it.
func (s *system) perform(t *testing.T, arrived <-chan wire.Task, finish ledger.End) {
	t.Helper()
	var message wire.Task
	select {
	case message = <-arrived:
	case <-time.After(5 * time.Minute):
		t.Fatalf("nothing reached %s", finish.Endpoint)
	}
	finish.TaskID = message.TaskID
	admissions, err := s.db.Inbox.ReceiveResults(t.Context(), []ledger.Incoming{{
		Manager:   managerID,
		ResultKey: finish.ResultKey, Identifier: message.Identifier, Type: message.Type, State: tasker.Running,
	}})
	if err != nil || admissions[0].Outcome != ledger.Recorded {
		t.Fatalf("%+v, %v", admissions, err)
	}
	finish.Attempt = 1
	if stored, err := s.db.Attempts.FinishAttempts(t.Context(), []ledger.End{finish}); err != nil || !stored[0] {
		t.Fatalf("the finish was not stored: %v", err)
	}
}

func (s *system) getTask(t *testing.T, path string) taskAnswer {
	t.Helper()
	a := s.get(t, path)
	a.want(t, http.StatusOK)
	return decode[taskAnswer](t, a.body)
}

// The reference's example, from POST to the aggregated answer.
func TestEndToEnd(t *testing.T) {
	s := newSystem(t)
	console1, console2 := s.subscribe(t, "console1"), s.subscribe(t, "console2")
	s.get(t, "/readyz").want(t, http.StatusOK)

	a := s.post(t, "/worker", newTask)
	a.want(t, http.StatusCreated)
	if got := decode[task](t, a.body); got.Status != "SENT" || len(got.Endpoints) != 2 {
		t.Errorf("answered %s", a.body)
	}
	again := s.post(t, "/worker", strings.Replace(newTask, `"console1","console2"`, ` "console2", "console1"`, 1))
	again.want(t, http.StatusOK) // the list is a set
	s.post(t, "/worker", `{"identifier":"`+identifier+`","payload":1}`).want(t, http.StatusConflict)

	path := "/worker/" + identifier
	if got := s.getTask(t, path); got.Task.Status != "SENT" || len(got.Summary.Missing) != 2 {
		t.Errorf("before: %+v", got)
	}
	s.perform(t, console1, ledger.End{ResultKey: tasker.ResultKey{Endpoint: "console1"}, State: tasker.ResultDone, Payload: []byte(`{"yeah":1234123}`)})
	if got := s.getTask(t, path); got.Task.Status != "SENT" || got.Summary.Finished != 1 {
		t.Errorf("with one result: %+v", got)
	}
	s.perform(t, console2, ledger.End{ResultKey: tasker.ResultKey{Endpoint: "console2"}, State: tasker.ResultFailed, Errnr: 32, Errmsg: "could not backup!"})
	got := s.getTask(t, path)
	if got.Task.Status != "FAILED" || got.Summary.Failed != 1 || len(got.Results) != 2 || got.Results[1].Errmsg == nil || *got.Results[1].Errmsg != "could not backup!" {
		t.Errorf("at the end: %+v", got)
	}
	// The status was stored: the list knows it, too.
	if a := s.get(t, "/worker?status=FAILED"); !strings.Contains(string(a.body), identifier) {
		t.Errorf("the list of failed tasks: %s", a.body)
	}
	if a := s.get(t, "/v1/endpoints?task_type=worker"); !strings.Contains(string(a.body), `"name":"console1"`) || !strings.Contains(string(a.body), `"alive":true`) {
		t.Errorf("endpoints: %s", a.body)
	}
}

func TestEndToEndWithoutBroker(t *testing.T) {
	s := newSystem(t)
	if err := s.broker.Close(); err != nil {
		t.Fatal(err)
	}
	a := s.post(t, "/worker", newTask)
	a.want(t, http.StatusCreated)
	if got := s.getTask(t, "/worker/"+identifier); got.Task.Status != "CREATED" {
		t.Errorf("status %s", got.Task.Status)
	}
	s.get(t, "/readyz").want(t, http.StatusServiceUnavailable)
}

func TestEndToEndPages(t *testing.T) {
	s := newSystem(t)
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		s.post(t, "/worker", `{"identifier":"`+id+`"}`).want(t, http.StatusCreated)
	}
	var got string
	for path := "/worker?limit=2&status=SENT"; path != ""; {
		a := s.get(t, path)
		a.want(t, http.StatusOK)
		page := decode[struct {
			Tasks []struct{ Identifier string }
		}](t, a.body)
		for _, task := range page.Tasks {
			got += task.Identifier
		}
		path, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
	}
	if got != "edcba" {
		t.Errorf("the pages hold %q", got)
	}
}
