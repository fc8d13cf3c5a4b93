package config

import (
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/reconcile"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/manager"
)

// draft is a configuration while it is put together, with what has yet to be
// resolved into it.
type draft struct {
	Config
	dbURI, tokenFile, accessFile, allowedSigners          string
	dbPasswordFile, brokerPasswordFile, adminPasswordFile string
}

// newDraft returns the defaults, which are those of the components.
func newDraft() *draft {
	d := &draft{}
	d.API = api.DefaultConfig()
	d.PublishTimeout, d.MessagePayload = dispatch.DefaultTimeout, wire.DefaultMaxPayload
	d.Manager = manager.DefaultConfig()
	d.ManagerMode = ModeDatabase
	d.Gateway = GatewayServer{Limits: gateway.DefaultConfig(), MaxConnections: 20_000, MaxConnectionsPerAddress: 10_000}
	d.Store.MaxOpenConns = store.DefaultMaxOpenConns
	d.Rabbit = rabbit.Config{
		QueueType: "classic", QueueExpires: rabbit.DefaultQueueExpires, Heartbeat: rabbit.DefaultHeartbeat,
	}
	d.Reconcile = reconcile.DefaultConfig()
	d.RabbitAdmin.ManagementURI = "http://127.0.0.1:15672"
	d.Log.Format = "auto"
	return d
}

// key is one key of the configuration.
type key struct {
	path    string
	readers readers
	doc     string // for docs/configuration.md and the example files
	codec
}

// readers are the programs that read a key.
type readers string

const (
	all     readers = "all"
	forAPI  readers = "API"
	forMgr  readers = "manager"
	forBoth readers = "API, manager"
	// The gateway is part of an API process, or a process of its own.
	forGateway readers = "API, gateway"
	forAdmins  readers = "initialize, doctor"
)

const (
	kiB = 1 << 10
	miB = 1 << 20
	giB = 1 << 30
	day = 24 * time.Hour
	// maxQueueExpires fits RabbitMQ's 32 bits of milliseconds.
	maxQueueExpires = 49 * day
	// maxDuration bounds every other duration; longer ones are typing errors.
	maxDuration = 10 * 365 * day
)

const (
	// taskTypesKey is the only key that is not in the table: it is a list of
	// entries, whose own keys are in [fields].
	taskTypesKey   = "task_types"
	tokenFileKey   = "api.token_file"
	accessFileKey  = "api.access_file"
	databaseURIKey = "manager.db.uri"
	brokerURIKey   = "manager.message_queue.uri"
	spoolKey       = "manager.spool_dir"
	// labelsKey is the only key of the table that takes a mapping.
	labelsKey  = "manager.labels"
	metricsKey = "manager.metrics.listen"
	// logLevelKey is the only key of the table that can change while a program
	// runs.
	logLevelKey = "log.level"
)

// keys is the table of all keys but task_types, reading into d, whose values
// are the defaults. Reading, environment variables, unknown keys, "config show",
// the documentation and the comments of the example files follow it, in its
// order.
//
// A new key is a row here and a field of its component's Config with a default;
// go test ./config -run Docs -update documents it.
func keys(d *draft) []key {
	return slices.Concat(
		apiKeys(d), apiLimitKeys(d), tlsKeys(d), databaseKeys(d), brokerKeys(d), managerKeys(d), signatureKeys(d), gatewayKeys(d),
		otherKeys(d),
	)
}

func apiKeys(d *draft) []key {
	return []key{
		{
			"api.listen", forAPI, "address to listen on; any but a loopback address needs `api.token_file`, `api.access_file` or " +
				"`api.insecure`",
			text(&d.API.Listen),
		},
		{"api.port", forAPI, "TCP port; 0 takes a free one", number(&d.API.Port, 0, 65535)},
		{
			"api.wait_for_endpoints_timeout", forAPI,
			"time in which every endpoint should have received a task; after it the task is INCOMPLETE",
			duration(&d.API.WaitForEndpoints, time.Millisecond, maxDuration),
		},
		{
			tokenFileKey, forAPI, "file with the bearer token of every request, 32 characters or more: `openssl rand -hex 32`",
			text(&d.tokenFile),
		},
		{
			accessFileKey, forAPI, "file with the people who may use the API, their tokens and their rights (YAML), read again " +
				"when it changes; the token of `api.token_file` may do everything beside it",
			text(&d.accessFile),
		},
		{"api.insecure", forAPI, "lets anybody who can reach the address run tasks", boolean(&d.API.Insecure)},
		{"api.ui", forAPI, "serves the dashboard at `/ui/`", boolean(&d.API.UI)},
	}
}

