package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbitadmin"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/certfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAllIsWell(t *testing.T) {
	t.Parallel()
	r := Run(t.Context(), healthy().Subject)
	wantFound(t, r)
	groups := map[string]int{}
	for _, c := range r.Checks {
		groups[c.Group]++
		if c.Message == "" || c.Name == "" {
			t.Errorf("a finding without a word: %+v", c)
		}
	}
	for _, group := range []string{"configuration", "database", "broker", "endpoints", "tasks"} {
		if groups[group] == 0 {
			t.Errorf("nothing of the %s was checked", group)
		}
	}
}

// certificate returns what gives an installation a certificate of 500 hours, so much of
// which is left.
func certificate(left time.Duration) func(*installation) {
	return func(i *installation) {
		end := time.Now().Add(left)
		i.Settings.TLS = true
		i.Settings.Certificates = []Certificate{{"api.tls.cert_file", "api.pem", end.Add(-500 * time.Hour), end}}
	}
}

// TestFindings changes one thing of a healthy installation at a time.
func TestFindings(t *testing.T) {
	t.Parallel()
	const worker = "tasker.worker"
	for name, test := range map[string]struct {
		change func(*installation)
		want   []string
	}{
		"no use for an API": {
			func(i *installation) { i.Settings.Error = errAway },
			[]string{"warning is invalid for an API: dial", "note configuration/access: not checked"},
		},
		"insecure for all": {
			func(i *installation) {
				i.Settings.Insecure, i.Settings.Listen, i.Settings.Token = true, "0.0.0.0", false
			},
			[]string{"warning api.insecure lets everybody who can reach 0.0.0.0 run tasks"},
		},
		"insecure on loopback": {func(i *installation) { i.Settings.Insecure = true }, []string{"warning api.insecure is set"}},
		"no TLS":               {func(i *installation) { i.Settings.Listen = "10.0.0.1" }, []string{"note listens on 10.0.0.1 without TLS"}},
		"no client certificate": {
			func(i *installation) { i.Settings.Listen, i.Settings.TLS, i.Settings.Insecure = "10.0.0.1", true, true },
			[]string{"warning api.insecure lets everybody who can reach 10.0.0.1 run tasks"},
		},
		"client certificates": {func(i *installation) {
			i.Settings.Listen, i.Settings.TLS, i.Settings.Insecure, i.Settings.ClientCertificates = "10.0.0.1", true, true, true
		}, nil},
		"certificate ended":  {certificate(-time.Hour), []string{"problem configuration/certificates: api.tls.cert_file: api.pem ended at"}},
		"certificate begins": {certificate(900 * time.Hour), []string{"problem configuration/certificates: api.tls.cert_file: api.pem begins at"}},
		"certificate ends":   {certificate(24 * time.Hour), []string{"warning configuration/certificates: api.tls.cert_file: api.pem ends at"}},
		"certificate lasts":  {certificate(300 * time.Hour), nil},
		"clear text": {
			func(i *installation) { i.Settings.UnsafeAddresses = []string{"manager.db.uri: db is another host"} },
			[]string{"warning configuration/network: manager.db.uri: db is another host"},
		},
		"token ends": {
			func(i *installation) { i.Settings.Tokens = []Token{{"the token of ann", time.Now().Add(time.Hour)}} },
			[]string{"warning configuration/tokens: the token of ann ends at"},
		},
		"token ended": {
			func(i *installation) { i.Settings.Tokens = []Token{{"the token of ann", time.Now().Add(-time.Hour)}} },
			[]string{"note configuration/tokens: the token of ann ended at"},
		},
		"default password": {func(i *installation) {
			i.Settings.Accounts = append(i.Settings.Accounts, Account{"rabbitmq", "guest", "guest"})
		}, []string{"warning configuration/passwords: rabbitmq has a well-known password"}},
		"default password, development": {func(i *installation) {
			i.Settings.Accounts, i.Settings.Development = []Account{{"manager.db", "tasker", "tasker"}}, true
		}, []string{"note default passwords in manager.db"}},

		"old MariaDB": {func(i *installation) { i.db.server.Version = "10.5.23-MariaDB" }, []string{"problem MariaDB 10.5.23-MariaDB is too old: tasker needs 10.6"}},
		"old MySQL":   {func(i *installation) { i.db.server.Kind, i.db.server.Version = "MySQL", "5.7.44-log" }, []string{"problem MySQL 5.7.44-log is too old: tasker needs 8.0"}},
		"new MySQL":   {func(i *installation) { i.db.server.Kind, i.db.server.Version = "MySQL", "8.4.2" }, nil},
		"odd version": {func(i *installation) { i.db.server.Version = "main" }, []string{"warning database/server"}},
		"sessions":    {func(i *installation) { i.db.server.Otherwise = []string{"autocommit is OFF"} }, []string{"note has unusual defaults"}},
		"no writes":   {func(i *installation) { i.db.writes = errors.New("BINLOG_FORMAT") }, []string{"problem BINLOG_FORMAT"}},
		"packets":     {func(i *installation) { i.db.server.LargestValue, i.Settings.MaxResult = 1000, 1001 }, []string{"warning manager.max_result is 1001"}},
		"flush":       {func(i *installation) { i.db.server.FlushLog = 2 }, []string{"warning innodb_flush_log_at_trx_commit is 2"}},
		"binlog":      {func(i *installation) { i.db.server.BinaryLog = true }, []string{"warning sync_binlog is 0"}},
		"read-only":   {func(i *installation) { i.db.server.ReadOnly = true }, []string{"problem the server is read-only"}},
		"few":         {func(i *installation) { i.db.server.MaxConnections = 40 }, []string{"note enough for 2 processes"}},
		"skew":        {func(i *installation) { i.db.ahead = -1500 * time.Millisecond }, []string{"warning clock is 1.5s behind this machine's"}},
		"great skew":  {func(i *installation) { i.db.ahead = 61 * time.Second }, []string{"problem clock is 1m1s ahead of this machine's"}},
		"little skew": {func(i *installation) { i.db.ahead = 900 * time.Millisecond }, nil},
		"slow":        {func(i *installation) { i.db.roundTrip = 80 * time.Millisecond }, []string{"warning a statement takes 80ms"}},
		"SQLite":      {func(i *installation) { i.db.server = ledger.Server{Kind: "SQLite", Version: "3.41.2"} }, []string{"note not applicable to SQLite"}},
		"schema missing": {func(i *installation) { i.db.schema = tasker.Errorf(tasker.Conflict, "the schema has version 0") }, []string{
			"problem database/schema: the schema has version 0", "note broker/queues: not checked", "note endpoints/all: not checked", "note tasks/all: not checked",
		}},

		"one of two nodes down": {func(i *installation) {
			i.Nodes = []Node{&fakeNode{address: "amqp://b", refuse: errAway}, i.node}
		}, []string{"warning broker/connection: dial"}},
		"exchange missing":      {func(i *installation) { delete(i.node.exchanges, worker) }, []string{"problem 1 exchange missing: tasker.worker"}},
		"no events yet":         {func(i *installation) { delete(i.node.exchanges, broker.EventsExchange) }, []string{"note tasker.events does not exist yet"}},
		"dead exchange missing": {func(i *installation) { delete(i.node.exchanges, broker.DeadExchange) }, []string{"problem broker/dead letters: exchange"}},
		"dead queue missing":    {func(i *installation) { delete(i.node.queues, broker.DeadQueue) }, []string{"problem broker/dead letters: queue"}},
		"dead messages": {
			func(i *installation) { i.node.queues[broker.DeadQueue] = queue{exists: true, messages: 3} },
			[]string{"warning 3 messages in queue tasker.dead"},
		},

		"queue deleted": {
			func(i *installation) { delete(i.node.queues, worker+".console1") },
			[]string{"problem endpoints/queues: 1 queue of living endpoints missing: tasker.worker.console1"},
		},
		"queue unread": {
			func(i *installation) { i.node.queues[worker+".console1"] = queue{exists: true, messages: 2} },
			[]string{"note no consumer for tasker.worker.console1 (2)", "problem of living endpoints without a consumer: tasker.worker.console1 (2 messages)"},
		},
		"queue deep": {func(i *installation) {
			i.node.queues[worker+".console2"] = queue{exists: true, messages: 50000, consumers: 1}
		}, []string{"warning 1 queue with many messages: tasker.worker.console2 (50000)"}},
		"endpoint silent": {
			func(i *installation) { i.endpoint("console3", 49*time.Hour+90*time.Second) },
			[]string{"warning endpoints/alive: 1 of 3 endpoints down: console3 for 2 days"},
		},
		"endpoint silent, queue gone": {func(i *installation) {
			i.endpoint("console3", 2*time.Hour)
			delete(i.node.queues, worker+".console3")
		}, []string{"warning console3 for 2h", "warning 1 queue of stopped endpoints missing: tasker.worker.console3"}},
		"endpoint silent, queue expired": {func(i *installation) {
			i.endpoint("console3", queueExpires+time.Hour)
			delete(i.node.queues, worker+".console3")
		}, []string{"warning console3 for 7 days"}},
		"nobody": {func(i *installation) { i.db.endpoints = nil }, []string{
			"note 2 queues of no registered endpoint: tasker.worker.console1, tasker.worker.console2",
			"warning no endpoint is registered: nothing", "warning no endpoint is registered for worker",
		}},
		"endpoints unreadable": {
			func(i *installation) { i.db.endpointsError = errAway },
			[]string{"note broker/queues: not checked", "problem endpoints/registered: dial"},
		},

		"memory": {func(i *installation) { i.admin.nodes[0].MemoryAlarm = true }, []string{"problem node rabbit@a accepts no messages: out of memory"}},
		"disk": {
			func(i *installation) { i.admin.nodes[0].DiskAlarm, i.admin.nodes[0].DiskFree = true, 4e7 },
			[]string{"problem node rabbit@a accepts no messages: only 40 MB of disk free"},
		},
		"disk low": {func(i *installation) { i.admin.nodes[0].DiskFree = 12e7 }, []string{"warning has 120 MB of disk free: below 50 MB"}},
		"node down": {
			func(i *installation) { i.admin.nodes = append(i.admin.nodes, rabbitadmin.Node{Name: "rabbit@b"}) },
			[]string{"problem node rabbit@b is down"},
		},
		"partition":         {func(i *installation) { i.admin.nodes[0].Partitions = []string{"rabbit@b"} }, []string{"problem rabbit@a is partitioned from rabbit@b"}},
		"permissions":       {func(i *installation) { i.admin.permissions.Write = "^$" }, []string{"problem user tasker may not write tasker.dead"}},
		"empty permission":  {func(i *installation) { i.admin.permissions.Read = "" }, []string{"problem may not read tasker.dead"}},
		"no permissions":    {func(i *installation) { i.admin.unknownUser = true }, []string{"problem tasker has no permissions in virtual host tasker"}},
		"odd permissions":   {func(i *installation) { i.admin.permissions.Read = "(?<!x)tasker" }, []string{"note unsupported pattern"}},
		"no management":     {func(i *installation) { i.Management, i.ManagementError = nil, errAway }, []string{"note alarms, permissions, arguments, bindings: not checked: dial"}},
		"management away":   {func(i *installation) { i.admin.err = errAway }, []string{"note alarms, permissions, arguments, bindings not checked: dial"}},
		"queue type":        {func(i *installation) { i.Settings.DeadArguments["x-queue-type"] = "quorum" }, []string{"problem 1 difference from the configuration: queue tasker.dead has x-queue-type classic instead of quorum"}},
		"expires":           {func(i *installation) { i.admin.queues[1].Arguments["x-expires"] = 5000.0 }, []string{"problem console1 has x-expires 5000 instead of 604800000"}},
		"no dead lettering": {func(i *installation) { delete(i.admin.queues[1].Arguments, "x-dead-letter-exchange") }, []string{"problem has x-dead-letter-exchange none instead of tasker.dead"}},
		"argument too many": {func(i *installation) { i.admin.queues[1].Arguments["x-message-ttl"] = 1.0 }, []string{"problem has x-message-ttl 1 instead of none"}},
		"not durable":       {func(i *installation) { i.admin.queues[1].Durable = false }, []string{"problem queue tasker.worker.console1 is not durable"}},
		"exchange type":     {func(i *installation) { i.admin.exchanges[0].Type = "fanout" }, []string{"problem exchange tasker.worker is fanout, but must be direct"}},
		"binding missing": {
			func(i *installation) { i.admin.bindings[worker] = i.admin.bindings[worker][1:] },
			[]string{"problem 1 binding is missing, so that messages do not arrive: tasker.worker.console1 with key all"},
		},
		"dead binding missing": {func(i *installation) { delete(i.admin.bindings, broker.DeadExchange) }, []string{"problem queue tasker.dead is not bound"}},

		"refused": {func(i *installation) {
			i.db.refused = []tasker.RefusedTask{{ID: 7, Type: "worker", Identifier: "a", Attempts: 3, Reason: "too large"}}
		}, []string{"problem tasks/refused: 1 task is CREATED and refused by RabbitMQ: task 7, worker/a, after 3 attempts: too large"}},
		"unsent":  {func(i *installation) { i.db.unsent = ledger.Backlog{Tasks: 2, Oldest: now.Add(-5 * time.Minute)} }, []string{"problem tasks/unsent: 2 tasks are CREATED and not sent, the oldest for 5m"}},
		"overdue": {func(i *installation) { i.db.overdue = ledger.Backlog{Tasks: 1, Oldest: now.Add(-time.Hour)} }, []string{"problem tasks/overdue: 1 task is SENT and past"}},
		"incomplete": {func(i *installation) {
			i.db.incompleteTotal, i.db.incomplete = 7, []ledger.IncompleteTask{{Type: "worker", Identifier: "one", Missing: []string{"a", "b"}, Lost: []string{"c"}}}
		}, []string{"warning 7 tasks are INCOMPLETE, the latest 1: worker/one without a, b, lost at c"}},
		"lost": {func(i *installation) { i.db.lost, i.db.lostAt = 4, []string{"a"} }, []string{"warning 4 results are LOST, at a"}},
		"a halted rollout": {
			func(i *installation) {
				i.db.rollouts = []tasker.Task{{Type: "worker", Identifier: "r", Rollout: &tasker.Rollout{State: "HALTED", Reason: "bad endpoints: 3 of 50"}}}
			},
			[]string{"warning 1 rollout is waiting for a person: worker/r is HALTED: bad endpoints: 3 of 50"},
		},
		"dead letters": {func(i *installation) { i.db.dead = 1 }, []string{"warning 1 dead letter is stored"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := healthy()
			test.change(i)
			r := Run(t.Context(), i.Subject)
			wantFound(t, r, test.want...)
			for _, c := range r.Checks {
				if c.Level == Problem && c.Advice == "" && c.Name != "schema" && c.Name != "registered" {
					t.Errorf("a problem without advice: %+v", c)
				}
			}
		})
	}
}

