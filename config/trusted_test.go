//go:build unix

package config_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/config"
)

// A configuration, a schema and a secret that others can change are refused.
func TestFilesThatOthersCanChangeAreNotTrusted(t *testing.T) {
	t.Parallel()
	const untrusted, forAll = " is not trusted: ", " is writable by all users (its mode is "
	for name, test := range map[string]struct {
		spoil func(dir string) error
		want  string // in the message; DIR stands for the directory
	}{
		"the configuration": {
			func(dir string) error { return os.Chmod(dir+"/test.config.yaml", 0o666) },
			"DIR/test.config.yaml" + untrusted + "DIR/test.config.yaml" + forAll + "-rw-rw-rw-): chmod go-w DIR/test.config.yaml",
		},
		"its directory": {
			func(dir string) error { return os.Chmod(dir, 0o777) },
			"DIR/test.config.yaml" + untrusted + "DIR" + forAll + "drwxrwxrwx): chmod go-w DIR",
		},
		"the configuration, of another user": {
			func(dir string) error { return os.Chown(dir+"/test.config.yaml", 65534, -1) },
			"DIR/test.config.yaml belongs to the user 65534, neither to root nor to the user of this process: chown root DIR/test.config.yaml",
		},
		"a schema": {
			func(dir string) error { return os.Chmod(dir+"/schema.json", 0o666) },
			"invalid task_types[0].schema: DIR/schema.json" + untrusted + "DIR/schema.json" + forAll,
		},
		"a secret, of another user": {
			func(dir string) error { return os.Chown(dir+"/secret", 65534, -1) },
			"invalid api.token_file: DIR/secret" + untrusted + "DIR/secret belongs to the user 65534",
		},
		"a secret, for its group": {
			func(dir string) error { return os.Chmod(dir+"/secret", 0o660) },
			"invalid api.token_file: DIR/secret" + untrusted + "DIR/secret is writable by its group (its mode is -rw-rw----): chmod g-w DIR/secret",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Geteuid() >= 1000 && strings.Contains(name, "group") {
				t.Skip("the group is the user's own")
			}
			dir := t.TempDir()
			write(t, dir, "schema.json", `{"type": "object"}`)
			write(t, dir, "secret", strings.Repeat("x", 32))
			write(t, dir, "test.config.yaml", strings.Replace(minimal, "[worker]", "[{name: worker, schema: schema.json}]", 1)+"api: {token_file: secret}\n")
			opts := config.Options{Mode: "test", Dir: dir}
			c, err := config.Load(opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := test.spoil(dir); errors.Is(err, fs.ErrPermission) {
				t.Skip("only root can give a file away")
			} else if err != nil {
				t.Fatal(err)
			}
			if _, err = c.Again(); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), dir, "DIR"), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

// A fix by chmod alone is noticed.
func TestFixedModesAreNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, dir, "test.config.yaml", minimal)
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	_, err := config.Load(config.Options{Mode: "test", Dir: dir})
	var wrong *config.Error
	if !errors.As(err, &wrong) {
		t.Fatalf("got %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if wrong.Files.Look().Same(wrong.Files) {
		t.Error("the change of the mode was not noticed")
	}
}
