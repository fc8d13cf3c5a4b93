package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/taskerhq/tasker/config"
)

func TestShowSaysWhereValuesCameFrom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "test.config.yaml", minimal+"api: {port: 1000, publish_timeout: 2.5}\n")
	c, err := config.Load(config.Options{
		Mode: "test", Dir: dir, Environ: []string{"TASKER_LOG_LEVEL=warn"},
		Flags: []config.Flag{{Name: "--port", Key: "api.port", Value: "2000"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"port: 2000 # --port\n", "level: warn # TASKER_LOG_LEVEL\n", "format: auto\n",
		"publish_timeout: 2.5s # " + dir + "/test.config.yaml:6\n", "shutdown_timeout: 15s\n",
		"uri: mysql://tasker:****@127.0.0.1:3306/tasker # ", "uri: amqp://tasker:****@127.0.0.1:5672/tasker # ",
	} {
		if !strings.Contains(string(shown), want) {
			t.Errorf("missing %q:\n%s", want, shown)
		}
	}
}

// The shown configuration can be loaded as a file.
func TestShownCanBeLoaded(t *testing.T) {
	t.Parallel()
	first := mustLoad(t, minimal,
		`TASKER_TASK_TYPES=[sleep, {name: deploy, handler: worker, description: "a: b", retry: [1, 1.5], retention: forever, settings: {duration: 1m}}]`,
		"TASKER_MANAGER_MESSAGE_QUEUE_URI=amqp://u:p@a/v,amqp://u:p@b/v", "TASKER_RABBITMQ_PASSWORD=p")
	shown, err := first.YAML()
	if err != nil {
		t.Fatal(err)
	}
	second := mustLoad(t, string(shown))
	for name, pair := range map[string][2]config.Config{"the same": {first, second}} {
		a, errA := json.Marshal(pair[0])
		b, errB := json.Marshal(pair[1])
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: %v %v\n%s\n%s", name, errA, errB, a, b)
		}
	}
}

// TestSecretsAreNeverPrinted puts secrets of any form into every place for one,
// encoded or not, and searches everything that a configuration or its error
// prints.
func TestSecretsAreNeverPrinted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		// The marker is too long to occur by chance.
		const marker = "hunter2XyZ"
		noise := rapid.StringMatching(`[a-z0-9:/@#?&%+ ,'"*!\[\]{}=.-]{0,6}`)
		secret := noise.Draw(t, "before") + marker + noise.Draw(t, "after")
		inURI := secret
		if rapid.Bool().Draw(t, "encoded") {
			inURI = url.QueryEscape(secret)
		}
		quoted := func(s string) string {
			if rapid.Bool().Draw(t, "quoted") {
				encoded, _ := json.Marshal(s)
				return string(encoded)
			}
			return s // perhaps invalid YAML
		}
		var content strings.Builder
		fmt.Fprintf(&content, "task_types:\n  - name: other\n    handler: %s\n    settings:\n      password: %s\n",
			rapid.SampledFrom([]string{"worker", "sleep"}).Draw(t, "handler"), quoted(secret))
		fmt.Fprintf(&content, "manager:\n  db:\n    uri: %s\n", quoted("mysql://u:"+inURI+"@h/d"))
		fmt.Fprintf(&content, "  message_queue:\n    uri: %s\n", quoted("amqp://u:"+inURI+"@h/v?token="+inURI))
		fmt.Fprintf(&content, "rabbitmq:\n  password: %s\n  management_uri: %s\n", quoted(secret), quoted("http://u:"+inURI+"@h/"))
		if err := os.WriteFile(filepath.Join(dir, "test.config.yaml"), []byte(content.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		tokenFile := filepath.Join(dir, "token")
		if err := os.WriteFile(tokenFile, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		environ := []string{"TASKER_API_TOKEN_FILE=" + tokenFile}
		if rapid.Bool().Draw(t, "valid") {
			environ = append(environ, "TASKER_RABBITMQ_MANAGEMENT_URI=http://h", "TASKER_TASK_TYPES=worker",
				"TASKER_API_TOKEN_FILE="+writeToken(t, dir, marker))
		}
		c, err := config.Load(config.Options{Mode: "test", Dir: dir, Environ: environ})
		printed := fmt.Sprintf("%v", err)
		if err == nil {
			printed = everythingOf(t, c)
		}
		if strings.Contains(printed, marker) {
			t.Fatalf("the secret %q is in:\n%s\nof\n%s", secret, printed, content.String())
		}
	})
}

func writeToken(t *rapid.T, dir, marker string) string {
	path := filepath.Join(dir, "good_token")
	if err := os.WriteFile(path, []byte(strings.Repeat(marker, 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// everythingOf prints a configuration in every possible way.
func everythingOf(t interface{ Fatal(...any) }, c config.Config) string {
	shown, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	var effective map[string]any
	if err := yaml.Unmarshal(shown, &effective); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.Write(shown)
	out.Write(asJSON)
	fmt.Fprintf(&out, "%v %+v %#v %s %q %x %d", c, c, c, c, c, c, &c)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("it", "config", c, "pointer", &c)
	slog.New(slog.NewTextHandler(&out, nil)).Info("it", "config", c, "pointer", &c)
	return out.String()
}

func TestSettingsAreMasked(t *testing.T) {
	t.Parallel()
	// No built-in handler has such settings, which Load would refuse: this tests
	// only the masking.
	c := mustLoad(t, minimal)
	c.TaskTypes[0].Settings = map[string]any{
		"api_token": "hunter2", "token_file": "/a/path", "url": "https://u:hunter2@h/",
		"list":          []any{map[string]any{"Password": "hunter2", "user": "me"}},
		"headers":       map[string]any{"Authorization": "Bearer hunter2", "X-Api-Key": "hunter2", "Cookie": "a=hunter2", "X-Anything": "hunter2", "X-Host": "${payload.host}"},
		"allow_private": true, "template": "https://h/${payload.id}?q=${payload.q}", "query": "https://h/${payload.id}?api-key=hunter2",
		"environment": map[string]any{"PGPASS": "hunter2", "EMPTY": "", "HOST": "${host}", "KEYS": []any{"hunter2"}}, "environment_file": map[string]any{"API_KEY": "/a/file"},
		"sig": "https://h/x?sig=hunter2&page=hunter2&q=${q}#hunter2",
	}
	printed := everythingOf(t, c)
	if strings.Contains(printed, "hunter2") {
		t.Error(printed)
	}
	for _, want := range []string{"/a/path", "user: me", "https://u:****@h/", "X-Host: ${payload.host}", "allow_private: true", "HOST: ${host}", "API_KEY: /a/file", "https://h/x?sig=****#****", "template: https://h/${payload.id}?q=${payload.q}\n"} {
		if !strings.Contains(printed, want) {
			t.Errorf("missing %s:\n%s", want, printed)
		}
	}
}
