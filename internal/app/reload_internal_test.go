package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskerhq/tasker/config"
)

const (
	oneType  = "task_types: [worker]\n"
	twoTypes = "task_types: [worker, sleep]\nlog: {level: debug}\n"
)

// reloading is a reloader that runs on a file, with one role that notes the
// task types that it was given.
type reloadingCase struct {
	t     *testing.T
	r     *reloader
	file  string
	asked chan os.Signal
	done  chan error
	level *slog.LevelVar

	mu     sync.Mutex
	log    bytes.Buffer
	given  [][]string
	refuse error // by the role, before
	fail   error // by the role, when it applies
}

// Write takes the log.
func (c *reloadingCase) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Write(b)
}

func (c *reloadingCase) logged() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.String()
}

func (c *reloadingCase) change(_, next config.Config) (func(context.Context) error, error) {
	return func(context.Context) error {
		if c.fail == nil {
			c.given = append(c.given, next.TaskTypeNames())
		}
		return c.fail
	}, c.refuse
}

// startReloading runs a reloader that looks at its file each period, 0 for
// never, until the test ends.
func startReloading(t *testing.T, period time.Duration) *reloadingCase {
	t.Helper()
	c := &reloadingCase{
		t: t, file: filepath.Join(t.TempDir(), "test.config.yaml"),
		asked: make(chan os.Signal), done: make(chan error), level: new(slog.LevelVar),
	}
	c.write(oneType)
	cfg, err := config.Load(config.Options{
		Mode: "test", Dir: filepath.Dir(c.file), Without: config.PartAPI | config.PartDatabase | config.PartBroker | config.PartAdmin,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	opts := Reload{Asked: c.asked, Period: period, Level: c.level, Done: func(err error) {
		select {
		case c.done <- err:
		case <-ctx.Done():
		}
	}}
	c.r = newReloader(opts, cfg, slog.New(slog.NewTextHandler(c, nil)))
	if err := c.r.join(t.Context(), c.change); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); c.r.run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	return c
}

func (c *reloadingCase) write(content string) {
	c.t.Helper()
	if err := os.WriteFile(c.file, []byte(content), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// hangUp requests a reload, and returns its error.
func (c *reloadingCase) hangUp() error {
	c.t.Helper()
	c.asked <- syscall.SIGHUP
	return c.await()
}

func (c *reloadingCase) await() error {
	c.t.Helper()
	select {
	case err := <-c.done:
		return err
	case <-time.After(5 * time.Minute):
		c.t.Fatal("the configuration is not read again")
		return nil
	}
}

func (c *reloadingCase) wantLogged(parts ...string) {
	c.t.Helper()
	for _, part := range parts {
		if !strings.Contains(c.logged(), part) {
			c.t.Errorf("the log lacks %q:\n%s", part, c.logged())
		}
	}
}

func TestReloadOfAGoodFile(t *testing.T) {
	t.Parallel()
	c := startReloading(t, 0)
	if err := c.hangUp(); err != nil {
		t.Fatal(err)
	}
	c.wantLogged("no change takes effect without a restart")
	c.write(twoTypes + "api: {port: 1}\n")
	if err := c.hangUp(); err != nil {
		t.Fatal(err)
	}
	if want := [][]string{{"worker"}, {"worker", "sleep"}}; !slices.EqualFunc(c.given, want, slices.Equal) {
		t.Errorf("the role got %v", c.given)
	}
	if c.level.Level() != slog.LevelDebug {
		t.Errorf("the log's level is %v", c.level.Level())
	}
	c.wantLogged("added=[sleep]", "log_level=DEBUG", `msg="configuration changes need a restart" keys=api.port`)
	// It is logged as long as it lasts, whatever else changes.
	c.write(oneType + "api: {port: 1}\n")
	if err := c.hangUp(); err != nil {
		t.Fatal(err)
	}
	c.wantLogged("removed=[sleep]")
	if n := strings.Count(c.logged(), "keys=api.port"); n != 2 {
		t.Errorf("logged %d times that the port needs a restart:\n%s", n, c.logged())
	}
}

func TestReloadOfABadFile(t *testing.T) {
	t.Parallel()
	c := startReloading(t, 0)
	for name, content := range map[string]string{
		"two mistakes": twoTypes + "api: {port: x, prot: 1}\n",
		"no YAML":      "\t- :",
		"empty":        "",
	} {
		c.write(content)
		if err := c.hangUp(); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	if err := os.Remove(c.file); err != nil {
		t.Fatal(err)
	}
	if err := c.hangUp(); err == nil {
		t.Error("no file at all was taken")
	}
	if len(c.given) != 0 || c.level.Level() != slog.LevelInfo {
		t.Errorf("a mistake changed something: %v, level %v", c.given, c.level.Level())
	}
	c.wantLogged("level=ERROR", `:3: unknown key \"api.prot\": did you mean \"api.port\"?`, `invalid api.port: must be a whole number 0-65535, got \"x\"`,
		"invalid YAML", "missing task_types", "does not exist")
	c.write(twoTypes)
	if err := c.hangUp(); err != nil || len(c.given) != 1 {
		t.Errorf("a good one after bad ones: %v, %v", err, c.given)
	}
}

// TestReloadThatARoleRefuses changes nothing in the other ones.
func TestReloadThatARoleRefuses(t *testing.T) {
	t.Parallel()
	c := startReloading(t, 0)
	refusal := errors.New("it has no such type any more")
	err := c.r.join(t.Context(), func(_, _ config.Config) (func(context.Context) error, error) { return nil, refusal })
	if err != nil {
		t.Fatal(err)
	}
	c.write(twoTypes)
	if err := c.hangUp(); !errors.Is(err, refusal) || len(c.given) != 0 || c.level.Level() != slog.LevelInfo {
		t.Errorf("%v, %v, level %v", err, c.given, c.level.Level())
	}
	c.wantLogged("level=ERROR", refusal.Error())
}

// TestReloadThatFails has no effect: the next one tries again.
func TestReloadThatFails(t *testing.T) {
	t.Parallel()
	c := startReloading(t, 0)
	c.fail = errors.New("no")
	c.write(twoTypes)
	if err := c.hangUp(); !errors.Is(err, c.fail) {
		t.Fatal(err)
	}
	c.fail = nil
	if err := c.hangUp(); err != nil || len(c.given) != 1 {
		t.Errorf("%v, %v", err, c.given)
	}
	c.wantLogged("added=[sleep]")
}

// TestReloadBeforeARoleHasStarted reaches it.
func TestReloadBeforeARoleHasStarted(t *testing.T) {
	t.Parallel()
	c := startReloading(t, 0)
	c.write(twoTypes)
	if err := c.hangUp(); err != nil {
		t.Fatal(err)
	}
	var late []string
	err := c.r.join(t.Context(), func(before, next config.Config) (func(context.Context) error, error) {
		return func(context.Context) error { late = before.Diff(next).Added; return nil }, nil
	})
	if err != nil || !slices.Equal(late, []string{"sleep"}) {
		t.Errorf("the late role got %v, %v", late, err)
	}
}

// TestAFileThatIsBeingWritten is left alone until it stays the same.
func TestAFileThatIsBeingWritten(t *testing.T) {
	t.Parallel()
	c := startReloading(t, 0)
	w := watch{c.r.start.Files(), c.r.start.Files()}
	if w.changed() {
		t.Error("it changed by itself")
	}
	for _, content := range []string{"", "task_types: [wor", twoTypes} {
		c.write(content)
		if w.changed() {
			t.Errorf("%q is read at once", content)
		}
	}
	if !w.changed() {
		t.Error("the change is not seen")
	}
	// A change that was reverted is no change.
	w = watch{c.r.start.Files().Look(), c.r.start.Files().Look()}
	for range 2 {
		if w.changed() {
			t.Error("it changed by itself")
		}
	}
}

// TestReloadOfAChangedFile goes through the ways that a file is written.
func TestReloadOfAChangedFile(t *testing.T) {
	t.Parallel()
	c := startReloading(t, time.Millisecond)
	dir := filepath.Dir(c.file)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	beside := func(name, content string) string {
		path := filepath.Join(dir, name)
		must(os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	for _, step := range []struct {
		name  string
		do    func()
		types int // 0 if it is invalid
	}{
		{"in place", func() {
			f, err := os.OpenFile(c.file, os.O_WRONLY, 0)
			must(err)
			_, err = f.WriteString(twoTypes)
			must(errors.Join(err, f.Close()))
		}, 2},
		{"another one in its place", func() { must(os.Rename(beside("new", oneType), c.file)) }, 1},
		{"a mistake", func() { must(os.Rename(beside("new", "task_types: [nope]"), c.file)) }, 0},
		{"a link in its place", func() {
			beside("two", twoTypes)
			must(os.Symlink("two", filepath.Join(dir, "link")))
			must(os.Rename(filepath.Join(dir, "link"), c.file))
		}, 2},
		{"a link that leads elsewhere", func() {
			beside("one", oneType)
			must(os.Symlink("one", filepath.Join(dir, "link")))
			must(os.Rename(filepath.Join(dir, "link"), c.file))
		}, 1},
		{"a schema that is missing", func() {
			must(os.Rename(beside("new", "task_types: [sleep, {name: worker, schema: s.json}]"), c.file))
		}, 0},
		{"the schema comes", func() { must(os.Rename(beside("new", "true"), filepath.Join(dir, "s.json"))) }, 2},
		{"the schema is broken", func() { must(os.Rename(beside("new", "{"), filepath.Join(dir, "s.json"))) }, 0},
		{"the schema is mended", func() { must(os.Rename(beside("new", "{}"), filepath.Join(dir, "s.json"))) }, 2},
	} {
		step.do()
		err := c.await()
		c.r.mu.Lock()
		types := len(c.r.current.TaskTypes)
		c.r.mu.Unlock()
		if (err == nil) != (step.types > 0) || err == nil && types != step.types {
			t.Fatalf("%s: %v, %d types", step.name, err, types)
		}
	}
}
