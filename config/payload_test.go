package config_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
)

// described is a handler with a description, which cannot work here.
type described struct{ handlers.Handler }

func (described) Describe() handlers.Description {
	return handlers.Description{
		Description: "Deploys", Usage: "Give a version.",
		Schema:  json.RawMessage(`{"type":"object","required":["version"]}`),
		Example: json.RawMessage(`{"version":"1.2"}`),
	}
}

func (described) Check() error { return errors.New("there is no program /opt/deploy") }

// catalogWith returns the built-in handlers and h.
func catalogWith(t *testing.T, name string, h handlers.Handler) *handlers.Catalog {
	t.Helper()
	c := builtin.Catalog()
	if err := c.Add(name, func(handlers.Settings) (handlers.Handler, error) { return h, nil }); err != nil {
		t.Fatal(err)
	}
	return c
}

func nothing(context.Context, *handlers.Request) (handlers.Result, error) { return nil, nil }

// loadTypes loads a file with the task types, in flow or block form.
func loadTypes(t *testing.T, dir, types string, catalog *handlers.Catalog) (config.Config, error) {
	t.Helper()
	write(t, dir, "test.config.yaml", strings.Replace(minimal, "[worker]", types, 1))
	return config.Load(config.Options{Mode: "test", Dir: dir, Handlers: catalog})
}

const typesWithSchemas = `
  - name: inline
    handler: worker
    usage: Give an n.
    max_payload: 64KiB
    labels: {Role: web, zone: eu}
    schema:
      type: object
      properties:
        zeta: {const: 2026-11-22}
        n: {type: integer, maximum: 123456789012345678901234567890, minimum: 0x10}
      required: [n]
    example: {n: 17, zeta: 2026-11-22}
  - {name: json, handler: worker, schema: schemas/n.json}
  - {name: yaml, handler: worker, schema: schemas/n.yaml, example: 5}
`

func writeSchemas(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "schemas"), 0o750); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "schemas/n.json", `{"type": "number"}`)
	write(t, dir, "schemas/n.yaml", "# A number\ntype: number\n")
	return dir
}

func TestSchemas(t *testing.T) {
	t.Parallel()
	dir := writeSchemas(t)
	c, err := loadTypes(t, dir, typesWithSchemas, nil)
	if err != nil {
		t.Fatal(err)
	}
	const inline = `{"type":"object","properties":{"zeta":{"const":"2026-11-22"},` +
		`"n":{"type":"integer","maximum":123456789012345678901234567890,"minimum":16}},"required":["n"]}`
	for i, want := range []string{inline, `{"type":"number"}`, `{"type":"number"}`} {
		if got := string(c.TaskTypes[i].Schema); got != want {
			t.Errorf("%s: the schema is %s, want %s", c.TaskTypes[i].Name, got, want)
		}
	}
	if got := string(c.TaskTypes[0].Example); got != `{"n":17,"zeta":"2026-11-22"}` {
		t.Errorf("the example is %s", got)
	}
	labels := map[string]string{"Role": "web", "zone": "eu"}
	if tt := c.TaskTypes[0]; tt.Usage != "Give an n." || tt.MaxPayload != 64<<10 || !cmp.Equal(tt.Labels, labels) {
		t.Errorf("%+v", tt)
	}
	for payload, valid := range map[string]bool{`{"n":16}`: true, `{"n":15}`: false, `{}`: false} {
		if err := c.TaskTypes[0].Payloads.Validate(json.RawMessage(payload)); (err == nil) != valid {
			t.Errorf("%s: %v", payload, err)
		}
	}
	if plain := mustLoad(t, minimal).TaskTypes[0]; plain.Payloads != nil {
		t.Errorf("a type without a schema has %v", plain.Payloads)
	}
	want := []string{filepath.Join(dir, "test.config.yaml"), filepath.Join(dir, "schemas/n.json"), filepath.Join(dir, "schemas/n.yaml")}
	if diff := cmp.Diff(want, c.Files().Paths()); diff != "" {
		t.Error(diff)
	}
	// The schemas are shown, not the paths of their files.
	shown, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadText(t, string(shown))
	if err != nil {
		t.Fatalf("%v:\n%s", err, shown)
	}
	first, errFirst := json.Marshal(c)
	second, errSecond := json.Marshal(again)
	if errFirst != nil || errSecond != nil || !bytes.Equal(first, second) {
		t.Errorf("shown: %v %v\n%s\n%s", errFirst, errSecond, first, second)
	}
}

