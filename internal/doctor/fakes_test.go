package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbitadmin"
	"github.com/taskerhq/tasker/internal/ledger"
)

var now = time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC)

// fakeDatabase returns what a test put into it.
type fakeDatabase struct {
	ping, schema     error
	writes           error
	server           ledger.Server
	ahead, roundTrip time.Duration
	endpoints        []tasker.Endpoint
	endpointsError   error
	unsent, overdue  ledger.Backlog
	refused          []tasker.RefusedTask
	sentUntil        time.Time // what Overdue was asked for
	incomplete       []ledger.IncompleteTask
	incompleteTotal  int
	lost             int
	lostAt           []string
	dead             int
	rollouts         []tasker.Task
	held             map[string]tasker.Hold
	hang             bool // in Ping, until the time is up
}

var _ Database = (*fakeDatabase)(nil)

func (f *fakeDatabase) Name() string { return "tasker" }

func (f *fakeDatabase) Ping(ctx context.Context) error {
	if f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.ping
}

func (f *fakeDatabase) CheckSchema(context.Context) error { return f.schema }
func (f *fakeDatabase) CheckWrites(context.Context) error { return f.writes }
func (f *fakeDatabase) Now() time.Time                    { return now }

func (f *fakeDatabase) MeasureClock(context.Context) (ahead, roundTrip time.Duration, err error) {
	return f.ahead, f.roundTrip, nil
}

func (f *fakeDatabase) DescribeServer(context.Context) (ledger.Server, error) { return f.server, nil }

func (f *fakeDatabase) ListEndpoints(_ context.Context, q tasker.EndpointQuery) ([]tasker.Endpoint, error) {
	var page []tasker.Endpoint
	for _, e := range f.endpoints {
		if e.Name > q.After && len(page) < q.Limit {
			page = append(page, e)
		}
	}
	return page, f.endpointsError
}

func (f *fakeDatabase) RefusedTasks(context.Context, int) (int, []tasker.RefusedTask, error) {
	return len(f.refused), f.refused, nil
}

func (f *fakeDatabase) Unsent(context.Context, time.Time) (ledger.Backlog, error) {
	return f.unsent, nil
}

func (f *fakeDatabase) Overdue(_ context.Context, until time.Time) (ledger.Backlog, error) {
	f.sentUntil = until
	return f.overdue, nil
}

func (f *fakeDatabase) IncompleteTasks(context.Context, int) (int, []ledger.IncompleteTask, error) {
	return f.incompleteTotal, f.incomplete, nil
}

func (f *fakeDatabase) LostResults(context.Context, int) (int, []string, error) {
	return f.lost, f.lostAt, nil
}

func (f *fakeDatabase) CountDeadLetters(context.Context) (int, error) { return f.dead, nil }

func (f *fakeDatabase) WaitingRollouts(context.Context, int) (int, []tasker.Task, error) {
	return len(f.rollouts), f.rollouts, nil
}

func (f *fakeDatabase) PausedTypes(context.Context) (map[string]tasker.Hold, error) {
	return f.held, nil
}

// fakeNode is a RabbitMQ that has what is in its maps.
type fakeNode struct {
	address   string
	refuse    error
	exchanges map[string]bool
	queues    map[string]queue
}

var _ Node = (*fakeNode)(nil)

func (f *fakeNode) Address() string                         { return f.address }
func (f *fakeNode) Connect(context.Context) (string, error) { return "3.10.8", f.refuse }

func (f *fakeNode) Exchange(_ context.Context, name string) (bool, error) {
	return f.exchanges[name], nil
}

func (f *fakeNode) Queue(_ context.Context, name string) (messages, consumers int, exists bool, err error) {
	q := f.queues[name]
	return q.messages, q.consumers, q.exists, nil
}

type fakeManagement struct {
	err         error
	queues      []rabbitadmin.Queue
	exchanges   []rabbitadmin.Exchange
	bindings    map[string][]rabbitadmin.Binding
	permissions rabbitadmin.Permissions
	unknownUser bool
	nodes       []rabbitadmin.Node
}

var _ Management = (*fakeManagement)(nil)

func (f *fakeManagement) Queues(context.Context, string) ([]rabbitadmin.Queue, error) {
	return f.queues, f.err
}

func (f *fakeManagement) Exchanges(context.Context, string) ([]rabbitadmin.Exchange, error) {
	return f.exchanges, f.err
}

func (f *fakeManagement) Bindings(_ context.Context, _, exchange string) ([]rabbitadmin.Binding, error) {
	return f.bindings[exchange], f.err
}

func (f *fakeManagement) UserPermissions(context.Context, string, string) (rabbitadmin.Permissions, error) {
	if f.unknownUser {
		return rabbitadmin.Permissions{}, tasker.Errorf(tasker.NotFound, "no such user")
	}
	return f.permissions, f.err
}

