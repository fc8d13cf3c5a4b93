package tasker_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker/config"
)

// TestDocumentedConfiguration compares the documented keys, defaults and
// variables with those of the program.
func TestDocumentedConfiguration(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\| (?:`([^`]+)`)? ?\\| `(TASKER_[A-Z_]+)` \\|")
	for _, m := range row.FindAllStringSubmatch(string(content), -1) {
		documented[m[1]] = m[2]
		if m[3] != config.EnvName(m[1]) {
			t.Errorf("%s: the variable is documented as %s", m[1], m[3])
		}
	}
	if want := defaults(t); !reflect.DeepEqual(documented, want) {
		for key, value := range want {
			if got, ok := documented[key]; !ok || got != value {
				t.Errorf("%s: the default is %q, documented is %q (%v)", key, value, got, ok)
			}
		}
		for key := range documented {
			if _, ok := want[key]; !ok {
				t.Errorf("%s is documented, and no key", key)
			}
		}
	}
}

// defaults gives every key with the default that "config show" prints.
func defaults(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "empty.config.yaml"), []byte("task_types: [worker]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{
		Mode: "empty", Dir: dir,
		Without: config.PartAPI | config.PartDatabase | config.PartBroker | config.PartAdmin,
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := cfg.YAML()
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	tree["task_types"] = "" // it has no default
	flat := map[string]string{}
	flatten(flat, "", tree)
	for key, value := range flat { // documented relative to the file's directory
		flat[key] = strings.TrimPrefix(value, dir+string(filepath.Separator))
	}
	return flat
}

func flatten(flat map[string]string, prefix string, tree map[string]any) {
	for key, value := range tree {
		if branch, ok := value.(map[string]any); ok {
			flatten(flat, prefix+key+".", branch)
			continue
		}
		flat[prefix+key] = fmt.Sprint(value)
	}
}

// TestDocumentedLinks lead somewhere.
func TestDocumentedLinks(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob("docs/adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#]+)\)`)
	for _, page := range append(append(pages, records...), "README.md", "CHANGELOG.md", "CONTRIBUTING.md") {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(content), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// TestDocumentedAnswers are JSON, and answer the example.
func TestDocumentedAnswers(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	request, err := os.ReadFile("examples/testdata.json")
	if err != nil {
		t.Fatal(err)
	}
	var asked struct{ Identifier string }
	if err := json.Unmarshal(request, &asked); err != nil {
		t.Fatal(err)
	}
	answers := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(content), -1)
	if len(answers) != 2 {
		t.Fatalf("%d answers, want 2", len(answers))
	}
	for _, m := range answers {
		if !json.Valid([]byte(m[1])) || !strings.Contains(m[1], `"identifier":"`+asked.Identifier+`"`) {
			t.Errorf("not an answer to the example: %s", m[1])
		}
	}
}
