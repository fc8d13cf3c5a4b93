package config

import (
	"log/slog"
	"strings"
	"time"
)

// draft is a configuration while it is put together, with what has yet to be
// resolved into it.
type draft struct {
	Config
	level, dbURI, tokenFile                               string
	dbPasswordFile, brokerPasswordFile, adminPasswordFile string
}

// key is one key of the configuration: its place in the file, its default, and
// how its value gets into the draft. The order is that of "config show".
type key struct {
	path string
	def  any
	mask mask
	set  setter[draft]
}

// isDuration tells whether the key's default is a duration.
func (k key) isDuration() bool {
	s, ok := k.def.(string)
	_, valid := parseDuration(s)
	return ok && valid
}

// mask says what of a value may be printed.
type mask int

const (
	maskNothing  mask = iota
	maskPassword      // the password of a URI
	maskAll
)

const (
	kiB = 1 << 10
	miB = 1 << 20
	giB = 1 << 30
	// maxQueueExpires is what fits RabbitMQ's 32 bits of milliseconds.
	maxQueueExpires = 49 * 24 * time.Hour
	// maxDuration bounds every other duration; longer ones are typing errors.
	maxDuration = 10 * 365 * 24 * time.Hour
)

// taskTypesKey is the one key that is not in the table: it is a list of
// entries, read by taskTypes.
const taskTypesKey = "task_types"

const databaseURIKey = "manager.db.uri"

// brokerURIKey is the one key of the table that takes a list.
const brokerURIKey = "manager.message_queue.uri"