func (f *fakeManagement) Nodes(context.Context) ([]rabbitadmin.Node, error) { return f.nodes, f.err }

// installation is one with two endpoints, in which all is well.
type installation struct {
	Subject
	db    *fakeDatabase
	node  *fakeNode
	admin *fakeManagement
}

const queueType, queueExpires = "classic", 7 * 24 * time.Hour

func healthy() *installation {
	i := &installation{
		db: &fakeDatabase{
			server: ledger.Server{
				Kind: "MariaDB", Version: "10.11.6-MariaDB-0+deb12u1",
				FlushLog: 1, MaxConnections: 151,
			},
			roundTrip: time.Millisecond,
		},
		node: &fakeNode{
			address:   "amqp://tasker@127.0.0.1:5672/tasker",
			exchanges: map[string]bool{"tasker.worker": true, broker.DeadExchange: true, broker.EventsExchange: true},
			queues:    map[string]queue{broker.DeadQueue: {exists: true}},
		},
		admin: &fakeManagement{
			permissions: rabbitadmin.Least(),
			nodes:       []rabbitadmin.Node{{Name: "rabbit@a", Running: true, DiskFree: 9e10, DiskFreeLimit: 5e7}},
			queues:      []rabbitadmin.Queue{{Name: broker.DeadQueue, Type: queueType, Durable: true}},
			exchanges: []rabbitadmin.Exchange{
				{Name: "tasker.worker", Type: "direct", Durable: true},
				{Name: broker.DeadExchange, Type: "fanout", Durable: true},
				{Name: broker.EventsExchange, Type: "topic", Durable: true},
				{Name: "amq.topic", Type: "topic", Durable: true},
			},
			bindings: map[string][]rabbitadmin.Binding{broker.DeadExchange: {{Queue: broker.DeadQueue}}},
		},
	}
	i.Subject = Subject{
		Settings: Settings{
			Mode: "production", File: "production.config.yaml", TaskTypes: []string{"worker"}, Listen: "127.0.0.1", Token: true,
			Accounts:     []Account{{"manager.db", "tasker", "xkcd-936"}},
			MaxOpenConns: 16, QueueExpires: queueExpires, WaitForEndpoints: time.Minute,
			QueueArguments: map[string]any{
				"x-queue-type": queueType, "x-dead-letter-exchange": broker.DeadExchange, "x-expires": queueExpires.Milliseconds(),
			},
			DeadArguments: map[string]any{"x-queue-type": queueType},
		},
		Database: i.db, Endpoints: i.db, Tasks: i.db, Nodes: []Node{i.node}, Management: i.admin, User: "tasker", VirtualHost: "tasker",
	}
	i.endpoint("console1", time.Second)
	i.endpoint("console2", time.Second)
	return i
}

// endpoint adds one that has been silent for that long, with its queue.
func (i *installation) endpoint(name string, silent time.Duration) {
	alive := silent < time.Minute
	i.db.endpoints = append(i.db.endpoints, tasker.Endpoint{
		Name: name, TaskTypes: []string{"worker"}, LastSeen: now.Add(-silent), Alive: alive,
	})
	q := queue{exists: true}
	if alive {
		q.consumers = 1
	}
	i.node.queues["tasker.worker."+name] = q
	i.admin.queues = append(i.admin.queues, rabbitadmin.Queue{
		Name: "tasker.worker." + name, Type: queueType, Durable: true,
		Arguments: map[string]any{"x-dead-letter-exchange": broker.DeadExchange, "x-expires": float64(queueExpires.Milliseconds())},
	})
	i.admin.bindings["tasker.worker"] = append(i.admin.bindings["tasker.worker"],
		rabbitadmin.Binding{Queue: "tasker.worker." + name, Key: "all"},
		rabbitadmin.Binding{Queue: "tasker.worker." + name, Key: "endpoint." + name})
}

// found returns the report's findings that are not OK, as "level group/name:
// message".
func found(r Report) []string {
	var list []string
	for _, c := range r.Checks {
		if c.Level != OK {
			list = append(list, string(c.Level)+" "+c.Group+"/"+c.Name+": "+c.Message)
		}
	}
	return list
}

// wantFound fails the test unless the findings that are no OK are those that
// begin with, or hold, the wanted texts, in that order.
func wantFound(t *testing.T, r Report, want ...string) {
	t.Helper()
	got := found(r)
	if len(got) != len(want) {
		t.Fatalf("%d findings, want %d:\n%s\nwant\n%s", len(got), len(want), strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i := range got {
		level, text, _ := strings.Cut(want[i], " ")
		if !strings.HasPrefix(got[i], level+" ") || !strings.Contains(got[i], text) {
			t.Errorf("found %q, want %q", got[i], want[i])
		}
	}
}

var errAway = errors.New("dial tcp 127.0.0.1:1: connect: connection refused")
