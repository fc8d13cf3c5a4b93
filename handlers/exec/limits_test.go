//go:build linux

package exec_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/exec"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script string
		limits map[string]any
		errnr  int
		errmsg string
	}{
		"file_size": {`head -c 100000 /dev/zero > file`, map[string]any{"file_size": "64KiB", "core": 0}, 128 + int(syscall.SIGXFSZ), ""},
		"alone": {
			`exec head -c 100000 /dev/zero > file`,
			map[string]any{"file_size": 1000, "core": 0},
			128 + int(syscall.SIGXFSZ),
			"killed by SIGXFSZ: file size limit exceeded",
		},
		"memory": {`a=$(yes | head -c 200000000)`, map[string]any{"memory": "32MiB"}, 0, ""},
		"cpu_time": {
			`while :; do :; done`,
			map[string]any{"cpu_time": 0.5, "core": 0},
			128 + int(syscall.SIGXCPU),
			"killed by SIGXCPU: CPU time limit exceeded",
		},
		"open_files": {`exec 4<&0 5<&0 6<&0 7<&0 8<&0 9<&0`, map[string]any{"open_files": 8}, 2, "Bad file descriptor"},
		"too little": {`true`, map[string]any{"memory": 4096}, 0, ""},
		"all": {`ulimit -n; ulimit -t`, map[string]any{
			"open_files": 100, "cpu_time": 60, "memory": "4GiB", "processes": 1 << 30,
			"file_size": "1GiB",
		}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := handlertest.Handle(t, shell(t, test.script, handlers.Settings{"limits": test.limits}), "null")
			if test.limits["memory"] != nil && name != "all" { // how it fails is the shell's business, or the loader's
				if err == nil {
					t.Error("it ran without memory")
				}
				return
			}
			if handlers.Errnr(err) != test.errnr || err != nil && !strings.Contains(err.Error(), test.errmsg) {
				t.Errorf("got %s, errnr %d, %v; want %d, %s", out, handlers.Errnr(err), err, test.errnr, test.errmsg)
			}
			if name == "all" && out != `"100\n60"` {
				t.Errorf("got %s", out)
			}
		})
	}
}

// TestLimitsThatCannotBeSet: the program does not run, and success_codes does not
// apply.
func TestLimitsThatCannotBeSet(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte("#!"+t.TempDir()+"\n"), 0o755); err != nil { // a directory cannot be executed
		t.Fatal(err)
	}
	h := handlertest.Make(t, exec.New, handlers.Settings{
		"command": []any{file}, "limits": map[string]any{"open_files": 50}, "success_codes": []any{0, 126},
	})
	if _, err := handlertest.Handle(t, h, "null"); handlers.Errnr(err) != 126 || !strings.Contains(err.Error(),
		"the program could not be started: prlimit: ") {
		t.Errorf("got %v", err)
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	notes := func(settings handlers.Settings) string {
		settings["command"] = []any{"/bin/true"}
		return strings.Join(handlertest.Make(t, exec.New, settings).(handlers.Noter).Notes(), "\n")
	}
	if got := notes(handlers.Settings{}); !strings.Contains(got, `the setting "user" is not set`) {
		t.Errorf("without a user: %q", got)
	}
	if got := notes(handlers.Settings{"user": "nobody", "limits": map[string]any{"processes": 5}}); got != "" && os.Geteuid() == 0 {
		t.Errorf("with a user: %q", got)
	}
	if got := notes(handlers.Settings{"user": "root", "limits": map[string]any{"processes": 5}}); !strings.Contains(got,
		"no effect on root") && os.Geteuid() == 0 {
		t.Errorf("as root: %q", got)
	}
}

func TestUmaskAndNice(t *testing.T) {
	t.Parallel()
	before := syscall.Umask(0o022)
	syscall.Umask(before)
	for range 20 {
		out, err := handlertest.Handle(t, shell(t, "umask; nice", handlers.Settings{"umask": "027", "nice": 5}), "null")
		if err != nil || out != `"0027\n5"` {
			t.Fatalf("got %s, %v", out, err)
		}
		// Other programs do not have them.
		out, err = handlertest.Handle(t, shell(t, "umask; nice", nil), "null")
		if want := fmt.Sprintf(`"%04o\n0"`, before); err != nil || !strings.HasPrefix(out, want[:5]) || strings.Contains(out, `\n5"`) {
			t.Fatalf("got %s, %v; want %s", out, err, want)
		}
	}
}

func TestOtherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		_, err := handlertest.Handle(t, shell(t, "id", handlers.Settings{"user": "root"}), "null")
		if err == nil || !strings.Contains(err.Error(), "only root can run a program as another user") {
			t.Errorf("got %v", err)
		}
		t.Skip("the rest needs root")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("no user nobody")
	}
	// Like those of the test, directories may belong to root alone.
	out, err := handlertest.Handle(t, shell(t,
		`id -u; id -g; id -G; echo "$USER $HOME"; touch file && stat -c '%u %a' . "$TASKER_PAYLOAD_FILE"; cat "$TASKER_PAYLOAD_FILE"`,
		handlers.Settings{"user": "nobody", "group": "daemon"}), `"payload"`)
	var text string
	if uerr := json.Unmarshal([]byte(out), &text); err != nil || uerr != nil {
		t.Fatalf("got %s, %v, %v", out, err, uerr)
	}
	daemon, err := user.LookupGroup("daemon")
	if err != nil {
		t.Fatal(err)
	}
	groups, err := nobody.GroupIds()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		nobody.Uid, daemon.Gid, daemon.Gid + " " + strings.Join(groups, " "), "nobody " + nobody.HomeDir,
		nobody.Uid + " 700", nobody.Uid + " 600", `"payload"`,
	}, "\n")
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	// Limits come on top.
	out, err = handlertest.Handle(t, shell(t, `id -u; ulimit -n`,
		handlers.Settings{"user": nobody.Uid, "limits": map[string]any{"open_files": 50}}), "null")
	if want := strconv.Quote(nobody.Uid + "\n50"); err != nil || out != want {
		t.Errorf("got %s, %v; want %s", out, err, want)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = handlertest.Handle(t, shell(t, `true`, handlers.Settings{"user": "nobody", "directory": dir}), "null")
	if err == nil || !strings.Contains(err.Error(), "user nobody may not execute /bin/sh in "+dir) {
		t.Errorf("got %v", err)
	}
}

// TestLeaksNothing: no descriptor, goroutine, thread, process or directory, however
// the runs end. It must not run in parallel with others.
func TestLeaksNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	goroutines := goleak.IgnoreCurrent()
	all := []handlers.Handler{
		handlertest.Make(t, exec.New, handlers.Settings{"command": "/bin/true"}),
		shell(t, `sleep 100 & mkdir -p a/b; ln -s / a/root; echo x >&2; exit 3`, nil),
		handlertest.Make(t, exec.New, handlers.Settings{"command": "/bin/true", "umask": "077", "nice": 1}),
		handlertest.Make(t, exec.New, handlers.Settings{"command": "/nope"}),
		handlertest.Make(t, exec.New, handlers.Settings{"command": "/bin/true", "nice": 1, "limits": map[string]any{"open_files": 50}}),
	}
	round := func(n int) {
		for i := range n {
			_, _ = all[i%len(all)].Handle(t.Context(), handlertest.NewRecorder().Request(`{"a": 1}`))
		}
	}
	round(20)
	files, threads := len(handlertest.List(t, "/proc/self/fd")), len(handlertest.List(t, "/proc/self/task"))
	runs := 1000
	if testing.Short() {
		runs = 100
	}
	round(runs)
	goleak.VerifyNone(t, goroutines)
	if now := len(handlertest.List(t, "/proc/self/fd")); now > files+2 {
		t.Errorf("%d descriptors became %d", files, now)
	}
	// The runtime keeps some threads, but not one for each run.
	handlertest.Poll(t, "the end of the threads", func() bool { return len(handlertest.List(t, "/proc/self/task")) <= threads+10 })
	if left := handlertest.List(t, temp); len(left) > 0 {
		t.Errorf("left were %q", left)
	}
	children, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range children {
		if text, err := os.ReadFile(path); err == nil && len(strings.TrimSpace(string(text))) > 0 {
			t.Errorf("children were left: %s", text)
		}
	}
}

// TestFloods: output beyond what is kept does not take memory.
func TestFloods(t *testing.T) {
	peak := func() (kib int) {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "VmHWM:")
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			t.Fatal(err)
		}
		return kib
	}
	h := shell(t, `head -c 200000000 /dev/zero; head -c 10000000 /dev/zero >&2; head -c 10000000 /dev/zero >&3; exit 1`, nil)
	before := peak()
	result, err := h.Handle(t.Context(), &handlers.Request{Payload: json.RawMessage("null"), Deadline: time.Now()})
	if !strings.HasSuffix(string(result), `"truncated":true,"size":200000000}`) || len(result) > 256<<10 || err == nil ||
		len(err.Error()) > 9000 {
		t.Errorf("got %d bytes, %.100v", len(result), err)
	}
	if grown := peak() - before; grown > 48<<10 {
		t.Errorf("the memory grew by %d KiB", grown)
	}
}
