package config_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
)

// loadSettings loads a task type whose handler accepts any settings, and returns
// those that the handler got.
func loadSettings(t *testing.T, settings string) (handlers.Settings, config.Config, error) {
	t.Helper()
	var got handlers.Settings
	catalog := builtin.Catalog()
	err := catalog.Add("any", func(s handlers.Settings) (handlers.Handler, error) {
		got = s
		return handlers.Func(nothing), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := loadTypes(t, t.TempDir(), "\n  - name: any\n    settings: "+settings, catalog)
	return got, c, err
}

// Settings keep dates as text, and all digits. They are shown as they were loaded.
func TestSettingsAreKeptAsWritten(t *testing.T) {
	t.Parallel()
	const written = `
      date: 2026-01-02
      moment: 2026-01-02T03:04:05Z
      big: 123456789012345678901234567890
      digits: 0.12345678901234567890
      whole: 7
      hex: 0x1F
      octal: 0o17
      fraction: 1.5
      huge: 1e300
      text: "0644"
      words: [yes, 2026-01-02, 12:30, ~, true]
      1: number
      2026-01-02: date
      base: &base {a: 1, b: 2}
      merged: {<<: *base, b: 3}
      nested: {deep: [{date: 2026-01-02}]}`
	want := handlers.Settings{
		"date": "2026-01-02", "moment": "2026-01-02T03:04:05Z", "big": json.Number("123456789012345678901234567890"),
		"digits": json.Number("0.12345678901234567890"), "whole": 7, "hex": 31, "octal": 15, "fraction": 1.5, "huge": 1e300, "text": "0644",
		"words": []any{"yes", "2026-01-02", "12:30", nil, true}, "1": "number", "2026-01-02": "date",
		"base": map[string]any{"a": 1, "b": 2}, "merged": map[string]any{"a": 1, "b": 3},
		"nested": map[string]any{"deep": []any{map[string]any{"date": "2026-01-02"}}},
	}
	got, c, err := loadSettings(t, written)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	shown, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		TaskTypes []struct{ Settings yaml.Node } `yaml:"task_types"`
	}
	if err := yaml.Unmarshal(shown, &file); err != nil {
		t.Fatal(err)
	}
	again, err := yaml.Marshal(&file.TaskTypes[0].Settings)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err = loadSettings(t, "\n      "+strings.ReplaceAll(string(again), "\n", "\n      "))
	if err != nil {
		t.Fatalf("the shown configuration cannot be loaded: %v\n%s", err, shown)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("shown and loaded:", diff)
	}
	asJSON, err := json.Marshal(c)
	if err != nil || !strings.Contains(string(asJSON), `"big":123456789012345678901234567890`) {
		t.Errorf("%v: %s", err, asJSON)
	}
}

func TestAmbiguousNumbers(t *testing.T) {
	t.Parallel()
	const twoWays = ", octal or decimal: remove the leading 0, or put text in quotes"
	if _, _, err := loadSettings(t, "{mode: 0644}"); err == nil || !strings.HasSuffix(err.Error(), "invalid task_types[0].settings: line 4: ambiguous number 0644"+twoWays) {
		t.Errorf("got %v", err)
	}
	for content, variable := range map[string]string{
		"manager: {lease: 0100}":        "TASKER_MANAGER_LEASE=0100",
		"api: {port: 01000}":            "TASKER_API_PORT=01000",
		"api: {publish_timeout: 02}":    "TASKER_API_PUBLISH_TIMEOUT=02",
		"manager: {max_result: 010000}": "TASKER_MANAGER_MAX_RESULT=010000",
	} {
		file := minimal
		if strings.HasPrefix(content, "manager") {
			file = strings.Replace(minimal, "manager:\n", "manager:\n  "+strings.TrimSuffix(strings.TrimPrefix(content, "manager: {"), "}")+"\n", 1)
			content = ""
		}
		for _, got := range []error{second(loadText(t, file+content)), second(loadText(t, minimal, variable))} {
			if got == nil || !strings.HasSuffix(got.Error(), twoWays) {
				t.Errorf("%s: got %v", variable, got)
			}
		}
	}
	if _, err := loadTypes(t, t.TempDir(), "\n  - {name: sleep, retry: [010]}", nil); err == nil || !strings.Contains(err.Error(), "retry: interval 1: ambiguous number 010") {
		t.Errorf("got %v", err)
	}
}

func second(_ config.Config, err error) error { return err }

// Numbers mean the same in the file and in a variable.
func TestNumbersMeanTheSameEverywhere(t *testing.T) {
	t.Parallel()
	for _, number := range []string{"8888.0", "0x22B8", "1_000", "1e3", "+1", "-1", "8888"} {
		file, inFile := loadText(t, minimal+"api: {port: "+number+"}")
		variable, inVariable := loadText(t, minimal, "TASKER_API_PORT="+number)
		if (inFile == nil) != (inVariable == nil) || file.API.Port != variable.API.Port {
			t.Errorf("%s: %d, %v in the file; %d, %v in the variable", number, file.API.Port, inFile, variable.API.Port, inVariable)
		}
		if inFile != nil && !strings.HasSuffix(inFile.Error(), "invalid api.port: must be a whole number 0-65535, got "+number) {
			t.Errorf("%s: got %v", number, inFile)
		}
	}
	c := mustLoad(t, minimal+"api: {publish_timeout: 2.5}\nrabbitmq: {user: 2026-01-02}")
	if c.PublishTimeout != 2500*time.Millisecond || c.RabbitAdmin.User != "2026-01-02" {
		t.Errorf("got %v, %q", c.PublishTimeout, c.RabbitAdmin.User)
	}
}

// The error for each key of the first tasker, in Python, names its replacement.
func TestReplacedKeys(t *testing.T) {
	t.Parallel()
	_, err := loadText(t, `
task_types: [worker, backup]
api: {port: 8888, wait_for_endpoints_timeout: 30}
manager:
  db: {verbose: False, uri: "mysql://tasker:pw@localhost:3307/tasker"}
  message_queue:
    host: 127.0.0.1
    port: 5672
    username: tasker
    password: hunter2
    virtual_host: tasker
    exchange: tasker_local
    queue: tasker_local
    routing_key: tasker_local
rabbitmq:
  apiurl: http://localhost:15672/api
  username: guest
  password: guest
`)
	var wrong *config.Error
	if !errors.As(err, &wrong) {
		t.Fatalf("got %v", err)
	}
	const uri = "\": use manager.message_queue.uri: amqp://user:password@host:5672/virtual_host"
	const named = "\": remove it: tasker names exchanges and queues itself (tasker.<type>)"
	want := []string{
		"manager.message_queue.host" + uri, "manager.message_queue.port" + uri, "manager.message_queue.username" + uri,
		"manager.message_queue.password" + uri + ", or put the password in a file named by manager.message_queue.password_file",
		"manager.message_queue.virtual_host" + uri,
		"manager.message_queue.exchange" + named, "manager.message_queue.queue" + named, "manager.message_queue.routing_key" + named,
		"rabbitmq.apiurl\": use rabbitmq.management_uri, without the path: http://host:15672",
		`rabbitmq.username": use rabbitmq.user`,
		"missing manager.message_queue.uri: set it, or TASKER_MANAGER_MESSAGE_QUEUE_URI, to amqp://user@host:5672/vhost",
	}
	var got []string
	for _, p := range wrong.Problems {
		_, after, ok := strings.Cut(p, `unknown key "`)
		if !ok {
			after = p
		}
		got = append(got, after)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := loadText(t, minimal, "TASKER_RABBITMQ_MANAGEMENT_URI=http://localhost:15672/api"); err == nil ||
		!strings.HasSuffix(err.Error(), "invalid rabbitmq.management_uri: must not end with /api") {
		t.Errorf("got %v", err)
	}
}

// No file is needed if variables set every mandatory key.
func TestNoFileIsNeeded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	environ := []string{"TASKER_TASK_TYPES=worker", "TASKER_MANAGER_DB_URI=mysql://u:p@127.0.0.1/d", "TASKER_MANAGER_MESSAGE_QUEUE_URI=amqp://u:p@127.0.0.1/v"}
	c, err := config.Load(config.Options{Mode: "production", Dir: dir, Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	if want := "variables only (no " + dir + "/production.config.yaml)"; c.File != want || c.Mode != "production" || len(c.TaskTypes) != 1 {
		t.Errorf("got %s, %s, %v", c.File, c.Mode, c.TaskTypes)
	}
	before := c.Files()
	write(t, dir, "production.config.yaml", minimal)
	if before.Look().Same(before) {
		t.Error("a new file was not noticed")
	}
	for _, test := range []struct {
		environ []string
		without config.Part
		want    string // the variables that are missing, "" for none
	}{
		{environ[:1], 0, "TASKER_MANAGER_DB_URI, TASKER_MANAGER_MESSAGE_QUEUE_URI"},
		{environ[1:], 0, "TASKER_TASK_TYPES"},
		{environ[:1], config.PartDatabase | config.PartBroker, ""},
	} {
		_, err := config.Load(config.Options{Mode: "production", Dir: t.TempDir(), Environ: test.environ, Without: test.without})
		if (err == nil) != (test.want == "") || err != nil && !strings.HasSuffix(err.Error(), `, or set `+test.want+" instead") {
			t.Errorf("got %v\nwant %s", err, test.want)
		}
	}
}

func TestParametersOfAddresses(t *testing.T) {
	t.Parallel()
	const db, queue = "TASKER_MANAGER_DB_URI=mysql://u:p@h/d?", "TASKER_MANAGER_MESSAGE_QUEUE_URI=amqps://u:p@h/v?"
	for variable, want := range map[string]string{
		db + "tls=true":                        "",
		db + "tls=skip-verify":                 "",
		db + "tls=required":                    "invalid manager.db.uri: invalid parameter \"tls\": must be one of true, false, skip-verify, preferred",
		db + "charset=utf8":                    `invalid manager.db.uri: unknown parameter "charset": must be one of tls`,
		db + "tls=true&tls=false":              `invalid manager.db.uri: duplicate parameter "tls"`,
		db + "a;b":                             "invalid manager.db.uri: malformed parameters: write them as ?name=value",
		"TASKER_MANAGER_DB_URI=sqlite:///f?x=": `invalid manager.db.uri: unknown parameter "x": must have none`,
		queue + "cacertfile=/nowhere":          `invalid manager.message_queue.uri: invalid parameter "cacertfile": /nowhere does not exist`,
		queue + "verify=verify_none":           "invalid manager.message_queue.uri: unknown parameter \"verify\": must be one of auth_mechanism, cacertfile, certfile, channel_max, connection_timeout, keyfile, server_name_indication",
		queue + "heartbeat=5":                  "invalid manager.message_queue.uri: parameter heartbeat: set manager.message_queue.heartbeat instead",
		queue + "channel_max=x":                "invalid manager.message_queue.uri: invalid parameter \"channel_max\": must be a whole number 0-65535",
	} {
		if _, err := loadText(t, minimal, variable); (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: got %v\nwant %s", variable, err, want)
		}
	}
}

func TestHandlerLimitsAboveMaxResult(t *testing.T) {
	t.Parallel()
	for types, want := range map[string]string{
		`[{name: a, handler: exec, settings: {command: /bin/true, max_output: 2MiB}}]`: "invalid task_types[0].settings.max_output: must not be more than manager.max_result (1048576)",
		`[{name: a, handler: http, settings: {url: "http://h/", max_response: 2MiB}}]`: "invalid task_types[0].settings.max_response: must not be more than manager.max_result (1048576)",
		`[{name: a, handler: exec, settings: {command: /bin/true, max_output: 1MiB}}]`: "",
	} {
		if _, err := loadText(t, minimal, "TASKER_TASK_TYPES="+types); (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: got %v", types, err)
		}
	}
}

// Passwords of any form are masked, even if the address is not checked.
func TestPasswordsOfAnyForm(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"amqp://tasker:5#SECRET@h:5672/v":     "amqp://tasker:****@h:5672/v",
		"amqp://tasker:/SECRET@h/v":           "amqp://tasker:****@h/v",
		"amqp://tasker:?SECRET@h/v":           "amqp://tasker:****@h/v",
		"amqp://tasker:#SEC@RET@h/v":          "amqp://tasker:****@h/v",
		"amqp://tasker:%zzSECRET@h/v":         "amqp://tasker:****@h/v",
		"amqp:// SECRET/SECRET@h/v":           "amqp://****@h/v",
		"amqp://tasker@h/v?cacertfile=/a.pem": "amqp://tasker@h/v?cacertfile=/a.pem",
		"amqp://tasker@h/v?x=SECRET":          "amqp://tasker@h/v?x=****",
		"amqp://tasker:SECRET@h/v?SECRET":     "amqp://tasker:****@h/v?****",
		"SECRET":                              "****",
	} {
		c, err := config.Load(config.Options{
			Environ: []string{"TASKER_MANAGER_MESSAGE_QUEUE_URI=" + written, "TASKER_MANAGER_DB_URI=" + strings.Replace(written, "amqp:", "mysql:", 1)},
			Without: config.PartAPI | config.PartDatabase | config.PartBroker | config.PartAdmin,
		})
		if err != nil {
			t.Fatal(err)
		}
		if printed := everythingOf(t, c); strings.Contains(printed, "SECRET") || strings.Contains(printed, "RET@") {
			t.Errorf("%s is shown:\n%s", written, printed)
		}
		var shown struct {
			Manager struct {
				DB struct{ URI string } `yaml:"db"`
				MQ struct{ URI string } `yaml:"message_queue"`
			}
		}
		text, err := c.YAML()
		if err == nil {
			err = yaml.Unmarshal(text, &shown)
		}
		if err != nil || shown.Manager.MQ.URI != want || shown.Manager.DB.URI != strings.Replace(want, "amqp:", "mysql:", 1) {
			t.Errorf("%s: got %q and %q, %v; want %q", written, shown.Manager.MQ.URI, shown.Manager.DB.URI, err, want)
		}
	}
}
