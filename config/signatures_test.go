package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/manager"
)

const (
	// signers is a file of allowed signers.
	signers = `alice namespaces="task@tasker" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBnkE9oOIQJHdVd8pnQ5Sfx+LWcHMmmGKDzHdiB4sTOg` + "\n"
	// others is another one.
	others = `bob namespaces="task@tasker" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBnkE9oOIQJHdVd8pnQ5Sfx+LWcHMmmGKDzHdiB4sTOg` + "\n"
)

func TestSignatures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keys    string // of manager
		file    string // of allowed signers
		without config.Part
		want    string // empty if it is valid
	}{
		"nothing":                    {"", signers, ofManager, ""},
		"required":                   {"verify: require, allowed_signers: signers", signers, ofManager, ""},
		"warned of":                  {"verify: warn, allowed_signers: signers", signers, ofManager, ""},
		"an unknown word":            {"verify: maybe", signers, ofManager, "invalid manager.verify: "},
		"a boolean":                  {"verify: true, allowed_signers: signers", signers, ofManager, "invalid manager.verify: "},
		"no file":                    {"verify: require", signers, ofManager, "missing manager.allowed_signers: set it, or TASKER_MANAGER_ALLOWED_SIGNERS"},
		"a file that is not there":   {"verify: require, allowed_signers: none", signers, ofManager, "DIR/none does not exist"},
		"a line that cannot be read": {"verify: require, allowed_signers: signers", "# people\nalice\n", ofManager, "invalid manager.allowed_signers: DIR/signers: line 2: "},
		"nobody":                     {"verify: require, allowed_signers: signers", "\n", ofManager, "no keys"},
		"a mistake, while it is off": {"allowed_signers: signers", "alice\n", ofManager, "line 1: "},
		"no directory":               {"state_dir: ''", signers, ofManager, "invalid manager.state_dir: "},
		"the API needs none of it":   {"verify: require, allowed_signers: none", signers, config.PartManager, ""},
		"the check looks at it, too": {"verify: require, allowed_signers: none", signers, ofCheck, "does not exist"},
		"a key that is not known":    {"allowed_signer: x", signers, ofManager, `unknown key "manager.allowed_signer": did you mean "manager.allowed_signers"?`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "signers", test.file)
			content := strings.Replace(minimal, "manager:", "manager:\n  "+strings.ReplaceAll(test.keys, ", ", "\n  "), 1)
			c, err := loadAs(dir, content, test.without)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), dir, "DIR"), test.want)) {
				t.Fatalf("%v, want %q, of\n%s", err, test.want, content)
			}
			if err == nil && test.without == ofManager && (c.Manager.Allowed != nil) != strings.Contains(test.keys, "allowed_signers") {
				t.Errorf("allowed are %v", c.Manager.Allowed)
			}
		})
	}
}

func TestSignedBy(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]struct {
		signers []string
		wrong   string // empty if it is valid
	}{
		"[alice, bob at db*]": {[]string{"alice", "bob at db*"}, ""},
		"bob at db*,web1":     {[]string{"bob at db*,web1"}, ""},
		"'*@example.com'":     {[]string{"*@example.com"}, ""},
		"[]":                  {nil, "must be a principal of manager.allowed_signers, or a list such as [alice, bob at db*]: nobody could sign"},
		"[alice bob]":         {nil, `invalid signer "alice bob"`},
		"[alice at]":          {nil, `invalid signer "alice at"`},
		"7":                   {nil, "must be a principal of manager.allowed_signers, or a list"},
		"{alice: db1}":        {nil, "must be a principal of manager.allowed_signers, or a list"},
	} {
		c, err := loadAs(t.TempDir(), strings.Replace(minimal, "[worker]", "\n- name: worker\n  signed_by: "+value, 1), ofManager)
		if want.wrong == "" && (err != nil || !cmp.Equal(c.TaskTypes[0].SignedBy, want.signers)) {
			t.Errorf("%s: %v", value, err)
		}
		if want.wrong != "" && (err == nil || !strings.Contains(err.Error(), "invalid task_types[0].signed_by: "+want.wrong)) {
			t.Errorf("%s: got %v", value, err)
		}
	}
}

// The file that says whose signatures count is trusted like a program.
func TestAllowedSignersThatOthersCanChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "signers", signers)
	if err := os.Chmod(filepath.Join(dir, "signers"), 0o666); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	content := strings.Replace(minimal, "manager:", "manager:\n  verify: require\n  allowed_signers: signers", 1)
	if _, err := loadAs(dir, content, ofManager); err == nil || !strings.Contains(err.Error(), "signers is not trusted: ") {
		t.Errorf("got %v", err)
	}
}

// Other signers take effect without a restart, and a mode does not.
func TestSignersChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "signers", signers)
	write(t, dir, "others", others)
	of := func(keys string) config.Config {
		t.Helper()
		c, err := loadAs(dir, strings.Replace(minimal, "manager:", "manager:\n  "+keys, 1), ofManager)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := of("verify: require\n  allowed_signers: signers")
	if d := first.Diff(of("verify: require\n  allowed_signers: others")); !d.Signers || len(d.Restart) > 0 {
		t.Errorf("another file: %+v", d)
	}
	if d := first.Diff(of("verify: warn\n  allowed_signers: signers")); d.Signers || !cmp.Equal(d.Restart, []string{"manager.verify"}) {
		t.Errorf("another mode: %+v", d)
	}
	files := first.Files()
	if write(t, dir, "signers", others); files.Look().Same(files) {
		t.Error("the file is not watched")
	}
	again, err := first.Again()
	if err != nil || !first.Diff(again).Signers {
		t.Errorf("other content: %v", err)
	}
}

func TestSignatureWarnings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "signers", signers)
	c, err := loadAs(dir, strings.Replace(minimal, "manager:", "manager:\n  allowed_signers: signers", 1), ofManager)
	if err != nil || !strings.Contains(strings.Join(c.Warnings(), "\n"), "has no effect while manager.verify is off") {
		t.Errorf("%q, %v", c.Warnings(), err)
	}
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(state, 0o777); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	c, err = loadAs(dir, strings.Replace(minimal, "manager:", "manager:\n  verify: warn\n  allowed_signers: signers\n  state_dir: state", 1), ofManager)
	if err != nil || !strings.Contains(strings.Join(c.Warnings(), "\n"), "others can have signatures used again: ") || c.Manager.StateDir != state {
		t.Errorf("%q, %v", c.Warnings(), err)
	}
	if got := c.Manager.Verify; got != manager.VerifyWarn {
		t.Errorf("verify is %q", got)
	}
}