// TestServicesAway: what does not depend on them is checked all the same.
func TestServicesAway(t *testing.T) {
	t.Parallel()
	i := healthy()
	i.db.ping, i.node.refuse = errAway, tasker.WrapError(tasker.Unauthorized, errAway, "refused")
	r := Run(t.Context(), i.Subject)
	wantFound(t, r,
		"problem database/connection: dial tcp", "note database/all else: not checked",
		"problem broker/connection: refused", "note broker/exchanges, queues: not checked",
		"note endpoints/all: not checked", "note tasks/all: not checked")
	for _, c := range r.Checks {
		if c.Group == "broker" && c.Level == Problem && !strings.Contains(c.Advice, "tasker initialize --rabbitmq") {
			t.Errorf("of a refusal: %+v", c)
		}
	}

	i = healthy()
	i.node.refuse, i.admin.unknownUser = errAway, true
	wantFound(t, Run(t.Context(), i.Subject),
		"problem broker/connection: dial tcp", "note broker/exchanges, queues", "problem broker/permissions",
		"note broker/arguments, bindings: not checked", "note endpoints/queues: not checked")

	i = healthy()
	i.Database, i.DatabaseError = nil, errAway
	wantFound(t, Run(t.Context(), i.Subject),
		"problem database/connection: dial tcp", "note broker/queues", "note endpoints/all", "note tasks/all")
}