// Examples are shown unchanged, even if YAML could read them as something else.
func TestExamplesAreShownAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, example := range []string{
		`"5"`, `"true"`, `"2026-11-22"`, `""`, `"~"`, `"a: b"`, `"- x"`, `"*a"`, `"a\nb\n"`, `" x "`, `"<&>"`, `null`, `1e300`, `0.10`, `[]`, `{}`,
		`{"":[{"b":null,"a":"#"}],"no":"no","1":1}`, `"\u0000"`, `"é😀"`, `[[[]],{"a":{}}]`,
	} {
		c, err := loadText(t, minimal, "TASKER_TASK_TYPES=[{name: worker, example: "+example+"}]")
		if err != nil {
			t.Errorf("%s: %v", example, err)
			continue
		}
		shown, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := loadText(t, string(shown))
		if err != nil {
			t.Errorf("%s: %v\n%s", example, err, shown)
			continue
		}
		if a, b := c.TaskTypes[0].Example, again.TaskTypes[0].Example; !bytes.Equal(a, b) || (string(a) != example && example != "null") {
			t.Errorf("%s: loaded as %s, shown and loaded as %s:\n%s", example, a, b, shown)
		}
	}
}

func TestHandlersDescribeTaskTypes(t *testing.T) {
	t.Parallel()
	catalog := catalogWith(t, "deploy", described{handlers.Func(nothing)})
	c, err := loadTypes(t, t.TempDir(), `[deploy, {name: d2, handler: deploy, description: mine, schema: {type: string}},
  {name: d3, handler: deploy, schema: true, example: {x: 1}}]`, catalog)
	if err != nil {
		t.Fatal(err)
	}
	type told struct{ Description, Usage, Schema, Example string }
	var got []told
	for _, tt := range c.TaskTypes {
		got = append(got, told{tt.Description, tt.Usage, string(tt.Schema), string(tt.Example)})
	}
	const schema, example = `{"type":"object","required":["version"]}`, `{"version":"1.2"}`
	want := []told{
		{"Deploys", "Give a version.", schema, example},
		{"mine", "Give a version.", `{"type":"string"}`, ""}, // the handler's example does not fit the schema
		{"Deploys", "Give a version.", `true`, `{"x":1}`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if tt := c.TaskTypes[0]; tt.Payloads == nil || tt.Payloads.Validate(json.RawMessage(`{}`)) == nil {
		t.Error("the handler's schema is not enforced")
	}
}

func TestCheckHandlers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := loadTypes(t, dir, "\n  - worker\n  - deploy\n  - {name: d2, handler: deploy}", catalogWith(t, "deploy", described{handlers.Func(nothing)}))
	if err != nil {
		t.Fatal(err)
	}
	var wrong *config.Error
	if !errors.As(c.CheckHandlers(), &wrong) {
		t.Fatal("no error")
	}
	want := []string{
		dir + "/test.config.yaml:4: task_types[1]: task type deploy: there is no program /opt/deploy",
		dir + "/test.config.yaml:5: task_types[2]: task type d2: there is no program /opt/deploy",
	}
	if diff := cmp.Diff(want, wrong.Problems); diff != "" {
		t.Error(diff)
	}
	if err := mustLoad(t, minimal).CheckHandlers(); err != nil {
		t.Error(err)
	}
}

// TestWrongSchemas lists the messages about schemas, examples, sizes and
// labels. DIR stands for the directory of the file.
func TestWrongSchemas(t *testing.T) {
	t.Parallel()
	const at = "DIR/test.config.yaml:2: invalid task_types[0]."
	for entry, want := range map[string]string{
		"schema: {type: nonsense}":                     "schema: ",
		"schema: {$ref: 'https://example.com/x.json'}": `schema: invalid reference "https://example.com/x.json": `,
		"schema: 5":                          "schema: ",
		"schema: ''":                         "schema: must be a schema, or the path of a file with one",
		"schema: nowhere.json":               "schema: DIR/nowhere.json does not exist",
		"schema: .":                          "schema: DIR is not a regular file",
		"schema: large.json":                 "schema: DIR/large.json must be at most 65536 bytes, got 70000",
		"schema: broken.json":                "schema: DIR/broken.json is neither JSON nor YAML: ",
		"schema: empty.yaml":                 "schema: DIR/empty.yaml is empty",
		"schema: wrong.yaml":                 "schema: DIR/wrong.yaml: ",
		"schema: {const: .inf}":              `schema: number ".inf" does not exist in JSON`,
		"schema: {1: 2}":                     "schema: line 2: key is not text: put it in quotes",
		"schema: {<<: {type: string}}":       "schema: merge key (<<) in a JSON value: write out what it stands for",
		"schema: {type: string}, example: 5": "example: ",
		"example: " + strings.Repeat("[", 102) + strings.Repeat("]", 102): "example: must be at most 1 MiB as JSON, and 100 levels deep",
		"max_payload: 0":     "max_payload: must be 1-1073741824 bytes, such as 65536 or 64KiB, got 0",
		"max_payload: 64KB":  `max_payload: must be 1-1073741824 bytes, such as 65536 or 64KiB, got "64KB"`,
		"max_payload: .nan":  "max_payload: must be 1-1073741824 bytes, such as 65536 or 64KiB, got .nan",
		"max_payload: 2MiB":  "max_payload: must not be more than api.max_body (1048576)",
		"labels: [web]":      "labels: must be a mapping of names to text, such as {role: web, zone: eu}, or role=web,zone=eu in a variable or flag",
		"labels: {rack: 7}":  `labels: invalid label "rack": its value must be text, got a number: put it in quotes`,
		"labels: {'a b': c}": `labels: invalid label "a b": must be 1-63 letters, digits, '.', '_', '/' or '-', and start with a letter or digit`,
		"labels: {a: 'b,c'}": `labels: invalid label "a": its value must be at most 255 printable characters without a comma`,
		"usage: [a]":         "usage: must be text, got a list: put it in quotes",
	} {
		t.Run(entry, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "large.json", strings.Repeat(" ", 70000))
			write(t, dir, "broken.json", `{"type": `)
			write(t, dir, "empty.yaml", "# nothing\n")
			write(t, dir, "wrong.yaml", "type: nonsense\n")
			_, err := loadTypes(t, dir, "[{name: worker, "+entry+"}]", nil)
			var wrong *config.Error
			if !errors.As(err, &wrong) {
				t.Fatalf("got %v", err)
			}
			got := strings.ReplaceAll(strings.Join(wrong.Problems, "\n"), dir, "DIR")
			if !strings.HasPrefix(got, at+want) || strings.Contains(got, "\n") {
				t.Errorf("got  %s\nwant %s", got, at+want)
			}
		})
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"Role": "web", "zone": "eu=1 a"}
	inFile := strings.Replace(minimal, "manager:", "manager:\n  labels: {Role: web, zone: eu=1 a}", 1)
	for name, load := range map[string]func() (config.Config, error){
		"in the file": func() (config.Config, error) { return loadText(t, inFile) },
		"as text": func() (config.Config, error) {
			return loadText(t, strings.Replace(inFile, "{Role: web, zone: eu=1 a}", "'Role=web, zone=eu=1 a'", 1))
		},
		"in a variable": func() (config.Config, error) {
			return loadText(t, inFile, "TASKER_MANAGER_LABELS=zone=eu=1 a,Role=web")
		},
		"shown": func() (config.Config, error) {
			shown, err := mustLoad(t, inFile).YAML()
			if err != nil {
				return config.Config{}, err
			}
			return loadText(t, string(shown))
		},
	} {
		if c, err := load(); err != nil || !cmp.Equal(c.Manager.Labels, labels) {
			t.Errorf("%s: %v, %v", name, c.Manager.Labels, err)
		}
	}
	for value, want := range map[string]string{
		"web":     "must be a mapping of names to text, such as {role: web, zone: eu}, or role=web,zone=eu in a variable or flag",
		"a=1,a=2": `duplicate label "a"`,
		"a=1,":    "must be a mapping of names to text, such as {role: web, zone: eu}, or role=web,zone=eu in a variable or flag",
		"=web":    `invalid label "": must be 1-63 letters, digits, '.', '_', '/' or '-', and start with a letter or digit`,
		"a=\x01":  `invalid label "a": its value must be at most 255 printable characters without a comma`,
	} {
		_, err := loadText(t, minimal, "TASKER_MANAGER_LABELS="+value)
		if err == nil || err.Error() != "configuration: TASKER_MANAGER_LABELS: invalid manager.labels: "+want {
			t.Errorf("%q: got %v", value, err)
		}
	}
	if c := mustLoad(t, minimal); c.Manager.Labels != nil {
		t.Errorf("got labels %v, want none", c.Manager.Labels)
	}
}
