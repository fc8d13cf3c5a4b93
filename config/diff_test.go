package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	const types = "TASKER_TASK_TYPES=[worker, {name: a, handler: sleep, settings: {}}, {name: b, handler: worker, settings: {duration: 1}, labels: {x: y}}]"
	// Each configuration is in a directory of its own.
	const spool, state = "TASKER_MANAGER_SPOOL_DIR=/srv/spool", "TASKER_MANAGER_STATE_DIR=/srv/state"
	before := mustLoad(t, minimal, types, spool, state)
	for name, test := range map[string]struct {
		content string
		environ []string
		want    config.Difference
	}{
		"nothing":            {minimal, []string{types}, config.Difference{}},
		"in another form":    {minimal + "api: {port: 8888, publish_timeout: 1000ms, insecure: false}\n", []string{types, "TASKER_API_MAX_BODY=1048576"}, config.Difference{}},
		"the level":          {minimal + "log: {level: warn}", []string{types}, config.Difference{Level: true}},
		"what needs a start": {minimal + "api: {port: 1}", []string{types, "TASKER_LOG_FORMAT=json", "TASKER_MANAGER_LABELS=a=b"}, config.Difference{Restart: []string{"api.port", "manager.labels", "log.format"}}},
		"a password":         {strings.Replace(minimal, "mysql://tasker:pw", "mysql://tasker:other", 1), []string{types}, config.Difference{Restart: []string{"manager.db.uri"}}},
		"another password":   {strings.Replace(minimal, "amqp://tasker:pw", "amqp://tasker:other", 1), []string{types}, config.Difference{Restart: []string{"manager.message_queue.uri"}}},
		"task types": {minimal, []string{
			"TASKER_TASK_TYPES=[sleep, {name: a, handler: sleep, description: new}, {name: b, handler: worker, settings: {duration: 2}, labels: {x: y}}]",
		}, config.Difference{Added: []string{"sleep"}, Removed: []string{"worker"}, Changed: []string{"a", "b"}}},
		"labels of a type": {minimal, []string{strings.Replace(types, "x: y", "x: z", 1)}, config.Difference{Changed: []string{"b"}}},
		"a schema":         {minimal, []string{strings.Replace(types, "settings: {}", "schema: true", 1)}, config.Difference{Changed: []string{"a"}}},
		"jitter":           {minimal, []string{strings.Replace(types, "settings: {}", "retry: {attempts: 2, policy: exponential, interval: 1}", 1)}, config.Difference{Changed: []string{"a"}}},
		"their order": {minimal, []string{
			"TASKER_TASK_TYPES=[{name: b, handler: worker, settings: {duration: 1}, labels: {x: y}}, {name: a, handler: sleep, settings: {}}, worker]",
		}, config.Difference{}},
	} {
		after := mustLoad(t, test.content, append(test.environ, spool, state)...)
		got := before.Diff(after)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if want := len(test.want.Added)+len(test.want.Changed)+len(test.want.Removed) > 0; got.TaskTypes() != want {
			t.Errorf("%s: the task types differ: %v", name, got.TaskTypes())
		}
	}
}

// Secrets change while the names of their files stay.
func TestDiffOfSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "test.config.yaml", strings.ReplaceAll(minimal, ":pw@", "@")+"api: {token_file: token}\n")
	set := func(character string) config.Config {
		environ := []string{}
		for key, name := range map[string]string{
			"api.token_file": "token", "manager.db.password_file": "db", "manager.message_queue.password_file": "broker", "rabbitmq.password_file": "admin",
		} {
			environ = append(environ, config.EnvName(key)+"="+write(t, dir, name, strings.Repeat(character, 40)))
		}
		c, err := config.Load(config.Options{Mode: "test", Dir: dir, Environ: environ})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := set("a")
	again, err := first.Again()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Difference{}, first.Diff(again)); diff != "" {
		t.Error(diff)
	}
	// A new token of the API takes effect at once.
	want := []string{"manager.db.password_file", "manager.message_queue.password_file", "rabbitmq.password_file"}
	if diff := cmp.Diff(want, first.Diff(set("b")).Restart); diff != "" {
		t.Error(diff)
	}
}