// apiLimitKeys are those of the API's limits and times.
func apiLimitKeys(d *draft) []key {
	const (
		ms   = time.Millisecond
		conn = 1_000_000
	)
	return []key{
		{"api.max_body", forAPI, "bytes of a request's body", number(&d.API.MaxBody, kiB, giB)},
		{
			"api.max_concurrent", forAPI, "POSTs, and GETs, served at once; 16 times as many wait, up to 5 s, and the rest get " +
				"503 with Retry-After",
			number(&d.API.MaxConcurrent, 1, 10_000),
		},
		{"api.max_streams", forAPI, "live views, and requests that wait; others get 503, or do not", number(&d.API.MaxStreams, 1, 100_000)},
		{"api.max_streams_per_address", forAPI, "live views of one address", number(&d.API.MaxStreamsPerAddress, 1, 100_000)},
		{"api.max_connections", forAPI, "open connections; the rest are closed", number(&d.API.MaxConnections, 1, conn)},
		{
			"api.max_connections_per_address", forAPI, "open connections of one address, such as a proxy",
			number(&d.API.MaxConnectionsPerAddress, 1, conn),
		},
		{
			"api.max_bodies", forAPI, "bytes of request bodies held at once, beyond the first 16 KiB of each; the rest get 503",
			number(&d.API.MaxBodies, miB, 64*giB),
		},
		{
			"api.idle_timeout", forAPI, "how long a connection may wait for its next request",
			duration(&d.API.IdleTimeout, time.Second, time.Hour),
		},
		{
			"api.token_overlap", forAPI, "how long the previous token stays valid after its file changes",
			duration(&d.API.TokenOverlap, time.Second, day),
		},
		{
			"api.publish_timeout", forAPI, "how long a POST waits for RabbitMQ before it answers CREATED; publishing goes on in " +
				"the background",
			duration(&d.PublishTimeout, ms, dispatch.MaxTimeout),
		},
		{
			"api.message_payload", forAPI, "largest payload that a message carries; endpoints read a larger one from the database",
			size(&d.MessagePayload, 1, 16*miB),
		},
		{
			"api.shutdown_timeout", forAPI, "how long requests may go on when the API stops",
			duration(&d.API.ShutdownTimeout, ms, maxDuration),
		},
	}
}

func databaseKeys(d *draft) []key {
	return append([]key{
		{
			databaseURIKey, forBoth, "`mysql://user@host:3306/database`, for MariaDB 10.6+ and MySQL 8.0+, with `?tls=true` to " +
				"another host; " +
				"the tests run on MariaDB 10.11 only",
			text(&d.dbURI).masked(maskAddress),
		},
		{"manager.db.password_file", forBoth, "file with the password", text(&d.dbPasswordFile)},
		{"manager.db.verbose", forBoth, "logs every statement at level debug", boolean(&d.Store.Verbose)},
		{
			"manager.db.max_open_conns", forBoth, "connections of each process; all together must stay below the server's " +
				"`max_connections`",
			number(&d.Store.MaxOpenConns, 1, 10_000),
		},
	}, clientTLSKeys(databaseTLS, &d.Store.TLS, "the database", "`?tls=true` in the address")...)
}

func brokerKeys(d *draft) []key {
	return append([]key{
		{
			brokerURIKey, forBoth, "`amqp://user@host:5672/vhost`, or `amqps://`; a list of the nodes of a cluster",
			uris(&d.Rabbit.URIs).masked(maskAddress),
		},
		{"manager.message_queue.password_file", forBoth, "file with the password", text(&d.brokerPasswordFile)},
		{
			"manager.message_queue.queue_type", forBoth, "quorum on a cluster; cannot change for queues that exist",
			oneOf(&d.Rabbit.QueueType, "classic", "quorum"),
		},
		{
			"manager.message_queue.persistent", forAPI, "keeps tasks' messages over a restart of RabbitMQ, for a third to half of " +
				"its speed; without it endpoints find in the database what a restart lost. Quorum queues always keep them",
			boolean(&d.Rabbit.Persistent),
		},
		{
			"manager.message_queue.prefetch", forMgr, "messages of a queue that are delivered and not recorded yet",
			number(&d.Manager.Prefetch, 1, 65535),
		},
		{
			"manager.message_queue.expires", forBoth, "an endpoint's queue is deleted, with its messages, after so long without a manager",
			duration(&d.Rabbit.QueueExpires, time.Second, maxQueueExpires),
		},
		{
			"manager.message_queue.heartbeat", forBoth, "heartbeat of the AMQP connection",
			duration(&d.Rabbit.Heartbeat, time.Second, time.Hour),
		},
	}, clientTLSKeys(brokerTLS, &d.Rabbit.TLS, "RabbitMQ", "`amqps://`")...)
}

