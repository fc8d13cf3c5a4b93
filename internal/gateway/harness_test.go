package gateway_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// byName is an authenticator: the token of an endpoint is "token-" and its name.
type byName struct{}

func (byName) Endpoint(_ context.Context, token string) (string, error) {
	name, ok := strings.CutPrefix(token, "token-")
	if !ok {
		return "", tasker.Errorf(tasker.Unauthorized, "unknown token")
	}
	return name, nil
}

// tokensOf returns tokens that byName knows.
func tokensOf(endpoints ...string) map[string]gateway.Token {
	tokens := map[string]gateway.Token{}
	for _, name := range endpoints {
		tokens[name] = func() (string, error) { return "token-" + name, nil }
	}
	return tokens
}

// notes is a notifier that keeps what it is told.
type notes struct {
	mu   sync.Mutex
	keys []string
	list [][]byte
}

func (n *notes) Notify(_ context.Context, key string, body []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keys, n.list = append(n.keys, key), append(n.list, body)
	return nil
}

// newStore returns a store on SQLite.
func newStore(t *testing.T) *store.Store {
	t.Helper()
	return openStore(t, "sqlite://"+filepath.Join(t.TempDir(), "tasker.db"))
}

func openStore(t *testing.T, uri string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{URI: uri}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	storetest.Migrate(t, s)
	return s
}

// quiet logs nothing.
var quiet = slog.New(slog.DiscardHandler)

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// storesOf returns what a server needs of a store.
func storesOf(s *store.Store) gateway.Stores {
	return gateway.Stores{
		Endpoints: s.Endpoints, Results: s.Inbox, Attempts: s.Attempts, Work: s.Attempts, Live: s.Live, Database: s.DB,
	}
}

// run runs a server for the time of the test.
func run(t testing.TB, server *gateway.Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); server.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// newClient returns a client of a server in this process.
func newClient(t *testing.T, server *gateway.Server, endpoints ...string) *gateway.Client {
	t.Helper()
	c, err := gateway.NewClient(gateway.ClientConfig{
		Addresses: []string{gateway.InProcessAddress}, Tokens: tokensOf(endpoints...), Transport: gateway.InProcess(server.Handler()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRegister(t *testing.T) {
	s := newStore(t)
	server := gateway.NewServer(gateway.Config{}, storesOf(s), byName{}, &notes{}, testLog(t))
	run(t, server)
	c := newClient(t, server, "a")
	holder, err := c.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: "m1", TaskTypes: []string{"job"}}, time.Second)
	if err != nil || holder != nil {
		t.Fatal(holder, err)
	}
	holder, err = c.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: "m2", TaskTypes: []string{"job"}}, time.Second)
	if err != nil || holder == nil || holder.Manager != "m1" {
		t.Fatal(holder, err)
	}
	if held, err := c.Endpoints.Heartbeat(t.Context(), "m1", []string{"a"}, time.Second); err != nil || !held {
		t.Error(held, err)
	}
	if held, err := c.Endpoints.Heartbeat(t.Context(), "m2", []string{"a"}, time.Second); err != nil || held {
		t.Error(held, err)
	}
}

func acquire(t *testing.T, c *gateway.Client, endpoint, manager string) {
	t.Helper()
	holder, err := c.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{
		Name: endpoint, Manager: manager, TaskTypes: []string{"job"},
	}, time.Minute)
	if err != nil || holder != nil {
		t.Fatalf("held by %+v, %v", holder, err)
	}
}

func createTask(t *testing.T, s *store.Store, identifier string) tasker.Task {
	t.Helper()
	task, _, err := s.Tasks.CreateTask(t.Context(), tasker.Task{Type: "job", Identifier: identifier, Payload: []byte("1")})
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func messages(endpoint, manager string, tasks ...tasker.Task) (list []ledger.Incoming) {
	for _, task := range tasks {
		list = append(list, ledger.Incoming{
			ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Manager: manager, Type: task.Type, Identifier: task.Identifier,
			State: tasker.Running,
		})
	}
	return list
}

func ends(endpoint string, tasks ...tasker.Task) (list []ledger.End) {
	for _, task := range tasks {
		list = append(list, ledger.End{
			ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Attempt: 1, State: tasker.ResultDone,
		})
	}
	return list
}
