package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/config"
)

// The spool does not depend on the directory in which a manager starts.
func TestSpoolDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	working, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		mode, file, environ, want string
	}{
		"default":               {mode: "test", want: filepath.Join(dir, "data/spool")},
		"default in production": {mode: "production", want: "/var/lib/tasker/data/spool"},
		"file, relative":        {mode: "production", file: "keep/here", want: filepath.Join(dir, "keep/here")},
		"file, absolute":        {mode: "test", file: "/srv/spool", want: "/srv/spool"},
		"variable, relative":    {mode: "test", file: "/srv/spool", environ: "mine", want: filepath.Join(working, "mine")},
		"variable, absolute":    {mode: "production", environ: "/mnt/spool", want: "/mnt/spool"},
	} {
		t.Run(name, func(t *testing.T) { // one after the other: they share the file
			content := minimal
			if test.file != "" {
				content = strings.Replace(minimal, "manager:", "manager:\n  spool_dir: "+test.file, 1)
			}
			write(t, dir, test.mode+".config.yaml", content)
			var environ []string
			if test.environ != "" {
				environ = []string{"TASKER_MANAGER_SPOOL_DIR=" + test.environ}
			}
			c, err := config.Load(config.Options{Mode: test.mode, Dir: dir, Environ: environ})
			if err != nil {
				t.Fatal(err)
			}
			if c.Manager.SpoolDir != test.want {
				t.Errorf("got %s, want %s", c.Manager.SpoolDir, test.want)
			}
			if shown, err := c.YAML(); err != nil || !strings.Contains(string(shown), test.want) {
				t.Errorf("config show does not name %s (%v):\n%s", test.want, err, shown)
			}
		})
	}
}