// keys is the table of all keys but task_types. Reading, defaults, environment
// variables, unknown keys and "config show" all go by it.
func keys() []key {
	return []key{
		{"api.listen", "127.0.0.1", maskNothing, text(func(d *draft) *string { return &d.API.Listen })},
		{"api.port", 8888, maskNothing, number(func(d *draft) *int { return &d.API.Port }, 0, 65535)},
		{"api.wait_for_endpoints_timeout", "60s", maskNothing, duration(func(d *draft) *time.Duration { return &d.API.WaitForEndpoints }, time.Millisecond, maxDuration)},
		{"api.token_file", "", maskNothing, text(func(d *draft) *string { return &d.tokenFile })},
		{"api.insecure", false, maskNothing, boolean(func(d *draft) *bool { return &d.API.Insecure })},
		{"api.max_body", miB, maskNothing, number(func(d *draft) *int64 { return &d.API.MaxBody }, kiB, giB)},
		{"api.max_concurrent", 64, maskNothing, number(func(d *draft) *int { return &d.API.MaxConcurrent }, 1, 10000)},
		{"api.max_streams", 256, maskNothing, number(func(d *draft) *int { return &d.API.MaxStreams }, 1, 100000)},
		{"api.max_streams_per_address", 64, maskNothing, number(func(d *draft) *int { return &d.API.MaxStreamsPerAddress }, 1, 100000)},
		{"api.max_connections", 6000, maskNothing, number(func(d *draft) *int { return &d.API.MaxConnections }, 1, 1000000)},
		{"api.max_connections_per_address", 3000, maskNothing, number(func(d *draft) *int { return &d.API.MaxConnectionsPerAddress }, 1, 1000000)},
		{"api.max_bodies", 64 * miB, maskNothing, number(func(d *draft) *int64 { return &d.API.MaxBodies }, miB, 64*giB)},
		{"api.idle_timeout", "60s", maskNothing, duration(func(d *draft) *time.Duration { return &d.API.IdleTimeout }, time.Second, time.Hour)},
		{"api.token_overlap", "10m", maskNothing, duration(func(d *draft) *time.Duration { return &d.API.TokenOverlap }, time.Second, 24*time.Hour)},
		{"api.publish_timeout", "5s", maskNothing, duration(func(d *draft) *time.Duration { return &d.PublishTimeout }, time.Millisecond, 10*time.Second)},
		{"api.shutdown_timeout", "15s", maskNothing, duration(func(d *draft) *time.Duration { return &d.API.ShutdownTimeout }, time.Millisecond, maxDuration)},

		{databaseURIKey, "", maskPassword, text(func(d *draft) *string { return &d.dbURI })},
		{"manager.db.password_file", "", maskNothing, text(func(d *draft) *string { return &d.dbPasswordFile })},
		{"manager.db.verbose", false, maskNothing, boolean(func(d *draft) *bool { return &d.Store.Verbose })},
		{"manager.db.max_open_conns", 16, maskNothing, number(func(d *draft) *int { return &d.Store.MaxOpenConns }, 1, 10000)},

		{brokerURIKey, "", maskPassword, brokerURIs},
		{"manager.message_queue.password_file", "", maskNothing, text(func(d *draft) *string { return &d.brokerPasswordFile })},
		{"manager.message_queue.queue_type", "classic", maskNothing, oneOf(func(d *draft) *string { return &d.Rabbit.QueueType }, "classic", "quorum")},
		{"manager.message_queue.prefetch", 64, maskNothing, number(func(d *draft) *int { return &d.Manager.Prefetch }, 1, 65535)},
		{"manager.message_queue.expires", "168h", maskNothing, duration(func(d *draft) *time.Duration { return &d.Rabbit.QueueExpires }, time.Second, maxQueueExpires)},
		{"manager.message_queue.heartbeat", "10s", maskNothing, duration(func(d *draft) *time.Duration { return &d.Rabbit.Heartbeat }, time.Second, time.Hour)},

		{"manager.heartbeat", "2s", maskNothing, duration(func(d *draft) *time.Duration { return &d.Manager.Heartbeat }, time.Millisecond, time.Hour)},
		{"manager.lease", "8s", maskNothing, duration(func(d *draft) *time.Duration { return &d.Manager.Lease }, time.Millisecond, 24*time.Hour)},
		{"manager.shutdown_timeout", "30s", maskNothing, duration(func(d *draft) *time.Duration { return &d.Manager.ShutdownTimeout }, time.Millisecond, maxDuration)},
		{"manager.abandon_after", "10s", maskNothing, duration(func(d *draft) *time.Duration { return &d.Manager.AbandonAfter }, time.Millisecond, maxDuration)},
		{"manager.catch_up", "60s", maskNothing, duration(func(d *draft) *time.Duration { return &d.Manager.CatchUp }, 100*time.Millisecond, 24*time.Hour)},
		{spoolKey, "data/spool", maskNothing, text(func(d *draft) *string { return &d.Manager.SpoolDir })},
		{"manager.max_result", miB, maskNothing, number(func(d *draft) *int { return &d.Manager.MaxResult }, 1, giB)},
		{labelsKey, "", maskNothing, labels(func(d *draft) *map[string]string { return &d.Manager.Labels })},

		{"reconcile.lost_after", "60s", maskNothing, duration(func(d *draft) *time.Duration { return &d.Reconcile.LostAfter }, time.Millisecond, maxDuration)},
		{"reconcile.incomplete_retention", "2160h", maskNothing, retention(func(d *draft) *time.Duration { return &d.Reconcile.IncompleteRetention }, 0)},
		{"reconcile.dead_letter_retention", "2160h", maskNothing, retention(func(d *draft) *time.Duration { return &d.Reconcile.DeadLetterRetention }, 0)},

		{"rabbitmq.management_uri", "http://127.0.0.1:15672", maskPassword, text(func(d *draft) *string { return &d.RabbitAdmin.ManagementURI })},
		{"rabbitmq.user", "", maskNothing, text(func(d *draft) *string { return &d.RabbitAdmin.User })},
		{"rabbitmq.password", "", maskAll, text(func(d *draft) *string { return &d.RabbitAdmin.Password })},
		{"rabbitmq.password_file", "", maskNothing, text(func(d *draft) *string { return &d.adminPasswordFile })},

		{"log.level", "info", maskNothing, oneOf(func(d *draft) *string { return &d.level }, "debug", "info", "warn", "error")},
		{"log.format", "auto", maskNothing, oneOf(func(d *draft) *string { return &d.Log.Format }, "auto", "text", "json")},
	}
}

// logLevel turns one of the words that log.level allows into a level.
func logLevel(word string) slog.Level {
	switch word {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// EnvPrefix begins the names of tasker's environment variables.
const EnvPrefix = "TASKER_"

// EnvName is the environment variable of a key: TASKER_API_PORT for api.port.
func EnvName(path string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}
