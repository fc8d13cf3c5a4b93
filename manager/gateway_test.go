package manager_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/manager"
)

// overGateway is the variable that has the tests of this package run their managers
// over the gateway, in place of the database.
const overGateway = "TASKER_TEST_OVER_GATEWAY"

// parts returns what a manager needs of a database: itself or, over the gateway, a
// client of a server that stands beside it. So faults are injected behind the
// server.
func (w *world) parts(d database) manager.Store {
	w.t.Helper()
	if os.Getenv(overGateway) == "" {
		s := parts(d)
		s.Places = w.places
		return s
	}
	behind := beside{d, w}
	// Leases as short as those of the managers of these tests.
	server := gateway.NewServer(gateway.Config{Heartbeat: time.Millisecond}, gateway.Stores{
		Endpoints: behind, Results: behind, Attempts: d, Work: d, Live: behind, Database: behind,
	}, anyEndpoint{}, w.broker, w.log)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); server.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
	tokens := map[string]gateway.Token{}
	for _, name := range []string{"a", "b", "c"} {
		tokens[name] = func() (string, error) { return name, nil }
	}
	c, err := gateway.NewClient(gateway.ClientConfig{
		Addresses: []string{gateway.InProcessAddress}, Tokens: tokens, Transport: gateway.InProcess(server.Handler()),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s := manager.Store{
		Endpoints: c.Endpoints, Results: c.Results, Attempts: c.Attempts, Work: c.Work, Live: c.Live, Database: c.Database, Pacer: c,
		Gateway: true,
	}
	if w.places != nil {
		s.Places = c.Results
	}
	return s
}

// anyEndpoint is an authenticator for which the name of an endpoint is its token.
type anyEndpoint struct{}

func (anyEndpoint) Endpoint(_ context.Context, token string) (string, error) { return token, nil }

// beside is a database with what only the gateway uses. Faults of what it does in
// another way than a manager are those of the manager's way.
type beside struct {
	database
	*world
}

// TakeTasks is that of the world, if its managers take places.
func (b beside) TakeTasks(ctx context.Context, manager, endpoint, taskType string, limit int) ([]tasker.Task, error) {
	return b.places.TakeTasks(ctx, manager, endpoint, taskType, limit)
}

func (b beside) RenewLeases(ctx context.Context, renewals []ledger.Renewal) ([]bool, error) {
	held := make([]bool, len(renewals))
	for i, r := range renewals {
		var err error
		if held[i], err = b.Heartbeat(ctx, r.Manager, []string{r.Endpoint}, r.Lease); err != nil {
			return nil, err
		}
	}
	return held, nil
}

func (b beside) CommandsAt(ctx context.Context, endpoints []string) ([]ledger.Commands, error) {
	return b.store.CommandsAt(ctx, endpoints)
}

func (b beside) ResultPayload(ctx context.Context, key tasker.ResultKey) (json.RawMessage, error) {
	if _, err := b.store.ResultPayload(ctx, key); err != nil {
		return nil, err
	}
	return b.TaskPayload(ctx, key.TaskID)
}

func (b beside) CountSeen(ctx context.Context, since time.Time) (int, error) {
	return b.store.CountSeen(ctx, since)
}

func (b beside) ResultNews(ctx context.Context, keys []tasker.ResultKey) ([]tasker.ResultNews, error) {
	return b.store.ResultNews(ctx, keys)
}

func (b beside) Ping(ctx context.Context) error { return b.store.Ping(ctx) }

// Managers over the gateway do the same as those beside the database.
func TestOverGateway(t *testing.T) {
	if os.Getenv(overGateway) != "" {
		t.Skip("this is the inner run")
	}
	t.Parallel()
	names := []string{
		"Test.*AnswerIsLost", "TestBackFromLost", "TestCatches.*", "TestCrash.*", "TestDatabaseFaults", "TestDeadManagersNameIsFree",
		"TestDuplicateMessages", "TestDrainRace", "TestEnds", "TestForget.*", "TestGivesBack.*", "TestHeld.*",
		"TestHolds.*", "TestInterrupted.*", "TestLargePayloads", "TestLive.*",
		"TestNoAttemptBeginsWithoutALease", "TestPoison.*", "TestReboot", "TestResultsOutliveTheManager", "TestRetr.*",
		"TestRowBeforeAcknowledgement", "TestSecondManagerIsRefused", "TestServesBesideTheSpool", "TestSigned.*", "TestSpool.*",
		"TestStopLetsHandlersFinish", "TestTakenOver.*", "TestWaitingIsBackFromLost",
	}
	inner := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^("+strings.Join(names, "|")+")$")
	inner.Env = append(os.Environ(), overGateway+"=1")
	if out, err := inner.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
