package app_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/doctor"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/testservices"
)

// examined is an installation of the real services with the task type worker,
// and as its only endpoint console1.
type examined struct {
	database, rabbit string
	cfg              config.Config
}

// prepared makes an installation with a schema and exchanges, and nothing else.
func prepared(t *testing.T) *examined {
	t.Helper()
	x := &examined{database: testservices.MySQL(t), rabbit: testservices.RabbitMQ(t)}
	x.load(t)
	if err := app.InitDatabase(t.Context(), x.cfg, app.InitOptions{Out: io.Discard}); err != nil {
		t.Fatal(err)
	}
	b := x.broker(t)
	if err := b.Declare(t.Context(), "worker"); err != nil {
		t.Fatal(err)
	}
	return x
}

// load reads the configuration for the addresses that x has now.
func (x *examined) load(t *testing.T) {
	t.Helper()
	management, err := url.Parse(os.Getenv(testservices.EnvRabbitMQManagement))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := management.User.Password()
	x.cfg, err = config.Load(config.Options{Environ: []string{
		"TASKER_TASK_TYPES=worker", "TASKER_MANAGER_DB_URI=" + x.database, "TASKER_MANAGER_MESSAGE_QUEUE_URI=" + x.rabbit,
		"TASKER_RABBITMQ_MANAGEMENT_URI=http://" + management.Host,
		"TASKER_RABBITMQ_USER=" + management.User.Username(), "TASKER_RABBITMQ_PASSWORD=" + password,
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func (x *examined) broker(t *testing.T) *rabbit.Broker {
	t.Helper()
	b, err := rabbit.New(x.cfg.Rabbit, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// register makes console1 an endpoint, whose lease runs for that time.
func (x *examined) register(t *testing.T, lease time.Duration) {
	t.Helper()
	s, err := store.Open(x.cfg.Store, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	_, err = s.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "console1", Manager: strings.Repeat("A", 26), TaskTypes: []string{"worker"}}, lease)
	if err != nil {
		t.Fatal(err)
	}
}

// consume makes console1's queue and reads it, until stop is called.
func (x *examined) consume(t *testing.T) (stop func()) {
	t.Helper()
	b := x.broker(t)
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan bool, 10), make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, broker.Subscription{
			Queue: broker.Queue{TaskType: "worker", Endpoint: "console1"}, Deliver: func(broker.Delivery) {}, Ready: func(r bool) { ready <- r },
		})
	}()
	select {
	case <-ready:
	case <-time.After(5 * time.Minute):
		t.Fatal("no consumer within a minute")
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// remove deletes something in the virtual host, such as "queues/x".
func (x *examined) remove(t *testing.T, what string) {
	t.Helper()
	kind, name, _ := strings.Cut(what, "/")
	u, err := url.Parse(x.rabbit)
	if err != nil {
		t.Fatal(err)
	}
	testservices.Management(t, http.MethodDelete, "/api/"+kind+u.EscapedPath()+"/"+name, "")
}

// examine returns the findings that are not OK, and fails if one shows a
// password.
func (x *examined) examine(t *testing.T, limit time.Duration) (problems, others string) {
	t.Helper()
	r, err := app.Doctor(t.Context(), x.cfg, app.DoctorOptions{Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, uri := range append(x.cfg.Rabbit.URIs, x.cfg.Store.URI, "http://x:"+url.PathEscape(x.cfg.RabbitAdmin.Password)+"@h") {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		if password, has := u.User.Password(); has && password != "" && strings.Contains(string(whole), password) {
			t.Errorf("a password is shown: %s", whole)
		}
	}
	for _, c := range r.Checks {
		line := c.Group + "/" + c.Name + ": " + c.Message + "\n"
		switch c.Level {
		case doctor.OK:
		case doctor.Problem:
			problems += line
		default:
			others += line
		}
	}
	return problems, others
}

// generous is much longer than a check takes.
const generous = 5 * time.Minute

// wantProblems fails unless each problem holds the text wanted in its place.
func (x *examined) wantProblems(t *testing.T, want ...string) {
	t.Helper()
	problems, _ := x.examine(t, generous)
	lines := strings.Split(strings.TrimSuffix(problems, "\n"), "\n")
	if problems == "" {
		lines = nil
	}
	if len(lines) != len(want) {
		t.Fatalf("%d problems, want %d:\n%s", len(lines), len(want), problems)
	}
	for i := range want {
		if !strings.Contains(lines[i], want[i]) {
			t.Errorf("problem %q, want %q", lines[i], want[i])
		}
	}
}

// TestDoctor looks at an installation while it is made, and taken apart.
func TestDoctor(t *testing.T) {
	t.Parallel()
	x := prepared(t)
	x.wantProblems(t)
	x.register(t, time.Hour)
	x.wantProblems(t, "1 queue of living endpoints missing: tasker.worker.console1")
	stop := x.consume(t)
	problems, others := x.examine(t, generous)
	for line := range strings.Lines(problems + others) {
		// How the server is set up, and an API that made its exchange, are not
		// of this installation.
		if !strings.HasPrefix(line, "database/durability") && !strings.Contains(line, "tasker.events") && !strings.HasPrefix(line, "broker/nodes") {
			t.Errorf("all is well, and it found %s", line)
		}
	}

	stop()
	x.wantProblems(t, "1 queue of living endpoints without a consumer: tasker.worker.console1 (0 messages)")
	x.cfg.Rabbit.QueueType = "quorum"
	x.wantProblems(t, "4 differences from the configuration: queue tasker.dead has x-delivery-limit none instead of 1000000; queue tasker.dead has x-queue-type classic", "without a consumer")
	x.cfg.Rabbit.QueueType = "classic"
}

// TestDoctorFindsWhatWasTakenAway: by hand, behind tasker's back.
func TestDoctorFindsWhatWasTakenAway(t *testing.T) {
	t.Parallel()
	x := prepared(t)
	x.register(t, 0) // it has just gone
	x.consume(t)()
	x.remove(t, "exchanges/tasker.worker")
	x.wantProblems(t, "1 exchange missing: tasker.worker",
		"2 bindings are missing, so that messages do not arrive: tasker.worker.console1 with key all, tasker.worker.console1 with key endpoint.console1")
	x.remove(t, "queues/tasker.worker.console1")
	x.remove(t, "queues/tasker.dead")
	problems, others := x.examine(t, generous)
	if !strings.Contains(problems, "queue tasker.dead is missing") {
		t.Errorf("of the dead letters: %s", problems)
	}
	for _, want := range []string{"1 of 1 endpoint down: console1", "1 queue of stopped endpoints missing: tasker.worker.console1"} {
		if !strings.Contains(others, want) {
			t.Errorf("not found: %s, in\n%s", want, others)
		}
	}
}

// TestDoctorOfServicesAway: each is reported, and neither blocks the doctor.
func TestDoctorOfServicesAway(t *testing.T) {
	t.Parallel()
	x := prepared(t)
	whole := *x

	var database, rabbit *testservices.Proxy
	database, x.database = testservices.Proxied(t, whole.database)
	rabbit, x.rabbit = testservices.Proxied(t, whole.rabbit)
	x.load(t)
	x.wantProblems(t)
	rabbit.Cut()
	x.wantProblems(t, "broker/connection: cannot connect to RabbitMQ at amqp://")
	rabbit.Restore()
	database.Cut()
	x.wantProblems(t, "database/connection: database: cannot answer")

	// Those that are there, and say nothing.
	database.Restore()
	database.Hold()
	rabbit.Hold()
	problems, _ := x.examine(t, 100*time.Millisecond)
	for _, want := range []string{"database/connection: ", "broker/connection: "} { // a third may be as slow on a busy machine
		if !slices.ContainsFunc(strings.Split(problems, "\n"), func(line string) bool {
			return strings.HasPrefix(strings.TrimSpace(line), want) && strings.HasSuffix(line, "no answer within 100ms")
		}) {
			t.Errorf("of silent services, without %s: %s", want, problems)
		}
	}
}

func TestDoctorOfWrongAccounts(t *testing.T) {
	t.Parallel()
	x := prepared(t)
	whole := *x
	x.database, x.rabbit = otherPassword(t, whole.database), otherPassword(t, whole.rabbit)
	x.load(t)
	x.wantProblems(t, "Access denied for user", "refuses the user, the password or the virtual host")
	x.database, x.rabbit = whole.database, whole.rabbit+"-other"
	x.load(t)
	x.wantProblems(t, "vhost", "has no permissions in virtual host tasker_")
}

func otherPassword(t *testing.T, uri string) string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), "hunter2")
	return u.String()
}

func TestDoctorBeforeInitialize(t *testing.T) {
	t.Parallel()
	x := &examined{database: testservices.MySQL(t), rabbit: testservices.RabbitMQ(t)}
	x.load(t)
	x.wantProblems(t, "run tasker initialize --database", "1 exchange missing: tasker.worker", "exchange tasker.dead is missing", "queue tasker.dead is not bound")
}

func TestDoctorWithSQLite(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tasker.db")
	x := &examined{database: "sqlite://" + file, rabbit: testservices.RabbitMQ(t)}
	x.load(t)
	x.cfg.RabbitAdmin.Password = ""
	if problems, _ := x.examine(t, generous); !strings.Contains(problems, "file "+file+" not found") {
		t.Errorf("without a file: %s", problems)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the doctor made the database")
	}
	if err := app.InitDatabase(t.Context(), x.cfg, app.InitOptions{Out: io.Discard}); err != nil {
		t.Fatal(err)
	}
	b := x.broker(t)
	if err := b.Declare(t.Context(), "worker"); err != nil {
		t.Fatal(err)
	}
	x.register(t, time.Hour)
	x.consume(t)
	problems, others := x.examine(t, generous)
	if problems != "" || !strings.Contains(others, "not applicable to SQLite") || !strings.Contains(others, "no user of RabbitMQ's management API") {
		t.Errorf("%s%s", problems, others)
	}
}