func TestAHungServiceCostsItsTimeOnly(t *testing.T) {
	t.Parallel()
	i := healthy()
	i.db.hang, i.Limit = true, time.Millisecond
	r := Run(t.Context(), i.Subject)
	if got := found(r); len(got) == 0 || !strings.HasSuffix(got[0], "no answer within 1ms") {
		t.Errorf("%q", got)
	}

	// An operator who has seen enough.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	i.Limit = time.Hour
	if got := found(Run(ctx, i.Subject)); len(got) == 0 || !strings.Contains(got[0], "canceled") {
		t.Errorf("%q", got)
	}
}

func TestOverdueLeavesTheReconcilerTime(t *testing.T) {
	t.Parallel()
	i := healthy()
	Run(t.Context(), i.Subject)
	if got := now.Sub(i.db.sentUntil); got != 2*time.Minute {
		t.Errorf("asked for tasks sent %s ago", got)
	}
}

func TestManyEndpoints(t *testing.T) {
	t.Parallel()
	i := healthy()
	i.db.endpoints = nil
	for n := range 2*endpointsPerPage + 1 {
		i.endpoint(name(n), time.Hour)
	}
	i.db.endpoints[0].Alive = true
	r := Run(t.Context(), i.Subject)
	text := strings.Join(found(r), "\n")
	if !strings.Contains(text, "1000 of 1001 endpoints down: ") || !strings.Contains(text, " and 990 more") {
		t.Error(text)
	}
}

func name(n int) string {
	return "e" + string([]byte{'a' + byte(n/676), 'a' + byte(n/26%26), 'a' + byte(n%26)})
}

func TestAgo(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 59*time.Second + 999*time.Millisecond: "59s", time.Minute: "1m", 61 * time.Minute: "1h1m", 2 * time.Hour: "2h",
		10 * time.Minute: "10m", 48 * time.Hour: "2 days", 47*time.Hour + 30*time.Second: "47h",
	} {
		if got := ago(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

// An error of a connection that says what to do has no other advice beside it.
func TestAdviceOnRefusals(t *testing.T) {
	t.Parallel()
	refusal := certfile.NewRefusal(errAway, "set manager.db.tls.ca_file")
	for err, want := range map[error]string{errAway: "ask", fmt.Errorf("connect: %w", refusal): ""} {
		if got := unlessRefused(err, "ask"); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
