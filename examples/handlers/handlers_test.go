// Package handlers_test tests the examples of docs/handlers.md, and compares the page
// with the files and with the handlers.
package handlers_test

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
	"github.com/taskerhq/tasker/handlers/handlerstest"
)

const (
	page      = "../../docs/handlers.md"
	installed = "/opt/tasker/handlers"
)

// example makes the handler of a task type in the examples' configuration, with the
// programs of this directory.
func example(t *testing.T, name string, environment map[string]any) handlers.Handler {
	t.Helper()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(read(t, "config/development.config.yaml"), installed, here)
	var conf struct {
		TaskTypes []struct {
			Name, Handler string
			Settings      handlers.Settings
		} `yaml:"task_types"`
	}
	if err := yaml.Unmarshal([]byte(text), &conf); err != nil {
		t.Fatal(err)
	}
	for _, taskType := range conf.TaskTypes {
		if taskType.Name != name {
			continue
		}
		if environment != nil {
			taskType.Settings["environment"] = environment
		}
		h, err := builtin.Catalog().Make(taskType.Handler, taskType.Settings)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.(handlers.Checker).Check(); err != nil {
			t.Fatal(err)
		}
		if closer, ok := h.(io.Closer); ok {
			t.Cleanup(func() {
				if err := closer.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		return h
	}
	t.Fatalf("unknown task type %s", name)
	return nil
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestDisk(t *testing.T) {
	t.Parallel()
	disk := example(t, "disk", nil)
	run := handlerstest.Run(t.Context(), disk, handlerstest.Task{Payload: `{"paths":["/"],"limit":100}`})
	if run.State != tasker.ResultDone || !regexp.MustCompile(`^\{"/": \d+\}$`).Match(run.Result) {
		t.Errorf("got %s, %s, %s", run.State, run.Result, run.Errmsg)
	}
	run.WantProgress(t, 1, 1)
	run.WantLine(t, "/ is ")
	run = handlerstest.Run(t.Context(), disk, handlerstest.Task{
		Payload: `{"paths":["/"],"limit":-1}`, Retry: tasker.RetryPolicy{Delays: []time.Duration{0}},
	})
	run.WantFailed(t, 3, "too full: /")
	if len(run.Attempts) != 1 || len(run.Partials) != 1 {
		t.Errorf("got %d attempts, %d partial results", len(run.Attempts), len(run.Partials))
	}
	handlerstest.Run(t.Context(), disk, handlerstest.Task{Payload: `{"paths":["/nowhere"],"limit":1}`}).WantFailed(t, 1, "FileNotFoundError")
}

func TestArchive(t *testing.T) {
	t.Parallel()
	source, target := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "a"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	archive := example(t, "archive", map[string]any{"ARCHIVES": target})
	task := handlerstest.Task{Payload: `{"directory":"` + source + `"}`, Identifier: "first", Endpoint: "console1"}
	run := handlerstest.Run(t.Context(), archive, task)
	file := filepath.Join(target, "console1-first.tar.gz")
	want := regexp.MustCompile(`^\{"file":"` + regexp.QuoteMeta(file) + `","sha256":"[0-9a-f]{64}"\}$`)
	if run.State != tasker.ResultDone || !want.Match(run.Result) {
		t.Errorf("got %s, %s, %s", run.State, run.Result, run.Errmsg)
	}
	run.WantProgress(t, 2, 2)
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	handlerstest.Run(t.Context(), archive, handlerstest.Task{Payload: `{"directory":"/nowhere"}`}).WantFailed(t, 2,
		"no such directory: /nowhere")
	handlerstest.Run(t.Context(), archive, handlerstest.Task{Payload: `{"directory":"/x; rm"}`, Schema: "true"}).WantFailed(t, 1,
		"does not match")
}

func TestChecksum(t *testing.T) {
	t.Parallel()
	checksum := example(t, "checksum", nil)
	file := filepath.Join(t.TempDir(), "abc")
	if err := os.WriteFile(file, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		run := handlerstest.Run(t.Context(), checksum, handlerstest.Task{Payload: `{"path":"` + file + `"}`})
		run.WantDone(t, `{"bytes":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}`)
		run.WantProgress(t, 3, 3)
	}
	handlerstest.Run(t.Context(), checksum, handlerstest.Task{Payload: `{"path":"/nowhere"}`}).WantFailed(t, 2, "No such file")
	// A request that does not end by itself ends when it is canceled.
	running := handlerstest.Start(t.Context(), checksum, handlerstest.Task{Payload: `{"path":"/dev/zero"}`, Timeout: 300 * time.Millisecond})
	run := running.Wait()
	if run.State != tasker.TimedOut || !strings.Contains(run.Errmsg, "stopped after ") {
		t.Errorf("got %s, %s", run.State, run.Errmsg)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	load := example(t, "load", nil)
	for _, payload := range []string{"null", `{"cancel":"1","id":"x"}`} {
		run := handlerstest.Run(t.Context(), load, handlerstest.Task{Payload: payload})
		if run.State != tasker.ResultDone || !regexp.MustCompile(`^\{"load":\[[0-9.]+,[0-9.]+,[0-9.]+\]\}$`).Match(run.Result) {
			t.Errorf("got %s, %s, %s", run.State, run.Result, run.Errmsg)
		}
	}
}

// TestPageShowsTheFiles: the page contains the examples verbatim.
func TestPageShowsTheFiles(t *testing.T) {
	t.Parallel()
	text := read(t, page)
	for name, language := range map[string]string{
		"disk.py": "python", "archive.sh": "sh", "checksum.py": "python", "load.sh": "sh", "config/development.config.yaml": "yaml",
	} {
		if !strings.Contains(text, "```"+language+"\n"+read(t, name)+"```\n") {
			t.Errorf("%s is not in %s", name, page)
		}
	}
	_, snippet, _ := strings.Cut(read(t, "greet_test.go"), "\n// greet ")
	snippet, _, _ = strings.Cut("// greet "+snippet, "\nfunc Example")
	if !strings.Contains(text, "```go\n"+snippet+"```\n") {
		t.Errorf("the handler of greet_test.go is not in %s", page)
	}
}

// TestPageHasTheSettings: the page's tables have all settings of each handler, and no
// others. A handler lists them in its error about an unknown one.
func TestPageHasTheSettings(t *testing.T) {
	t.Parallel()
	text := read(t, page)
	documented := func(heading string) map[string]bool {
		_, section, found := strings.Cut(text, "\n### "+heading+"\n")
		if !found {
			t.Errorf("%s has no section ### %s", page, heading)
		}
		section, _, _ = strings.Cut(section, "\n### ")
		section, _, _ = strings.Cut(section, "\n## ")
		names := map[string]bool{}
		for _, row := range regexp.MustCompile("(?m)^\\| ((?:`[a-z_]+`(?:, )?)+) \\|").FindAllStringSubmatch(section, -1) {
			for name := range strings.SplitSeq(row[1], ", ") {
				names[strings.Trim(name, "`")] = true
			}
		}
		return names
	}
	sections := map[string][]string{
		"exec": {"exec", "The process"}, "script": {"script", "The process"}, "service": {"service"},
		"http": {"http"}, "copyfile": {"copyfile"},
	}
	for name, headings := range sections {
		_, err := builtin.Catalog().Make(name, handlers.Settings{"nope": 1})
		_, list, found := strings.Cut(fmt.Sprint(err), "the settings are ")
		if !found {
			t.Fatalf("%s: got %v", name, err)
		}
		got := map[string]bool{}
		for _, heading := range headings {
			maps.Copy(got, documented(heading))
		}
		want := map[string]bool{}
		for setting := range strings.SplitSeq(list, ", ") {
			want[setting] = true
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: documented are\n%s, there are\n%s", name, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
	for _, name := range builtin.Catalog().Names() {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("%s does not mention the handler %s", page, name)
		}
	}
}