// Again uses the environment and the flags of the first load.
func TestAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "test.config.yaml", minimal)
	first, err := config.Load(config.Options{
		Mode: "test", Dir: dir, Environ: []string{"TASKER_API_MAX_BODY=2048"}, Without: config.PartAPI,
		Flags: []config.Flag{{Name: "--port", Key: "api.port", Value: "2000"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "test.config.yaml", minimal+"api: {port: 1, max_body: 4096, max_concurrent: 2, token_file: nowhere}\n")
	second, err := first.Again()
	if err != nil || second.API.Port != 2000 || second.API.MaxBody != 2048 || second.API.MaxConcurrent != 2 {
		t.Errorf("%+v, %v", second.API, err)
	}
}

// A change is noticed however a file is written.
func TestFilesChange(t *testing.T) {
	t.Parallel()
	dir := writeSchemas(t)
	c, err := loadTypes(t, dir, typesWithSchemas, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := c.Files()
	file := filepath.Join(dir, "test.config.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"its time", func() { must(os.Chtimes(file, time.Time{}, time.Unix(1e9, 0))) }},
		{"its size", func() {
			write(t, dir, "test.config.yaml", string(content)+"#")
			must(os.Chtimes(file, time.Time{}, time.Unix(1e9, 0)))
		}},
		{"another file in its place, as large and as old", func() {
			other := write(t, dir, "other", string(content)+"#")
			must(os.Chtimes(other, time.Time{}, time.Unix(1e9, 0)))
			must(os.Rename(other, file))
		}},
		{"it is gone", func() { must(os.Remove(file)) }},
		{"a link in its place", func() {
			write(t, dir, "a", string(content))
			must(os.Symlink("a", file))
		}},
		{"a link that leads elsewhere", func() {
			info, err := os.Stat(file)
			must(err)
			must(os.Chtimes(write(t, dir, "b", string(content)), time.Time{}, info.ModTime()))
			must(os.Symlink("b", filepath.Join(dir, "link")))
			must(os.Rename(filepath.Join(dir, "link"), file))
		}},
		{"a schema", func() { write(t, dir, "schemas/n.yaml", "type: integer # now\n") }},
	} {
		if !files.Look().Same(files) {
			t.Errorf("before %s: a change was reported", step.name)
		}
		step.do()
		now := files.Look()
		if now.Same(files) {
			t.Errorf("%s: the change was not noticed", step.name)
		}
		files = now
	}
	if _, err := c.Again(); err != nil {
		t.Error(err)
	}
}

// An error names the files in which its mistakes can be fixed.
func TestErrorsNameFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	paths := func(err error) []string {
		var wrong *config.Error
		if !errors.As(err, &wrong) {
			t.Fatalf("got %v", err)
		}
		return wrong.Files.Paths()
	}
	file := filepath.Join(dir, "test.config.yaml")
	_, err := config.Load(config.Options{Mode: "test", Dir: dir})
	if diff := cmp.Diff([]string{file}, paths(err)); diff != "" {
		t.Error(diff)
	}
	_, err = loadTypes(t, dir, "[{name: worker, schema: nowhere.json}]", nil)
	if diff := cmp.Diff([]string{file, filepath.Join(dir, "nowhere.json")}, paths(err)); diff != "" {
		t.Error(diff)
	}
}

// The handlers of types that have not changed are kept.
func TestHandlersAfter(t *testing.T) {
	t.Parallel()
	catalog := builtin.Catalog()
	if err := catalog.Add("h", func(handlers.Settings) (handlers.Handler, error) { return &counted{}, nil }); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	load := func(types string) config.Config {
		c, err := loadTypes(t, dir, types, catalog)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := load("[{name: a, handler: h}, {name: b, handler: h, settings: {x: 1}}, {name: c, handler: h}]")
	old, err := before.Handlers(nil)
	if err != nil {
		t.Fatal(err)
	}
	after := load("[{name: a, handler: h, concurrency: 1}, {name: b, handler: h, settings: {x: 2}}, {name: d, handler: h}]")
	renewed, err := after.HandlersAfter(before, old, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, same := range map[string]bool{"a": true, "b": false, "d": false} {
		was, _ := old.Lookup(name)
		is, ok := renewed.Lookup(name)
		if !ok || (was == is) != same {
			t.Errorf("%s: the handler is kept: %v", name, was == is)
		}
	}
	if _, ok := renewed.Lookup("c"); ok {
		t.Error("a removed type has a handler")
	}
	if _, err := after.HandlersAfter(before, old, []string{"c"}); err == nil {
		t.Error("no error for a removed type")
	}
}

// counted is a handler that differs from every other one.
type counted struct {
	handlers.Handler
	_ int
}
