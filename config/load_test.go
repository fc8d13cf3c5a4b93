package config_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/manager"
)

// minimal is the smallest valid file.
const minimal = `
task_types: [worker]
manager:
  db: {uri: "mysql://tasker:pw@127.0.0.1:3306/tasker"}
  message_queue: {uri: "amqp://tasker:pw@127.0.0.1:5672/tasker"}
`

// write creates a file that only its owner can access, and returns its path.
func write(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// loadText loads a file with the content, in mode "test".
func loadText(t testing.TB, content string, environ ...string) (config.Config, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "test.config.yaml", content)
	return config.Load(config.Options{Mode: "test", Dir: dir, Environ: environ})
}

func mustLoad(t testing.TB, content string, environ ...string) config.Config {
	t.Helper()
	c, err := loadText(t, content, environ...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	// The handler has no description, which would replace defaults.
	dir := t.TempDir()
	c, err := loadTypes(t, dir, "[plain]", catalogWith(t, "plain", handlers.Func(nothing)))
	if err != nil {
		t.Fatal(err)
	}
	types := []tasker.TaskType{{Name: "plain", Handler: "plain", Concurrency: 4, Timeout: time.Hour, Retention: 720 * time.Hour}}
	wantAPI := api.Config{
		Listen: "127.0.0.1", Port: 8888, UI: true,
		TaskTypes: types, WaitForEndpoints: time.Minute, MaxBody: 1 << 20, MaxConcurrent: 64, MaxStreams: 256, MaxStreamsPerAddress: 64, MaxConnections: 6000, MaxConnectionsPerAddress: 3000, MaxBodies: 64 << 20, IdleTimeout: time.Minute, TokenOverlap: 10 * time.Minute, ShutdownTimeout: 15 * time.Second,
	}
	if diff := cmp.Diff(wantAPI, c.API); diff != "" {
		t.Error("API:", diff)
	}
	wantManager := manager.Config{
		TaskTypes: types,
		Heartbeat: 2 * time.Second, Lease: 8 * time.Second, ShutdownTimeout: 30 * time.Second,
		AbandonAfter: 10 * time.Second, MaxResult: 1 << 20, Prefetch: 64, SpoolDir: filepath.Join(dir, "data/spool"), StateDir: filepath.Join(dir, "data"),
		Verify: "off", CatchUp: time.Minute,
	}
	if diff := cmp.Diff(wantManager, c.Manager, cmpopts.EquateComparable(observe.ManagerMetrics{})); diff != "" {
		t.Error("Manager:", diff)
	}
	if c.PublishTimeout != time.Second || c.Reconcile.LostAfter != time.Minute || c.Reconcile.WaitForEndpoints != time.Minute {
		t.Errorf("got %v, %+v", c.PublishTimeout, c.Reconcile)
	}
	if c.Rabbit.QueueType != "classic" || c.Rabbit.QueueExpires != 7*24*time.Hour || c.Rabbit.Heartbeat != 10*time.Second {
		t.Errorf("got %+v", c.Rabbit)
	}
	if c.Log != (config.Log{Level: slog.LevelInfo, Format: "auto"}) {
		t.Errorf("got %+v", c.Log)
	}
}

func TestTaskTypesMayBeNamesAndEntries(t *testing.T) {
	t.Parallel()
	c, err := loadTypes(t, t.TempDir(), `
  - plain
  - name: deploy
    handler: plain
    description: Deploys
    concurrency: 2
    timeout: 90
    retry: [1, 1.5, 2m]
    retention: 48h
    priority: 3
    settings: {duration: 0}
  - {name: EU-Backup_1, handler: plain, retry: "60 600 3600", retention: forever}`, catalogWith(t, "plain", handlers.Func(nothing)))
	if err != nil {
		t.Fatal(err)
	}
	pauses := func(seconds ...float64) tasker.RetryPolicy {
		var p tasker.RetryPolicy
		for _, s := range seconds {
			p.Delays = append(p.Delays, time.Duration(s*float64(time.Second)))
		}
		return p
	}
	want := []tasker.TaskType{
		{Name: "plain", Handler: "plain", Concurrency: 4, Timeout: time.Hour, Retention: 720 * time.Hour},
		{
			Name: "deploy", Handler: "plain", Description: "Deploys", Concurrency: 2, Timeout: 90 * time.Second,
			Retry: pauses(1, 1.5, 120), Retention: 48 * time.Hour, Priority: 3, Settings: map[string]any{"duration": 0},
		},
		{Name: "EU-Backup_1", Handler: "plain", Concurrency: 4, Timeout: time.Hour, Retry: pauses(60, 600, 3600), Retention: tasker.Forever},
	}
	if diff := cmp.Diff(want, c.TaskTypes); diff != "" {
		t.Error(diff)
	}
	wantAttempts := map[string]int{"plain": 1, "deploy": 4, "EU-Backup_1": 4}
	if diff := cmp.Diff(wantAttempts, c.Reconcile.Attempts); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	wantRetention := map[string]time.Duration{"plain": 720 * time.Hour, "deploy": 48 * time.Hour, "EU-Backup_1": 0}
	if diff := cmp.Diff(wantRetention, c.Reconcile.Retention); diff != "" {
		t.Error("retention:", diff)
	}
	chosen, err := c.Choose([]string{"deploy"})
	if diff := cmp.Diff(want[1:2], chosen); diff != "" || err != nil {
		t.Error("Choose:", err, diff)
	}
	registry, err := c.Handlers(nil)
	if err != nil || !slices.Equal(registry.TaskTypes(), []string{"EU-Backup_1", "deploy", "plain"}) {
		t.Errorf("handlers: got %v, %v", registry.TaskTypes(), err)
	}
	for _, names := range [][]string{{"nope"}, {"plain", "plain"}} {
		if _, err := c.Choose(names); err == nil {
			t.Errorf("Choose(%v) returned no error", names)
		}
		if _, err := c.Handlers(names); err == nil {
			t.Errorf("Handlers(%v) returned no error", names)
		}
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "test.config.yaml", minimal+"api: {port: 1000, wait_for_endpoints_timeout: 5}\nlog: {level: warn}\n")
	c, err := config.Load(config.Options{
		Mode: "test", Dir: dir,
		Environ: []string{
			"PATH=/bin", "TASKER_API_PORT=2000", "TASKER_API_WAIT_FOR_ENDPOINTS_TIMEOUT=1m30s", "TASKER_MANAGER_LEASE=20",
			"TASKER_MANAGER_DB_VERBOSE=true", "TASKER_API_MAX_BODY=", "TASKER_TASK_TYPES=sleep, backup",
			"TASKER_MANAGER_DB_URI=sqlite:///tmp/t.db",
			"TASKER_MANAGER_MESSAGE_QUEUE_URI=amqp://a:p,w@one/v,amqps://b:c@two/v",
			"TASKER_TEST_ANYTHING=1", "TASKER_MODE=x", "TASKER_CONFIG=x", // not keys, and known
			"TASKER_SERVICE_HOST=10.0.0.1", "TASKER_PORT=tcp://10.0.0.1:80", "TASKER_PORT_80_TCP_ADDR=10.0.0.1", // Kubernetes
		},
		Flags: []config.Flag{{Name: "--port", Key: "api.port", Value: "3000"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	type got struct {
		Port            int
		Wait, Lease     time.Duration
		Verbose         bool
		Level           slog.Level
		MaxBody         int64
		Types, URIs     []string
		DB              string
		ReconcilerWaits time.Duration
	}
	want := got{
		3000, 90 * time.Second, 20 * time.Second, true, slog.LevelWarn, 1 << 20,
		[]string{"sleep", "backup"},
		[]string{"amqp://a:p,w@one/v", "amqps://b:c@two/v"},
		"sqlite:///tmp/t.db", 90 * time.Second,
	}
	if diff := cmp.Diff(want, got{
		c.API.Port, c.API.WaitForEndpoints, c.Manager.Lease, c.Store.Verbose, c.Log.Level, c.API.MaxBody,
		c.TaskTypeNames(), c.Rabbit.URIs, c.Store.URI, c.Reconcile.WaitForEndpoints,
	}); diff != "" {
		t.Error(diff)
	}
}

func TestEveryKeyHasAVariable(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"TASKER_API_LISTEN": "::1", "TASKER_API_PORT": "1", "TASKER_API_WAIT_FOR_ENDPOINTS_TIMEOUT": "1",
		"TASKER_API_TOKEN_FILE": "", "TASKER_API_ACCESS_FILE": "", "TASKER_API_INSECURE": "true", "TASKER_API_UI": "false", "TASKER_API_MAX_BODY": "2048",
		"TASKER_API_PUBLISH_TIMEOUT": "1s", "TASKER_API_SHUTDOWN_TIMEOUT": "1s",
		"TASKER_MANAGER_DB_URI": "sqlite:///x", "TASKER_MANAGER_DB_PASSWORD_FILE": "", "TASKER_MANAGER_DB_VERBOSE": "true",
		"TASKER_MANAGER_DB_MAX_OPEN_CONNS": "3", "TASKER_MANAGER_MESSAGE_QUEUE_URI": "amqp://h",
		"TASKER_MANAGER_MESSAGE_QUEUE_PASSWORD_FILE": "", "TASKER_MANAGER_MESSAGE_QUEUE_QUEUE_TYPE": "quorum",
		"TASKER_MANAGER_MESSAGE_QUEUE_PREFETCH": "7", "TASKER_MANAGER_MESSAGE_QUEUE_EXPIRES": "1h",
		"TASKER_MANAGER_MESSAGE_QUEUE_HEARTBEAT": "3", "TASKER_MANAGER_HEARTBEAT": "1", "TASKER_MANAGER_LEASE": "3",
		"TASKER_MANAGER_SHUTDOWN_TIMEOUT": "3", "TASKER_MANAGER_ABANDON_AFTER": "3", "TASKER_MANAGER_MAX_RESULT": "3",
		"TASKER_RECONCILE_INCOMPLETE_RETENTION": "forever", "TASKER_RECONCILE_DEAD_LETTER_RETENTION": "48h",
		"TASKER_RECONCILE_LOST_AFTER": "3", "TASKER_RABBITMQ_MANAGEMENT_URI": "https://h", "TASKER_RABBITMQ_USER": "u",
		"TASKER_RABBITMQ_PASSWORD": "p", "TASKER_RABBITMQ_PASSWORD_FILE": "", "TASKER_LOG_LEVEL": "debug",
		"TASKER_LOG_FORMAT": "json", "TASKER_TASK_TYPES": "[{name: a, handler: sleep}]",
		"TASKER_MANAGER_MODE": "database", "TASKER_MANAGER_GATEWAY_ADDRESSES": "https://g:1", "TASKER_MANAGER_GATEWAY_TOKEN": "t",
		"TASKER_MANAGER_GATEWAY_TOKEN_FILE": "", "TASKER_MANAGER_GATEWAY_CA_FILE": "", "TASKER_GATEWAY_LISTEN": "127.0.0.1:1",
		"TASKER_GATEWAY_TLS_CERT_FILE": "", "TASKER_GATEWAY_TLS_KEY_FILE": "", "TASKER_GATEWAY_MAX_CONNECTIONS": "7",
		"TASKER_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS": "7", "TASKER_GATEWAY_MAX_REQUESTS": "7",
		"TASKER_GATEWAY_MAX_REQUESTS_PER_ENDPOINT": "7", "TASKER_GATEWAY_MAX_BODY": "2048", "TASKER_GATEWAY_MAX_BODIES": "2097152",
	}
	var environ []string
	for name, value := range values {
		environ = append(environ, name+"="+value)
	}
	c := mustLoad(t, "", environ...)
	shown, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range values {
		if value == "" || name == "TASKER_TASK_TYPES" {
			continue
		}
		if !strings.Contains(string(shown), "# "+name+"\n") {
			t.Errorf("%s did not set its key:\n%s", name, shown)
		}
	}
	if n := strings.Count(string(shown), "_file:"); n != 18 {
		t.Errorf("%d keys of files, want 18:\n%s", n, shown)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // it has no config directory
	c, err := config.Load(config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c.File != "built-in development.config.yaml" || !slices.Equal(c.TaskTypeNames(), []string{"worker", "backup", "sleep"}) {
		t.Errorf("without a file: got %s with %v", c.File, c.TaskTypeNames())
	}
	for name, test := range map[string]struct {
		opts config.Options
		want string
	}{
		"production":         {config.Options{Mode: "production"}, "config/production.config.yaml does not exist: name its directory with --config or TASKER_CONFIG"},
		"a directory chosen": {config.Options{Dir: "nowhere"}, "nowhere/development.config.yaml does not exist"},
		"a mode like a path": {config.Options{Mode: "../x"}, `invalid mode "../x"`},
	} {
		if _, err := config.Load(test.opts); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "config/development.config.yaml", minimal)
	if c, err = config.Load(config.Options{}); err != nil || c.File != "config/development.config.yaml" {
		t.Errorf("with a file: got %s, %v", c.File, err)
	}
}

// TestProductionFile installs the shipped file as documented.
func TestProductionFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	content, err := config.Shipped("production")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "production.config.yaml", string(content))
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o750); err != nil {
		t.Fatal(err)
	}
	token := strings.Repeat("0123456789abcdef", 4)
	write(t, dir, "secrets/api_token", token+"\n")
	write(t, dir, "secrets/db_password", "p@ss/w:rd\n")
	write(t, dir, "secrets/rabbitmq_password", "r#?\r\n")
	c, err := config.Load(config.Options{Mode: "production", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if c.API.Token != token || c.API.Listen != "127.0.0.1" {
		t.Errorf("got the token %q on %s", c.API.Token, c.API.Listen)
	}
	if want := "mysql://tasker:p%40ss%2Fw%3Ard@127.0.0.1:3306/tasker"; c.Store.URI != want {
		t.Errorf("got %s, want %s", c.Store.URI, want)
	}
	if want := []string{"amqp://tasker:r%23%3F@127.0.0.1:5672/tasker"}; !slices.Equal(c.Rabbit.URIs, want) {
		t.Errorf("got %s, want %s", c.Rabbit.URIs, want)
	}
}

func TestPartsThatAreNotUsedMayBeLeftOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "test.config.yaml", `
task_types: [worker]
api: {token_file: missing}
rabbitmq: {password_file: missing}
manager: {db: {password_file: missing}, message_queue: {password_file: missing}}`)
	all := config.PartAPI | config.PartDatabase | config.PartBroker | config.PartAdmin
	if _, err := config.Load(config.Options{Mode: "test", Dir: dir, Without: all}); err != nil {
		t.Error(err)
	}
	_, err := config.Load(config.Options{Mode: "test", Dir: dir})
	var wrong *config.Error
	if !errors.As(err, &wrong) || len(wrong.Problems) != 4 {
		t.Errorf("got %v", err)
	}
}
