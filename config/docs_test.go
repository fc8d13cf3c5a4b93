package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
)

var update = flag.Bool("update", false, "write the documentation and the example files")

// TestDocs compares docs/configuration.md and the example files with the tables
// of keys. Run it with -update to write them.
func TestDocs(t *testing.T) {
	t.Parallel()
	const docs = "../docs/configuration.md"
	written := between(t, docs, read(t, docs), "<!-- keys -->\n", "<!-- end -->\n", documentedKeys())
	compare(t, docs, between(t, docs, written, "<!-- task type -->\n", "<!-- end -->\n", "```yaml\ntask_types:\n"+documentedFields("  ")+"```\n"))
	production := between(t, "production", read(t, "production.config.yaml"), "with their defaults:\n#\n", "#\n", documentedFields("#   "))
	compare(t, "production.config.yaml", explained(production))
	compare(t, "development.config.yaml", explained(read(t, "development.config.yaml")))
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func compare(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // for everybody
			t.Fatal(err)
		}
	}
	if got := read(t, path); got != want {
		t.Errorf("%s is out of date: run go test ./config -run Docs -update", path)
	}
}

// between replaces what is between two lines of a text.
func between(t *testing.T, name, text, from, to, content string) string {
	t.Helper()
	before, rest, ok := strings.Cut(text, from)
	_, after, found := strings.Cut(rest, to)
	if !ok || !found {
		t.Fatalf("%s: no %q, or no %q after it", name, from, to)
	}
	return before + from + content + to + after
}

// documentedKeys is the table of all keys.
func documentedKeys() string {
	var b strings.Builder
	b.WriteString("| key | default | variable | read by | |\n|---|---|---|---|---|\n")
	row := func(path, value string, by readers, doc string) {
		if value != "" {
			value = "`" + value + "` "
		}
		fmt.Fprintf(&b, "| `%s` | %s| `%s` | %s | %s |\n", path, value, EnvName(path), by, doc)
	}
	row(taskTypesKey, "", forBoth, "names, or entries as below; in the variable names with commas between, or a list in YAML")
	for _, k := range keys(newDraft()) {
		doc := k.doc
		if k.takes != "" {
			doc += " (" + k.takes + ")"
		}
		row(k.path, fmt.Sprint(k.get()), k.readers, doc)
	}
	return b.String()
}

// documentedFields is an entry of task_types with its defaults.
func documentedFields(indent string) string {
	var b strings.Builder
	entry := (tasker.TaskType{Name: "deploy"}).WithDefaults()
	item := "- "
	for _, f := range (&entryReader{}).fields(&entry) {
		key := f.name + ":"
		if value := f.shown(); value != nil {
			key += fmt.Sprint(" ", value)
		}
		fmt.Fprintf(&b, "%s%s%-18s # %s\n", indent, item, key, f.doc)
		item = "  "
	}
	return b.String()
}

// explained replaces the comments above the keys of an example file by what the
// table of keys says of them.
func explained(file string) string {
	docs := map[string]string{}
	for _, k := range keys(newDraft()) {
		docs[k.path] = k.doc
		if strings.HasPrefix(k.takes, "`") { // words, not numbers
			docs[k.path] += " (" + k.takes + ")"
		}
	}
	var out, comment bytes.Buffer
	var sections []string
	for line := range strings.Lines(file) {
		text := strings.TrimLeft(line, " ")
		depth := (len(line) - len(text)) / 2
		name, _, isKey := strings.Cut(text, ":")
		if depth > 0 && strings.HasPrefix(text, "#") {
			comment.WriteString(line)
			continue
		}
		if isKey && depth <= len(sections) {
			sections = append(sections[:depth], name)
			if doc, ok := docs[strings.Join(sections, ".")]; ok {
				comment.Reset()
				wrap(&comment, strings.Repeat(" ", 2*depth)+"# ", strings.ReplaceAll(doc, "`", ""))
			}
		}
		_, _ = comment.WriteTo(&out)
		out.WriteString(line)
	}
	return out.String()
}

// wrap writes a text in lines of at most 80 characters.
func wrap(out *bytes.Buffer, indent, text string) {
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > 80 && line != indent {
			out.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += word + " "
	}
	out.WriteString(strings.TrimRight(line, " ") + "\n")
}
