//go:build linux

package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

// helperEnv makes the test binary run a program instead of the tests.
const (
	helperEnv    = "PROC_TEST_HELPER"
	helperRecord = "PROC_TEST_RECORD" // the record of that program
	helperCgroup = "PROC_TEST_CGROUP" // how it exits, in a cgroup
)

func TestMain(m *testing.M) {
	if what := os.Getenv(helperCgroup); what != "" {
		inCgroup(what)
	}
	if os.Getenv(helperEnv) != "" {
		spec := sh("echo $$; exec sleep 1000", os.Stdout)
		if record := os.Getenv(helperRecord); record != "" {
			spec = sh("echo $$; sleep 1000 & echo $!; setsid sleep 1000 & echo $!; timeout 1000 sleep 1000 & echo $!; wait", os.Stdout)
			spec.Record = record
			spec.Env = append(spec.Env, helperRecord+"="+strings.TrimSuffix(record, filepath.Ext(record)))
		}
		_, err := Run(context.Background(), spec)
		fmt.Println("Run returned:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// sh returns a Spec for a shell script.
func sh(script string, stdout io.Writer, args ...string) *Spec {
	return &Spec{
		Path: "/bin/sh", Args: append([]string{"-c", script, "sh"}, args...), Env: []string{"PATH=" + os.Getenv("PATH")},
		Stdout: stdout, StopGrace: 500 * time.Millisecond,
	}
}

func run(t *testing.T, spec *Spec) Exit {
	t.Helper()
	exit, err := Run(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

func running(pid int) bool { return alive(strconv.Itoa(pid)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pidsIn parses process ids, one per line.
func pidsIn(t *testing.T, text string) []int {
	t.Helper()
	var pids []int
	for word := range strings.FieldsSeq(text) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatalf("invalid process ids %q", text)
		}
		pids = append(pids, pid)
	}
	return pids
}

func script(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	handlertest.WriteFile(t, path, text, mode)
	return path
}

func TestRun(t *testing.T) {
	t.Parallel()
	var stdout, stderr, extra bytes.Buffer
	dir := t.TempDir()
	spec := sh(`read -r line; echo "in: $line, $1, $NAME, $(pwd)"; echo err >&2; echo three >&3; exit 7`, &stdout, "a  b")
	spec.Stdin, spec.Stderr, spec.Extra = strings.NewReader("hello\nmore"), &stderr, &extra
	spec.Dir, spec.Env = dir, []string{"NAME=value"}
	exit := run(t, spec)
	if exit != (Exit{Code: 7}) || exit.String() != "exit code 7" {
		t.Errorf("got %+v, %s", exit, exit)
	}
	if want := "in: hello, a  b, value, " + dir + "\n"; stdout.String() != want || stderr.String() != "err\n" || extra.String() != "three\n" {
		t.Errorf("got %q, %q, %q; want %q", &stdout, &stderr, &extra, want)
	}
	// A file is passed on as it is, and writers are optional.
	file, err := os.Open(script(t, "4\n", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	spec = sh(`echo; echo >&2; if { true >&3; } 2>/dev/null; then exit 3; fi; read -r n; exit $n`, nil)
	spec.Stdin = file
	if exit := run(t, spec); exit.Code != 4 {
		t.Errorf("got %s", exit)
	}
}

func TestProgramHasItsOwnSession(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer
	run(t, sh("cut -d' ' -f1,5,6,7 /proc/$$/stat", &stdout))
	fields := strings.Fields(stdout.String())
	if len(fields) != 4 || fields[0] != fields[1] || fields[0] != fields[2] || fields[3] != "0" {
		t.Errorf("process, group, session and terminal are %v", fields)
	}
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for want, spec := range map[string]*Spec{
		"program /nope/nope not found":                                                  {Path: "/nope/nope"},
		"program there-is-no-such-one not found in PATH":                                {Path: "there-is-no-such-one"},
		"program ls -l not found in PATH: write arguments as a list, such as [ls, ...]": {Path: "ls -l"},
		"invalid program bin/true":                                                      {Path: "bin/true"},
		`invalid program ""`:                                                            {Path: ""},
		"is not executable (its mode is -rw-r--r--)":                                    {Path: script(t, "#!/bin/sh\n", 0o644)},
		"is a directory, not a program":                                                 {Path: dir},
		"does not exist: /nope/interpreter":                                             {Path: script(t, "#! /nope/interpreter -x\n", 0o755)},
		"is not a program for this machine":                                             {Path: script(t, "echo hello\n", 0o755)},
		"the directory /nope does not exist":                                            {Path: "/bin/true", Dir: "/nope"},
		"is not a directory":                                                            {Path: "/bin/true", Dir: "/etc/passwd"},
		"unknown user there-is-no-such-one":                                             {Path: "/bin/true", User: "there-is-no-such-one"},
		"unknown group there-is-no-such-one":                                            {Path: "/bin/true", Group: "there-is-no-such-one"},
		"the arguments and the environment of /bin/true are too ": {
			Path: "/bin/true",
			Args: []string{strings.Repeat("x", 1<<18)},
		},
		"program /nope/limited not found": {Path: "/nope/limited", Limits: Limits{OpenFiles: 50}},
	} {
		_, err := Run(t.Context(), spec)
		found, ok := errors.AsType[*StartError](err)
		if !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
			continue
		}
		if missing := strings.Contains(want, "not found") || strings.Contains(want, "interpreter") ||
			strings.Contains(want, "invalid program"); found.NotFound != missing {
			t.Errorf("%v: NotFound is %t", err, found.NotFound)
		}
		check := spec.Check()
		if found.TooLong || strings.Contains(want, "for this machine") {
			continue // only the start reports it
		}
		if check == nil || !strings.Contains(check.Error(), want) {
			t.Errorf("Check: got %v\nwant %s", check, want)
		}
	}
	if err := (&Spec{Path: "/nope/nope", Dir: "/nope"}).Check(); err == nil || !strings.Contains(err.Error(),
		"program /nope/nope not found") || !strings.Contains(err.Error(), "directory /nope does not") {
		t.Errorf("two mistakes: %v", err)
	}
	if err := (&Spec{Path: "true", Dir: dir, Limits: Limits{OpenFiles: 50}}).Check(); err != nil {
		t.Errorf("valid: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the cause")
	cancel(cause)
	if _, err := Run(ctx, &Spec{Path: "/bin/true"}); !errors.Is(err, cause) {
		t.Errorf("with an ended context: %v", err)
	}
}

func TestSignalIsNamed(t *testing.T) {
	t.Parallel()
	for signal, want := range map[string]string{
		"SEGV": "killed by SIGSEGV", "TERM": "killed by SIGTERM",
		"KILL": "killed by SIGKILL, by a user or for lack of memory",
	} {
		spec := sh("kill -"+signal+" $$", nil)
		none := int64(0)
		spec.Limits.Core = &none
		if exit := run(t, spec); exit.String() != want || exit.Stopped {
			t.Errorf("got %q, %+v; want %q", exit, exit, want)
		}
	}
}

func readPids(t *testing.T, r io.Reader, n int) []int {
	t.Helper()
	var text []byte
	for one := make([]byte, 1); bytes.Count(text, []byte("\n")) < n; {
		if _, err := r.Read(one); err != nil {
			t.Fatal(err)
		}
		text = append(text, one[0])
	}
	return pidsIn(t, string(text))
}

// TestTermIsEnough: a program that exits on TERM gets no KILL, and a stopped one is
// continued to do so.
func TestTermIsEnough(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"trap":    `trap 'exit 9' TERM; echo $$; while :; do sleep 0.01; done`,
		"stopped": `trap 'exit 9' TERM; echo $$; kill -STOP $$; while :; do sleep 0.01; done`,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, w := io.Pipe()
		spec := sh(script, w)
		spec.StopGrace = time.Minute
		p, err := Start(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		readPids(t, r, 1)
		if name == "stopped" {
			handlertest.Poll(t, "it stops", func() bool {
				stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
				return strings.Contains(string(stat), ") T ")
			})
		}
		cancel()
		if exit := p.Wait(); !exit.Stopped || exit.Code != 9 || exit.Signal != 0 {
			t.Errorf("%s: got %+v", name, exit)
		}
	}
}

// TestLeftoversEndAndDaemonsStay: both hold the program's output open, but Wait does
// not wait for them.
func TestLeftoversEndAndDaemonsStay(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer
	exit := run(t, sh(`sleep 1000 & echo $!
sh -c 'trap "" TERM; while :; do sleep 1; done' & echo $!
timeout 1000 sh -c 'trap "" TERM; echo $$; : > ready; while :; do sleep 0.1; done' & while ! [ -e ready ]; do sleep 0.01; done
setsid sh -c 'echo $$ > daemon; exec sleep 1000' & while ! [ -s daemon ]; do sleep 0.01; done; cat daemon; rm daemon ready`, &stdout))
	pids := pidsIn(t, stdout.String())
	if len(pids) != 4 || exit.Code != 0 {
		t.Fatalf("got %v, %s", pids, exit)
	}
	if running(pids[0]) || running(pids[1]) || running(pids[2]) {
		t.Error("what the program left still runs")
	}
	if !running(pids[3]) {
		t.Error("the daemon was killed")
	}
	_ = syscall.Kill(pids[3], syscall.SIGKILL)
}

// TestAllOutputIsRead: what the program wrote before it exited is read, although a
// daemon holds the pipe open.
func TestAllOutputIsRead(t *testing.T) {
	t.Parallel()
	head := &Head{}
	slow := writerFunc(func(p []byte) (int, error) {
		time.Sleep(60 * time.Millisecond) // slower than the grace for the pipe
		return head.Write(p)
	})
	var pid bytes.Buffer
	spec := sh("setsid sleep 1000 2>/dev/null & echo $! >&2; head -c 200000 /dev/zero", slow)
	spec.Stderr = &pid
	run(t, spec)
	if head.Size != 200_000 {
		t.Errorf("read %d bytes", head.Size)
	}
	_ = syscall.Kill(pidsIn(t, pid.String())[0], syscall.SIGKILL)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestProgramDiesWithItsCaller kills a process that runs a program.
func TestProgramDiesWithItsCaller(t *testing.T) {
	t.Parallel()
	helper, pids := startHelper(t, 1)
	pid := pids[0]
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait()
	handlertest.Poll(t, "the end of the program", func() bool { return !running(pid) })
}

// startHelper starts a process that runs a program which prints n process ids.
func startHelper(t *testing.T, n int, env ...string) (*exec.Cmd, []int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	helper := exec.Command(self)
	helper.Env = append(append(os.Environ(), helperEnv+"=1"), env...)
	stdout, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	pids := readPids(t, stdout, n)
	for _, pid := range pids {
		if !running(pid) {
			t.Fatalf("process %d of %v is not running", pid, pids)
		}
	}
	return helper, pids
}

// TestKillAbandoned: what a program had started when its caller was killed is killed,
// except a daemon. Processes of a living caller, and another one that has got the
// process id meanwhile, are not.
func TestKillAbandoned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kill := func() []Abandoned {
		t.Helper()
		ended, err := KillAbandoned(filepath.Join(dir, "*.json.run"), helperRecord)
		if err != nil {
			t.Error(err)
		}
		return ended
	}
	record := filepath.Join(dir, "one.json.run")
	helper, pids := startHelper(t, 4, helperRecord+"="+record)
	leader, child, daemon, grouped := pids[0], pids[1], pids[2], pids[3]
	defer func() { _ = syscall.Kill(daemon, syscall.SIGKILL) }()
	for _, pid := range []int{daemon, grouped} {
		handlertest.Poll(t, "the daemon and the program of timeout have their own groups", func() bool {
			group, err := syscall.Getpgid(pid)
			return err == nil && group == pid
		})
	}
	if ended := kill(); len(ended) > 0 || !running(child) {
		t.Fatalf("killed %v of a living caller", ended)
	}
	target, err := os.Readlink(record)
	must(t, err)
	must(t, helper.Process.Kill())
	_ = helper.Wait()
	handlertest.Poll(t, "the end of the program", func() bool { return !running(leader) })
	if !running(child) {
		t.Fatal("the child died with the program: nothing to test")
	}

	// Another record with the same process id, but of another program.
	must(t, os.Symlink(target, filepath.Join(dir, "other.json.run")))
	must(t, os.Rename(record, record+".aside"))
	if ended := kill(); len(ended) != 1 || ended[0].Session != 0 || !running(child) {
		t.Errorf("killed %v for a process id alone", ended)
	}
	must(t, os.Rename(record+".aside", record))
	if ended := kill(); len(ended) != 1 || ended[0] != (Abandoned{Record: record, Session: leader}) {
		t.Errorf("killed %+v, want session %d", ended, leader)
	}
	if running(child) || running(grouped) {
		t.Error("a child still runs")
	}
	if !running(daemon) {
		t.Error("the daemon was killed as well")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left were %v", left)
	}
}

func TestRecordIsRemoved(t *testing.T) {
	t.Parallel()
	record := filepath.Join(t.TempDir(), "one.run")
	var out bytes.Buffer
	spec := sh(`while ! readlink "$1"; do sleep 0.01; done`, &out, record) // it may be faster than the record
	spec.Record = record
	run(t, spec)
	if want := fmt.Sprintf(" %d ", os.Getpid()); !strings.Contains(out.String(), want) {
		t.Errorf("the record is %q, want one with%q", out.String(), want)
	}
	if _, err := os.Lstat(spec.Record); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it still exists: %v", err)
	}
}