func managerKeys(d *draft) []key {
	const ms = time.Millisecond
	return []key{
		{"manager.heartbeat", forMgr, "time between two signs of life of a manager", duration(&d.Manager.Heartbeat, ms, time.Hour)},
		{
			"manager.lease", forMgr, "how long an endpoint's name stays taken after the last sign of life; at least twice " +
				"`manager.heartbeat`",
			duration(&d.Manager.Lease, ms, day),
		},
		{
			"manager.shutdown_timeout", forMgr, "how long handlers may go on when the manager stops",
			duration(&d.Manager.ShutdownTimeout, ms, maxDuration),
		},
		{
			"manager.abandon_after", forMgr, "how long a handler may take to return after its context has ended",
			duration(&d.Manager.AbandonAfter, ms, maxDuration),
		},
		{
			"manager.catch_up", forMgr, "time between two searches for tasks whose message was lost; from a hundred endpoints " +
				"on it grows with the square root of their number",
			duration(&d.Manager.CatchUp, 100*ms, day),
		},
		{
			spoolKey, forMgr, "directory that keeps results while the database is unreachable, on a disk of the machine itself; " +
				"relative to the configuration file, and in production by default to `/var/lib/tasker`",
			text(&d.Manager.SpoolDir),
		},
		{
			"manager.max_result", forMgr, "bytes of a handler's result; a handler's `max_output` or `max_response` must not be greater",
			number(&d.Manager.MaxResult, 1, giB),
		},
		{
			labelsKey, forMgr, "labels of the endpoint, as `{role: web}`, or `role=web,zone=eu` in the variable; task types may " +
				"require some",
			labels(&d.Manager.Labels),
		},
		{
			metricsKey, forMgr, "where the manager serves `/metrics` for Prometheus, such as `127.0.0.1:9464`: an address and a port, " +
				"or a port of 127.0.0.1; empty means nowhere. It asks for no token: whoever can reach the address can read it",
			text(&d.ManagerMetrics.Listen),
		},
	}
}

func otherKeys(d *draft) []key {
	return []key{
		{
			"reconcile.lost_after", forAPI,
			"silence after which an endpoint's unfinished results are LOST, once its lease has ended; at least `manager.lease`",
			duration(&d.Reconcile.LostAfter, time.Millisecond, maxDuration),
		},
		{
			"reconcile.incomplete_retention", forAPI,
			"how long a task may stay INCOMPLETE without any change before it is deleted; never less than the retention of its type",
			retention(&d.Reconcile.IncompleteRetention, 0),
		},
		{
			"reconcile.dead_letter_retention", forAPI, "how long a dead letter is kept",
			retention(&d.Reconcile.DeadLetterRetention, 0),
		},

		{
			"rabbitmq.management_uri", forAdmins, "address of RabbitMQ's management API",
			text(&d.RabbitAdmin.ManagementURI).masked(maskAddress),
		},
		{"rabbitmq.user", forAdmins, "a user that may create users and virtual hosts", text(&d.RabbitAdmin.User)},
		{"rabbitmq.password", forAdmins, "the user's password", text(&d.RabbitAdmin.Password).masked(maskAll)},
		{"rabbitmq.password_file", forAdmins, "file with the password", text(&d.adminPasswordFile)},

		{logLevelKey, all, "least level of log lines", level(&d.Log.Level)},
		{"log.format", all, "`auto` is coloured text on a terminal, and JSON elsewhere", oneOf(&d.Log.Format, "auto", "text", "json")},
	}
}

// paths returns the path of every key.
func paths() []string {
	all := []string{taskTypesKey}
	for _, k := range keys(&draft{}) {
		all = append(all, k.path)
	}
	return all
}

// EnvPrefix begins the names of tasker's environment variables.
const EnvPrefix = "TASKER_"

// EnvName returns the environment variable of a key: TASKER_API_PORT for api.port.
func EnvName(path string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}
