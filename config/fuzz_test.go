package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/taskerhq/tasker/config"
)

// FuzzLoad loads any file with any TASKER_TASK_TYPES: the result is an error or a
// configuration that can be shown.
func FuzzLoad(f *testing.F) {
	for _, mode := range []string{"development", "production"} {
		content, err := config.Shipped(mode)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content, "")
	}
	f.Add([]byte(minimal), "[worker, {name: a, handler: sleep, retry: '1 2'}]")
	f.Add([]byte("a: &a [*a]\n"), "a,b")
	f.Add([]byte("manager: &m {db: *m}\n"), "[&a [*a]]")
	f.Add([]byte("task_types: {<<: 1}\n--- 2"), "[")
	f.Add([]byte("? [a, b]\n: {1: 2}\n"), "[{name: worker, settings: {1: 2, [a]: b}}]")
	f.Add([]byte(minimal+"  labels: {a: b}\n"), "[{name: worker, schema: {type: [object, 'null']}, example: {a: 1e9}, labels: {x: y}, max_payload: 1KiB}]")
	f.Add([]byte("task_types: [{name: worker, schema: &a {x: *a}, example: 0x10}]"), "[{name: sleep, example: {2: .inf, <<: {}}, schema: s.json}]")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte, taskTypes string) {
		path := filepath.Join(dir, "test.config.yaml")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Options{
			Mode: "test", Dir: dir, Environ: []string{"TASKER_TASK_TYPES=" + taskTypes}, Without: config.PartAPI | config.PartAdmin,
		})
		if err != nil {
			return
		}
		everythingOf(t, c)
	})
}
