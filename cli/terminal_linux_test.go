package cli_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/taskerhq/tasker/cli"
)

// terminal is a pseudo-terminal: what a program writes to it, and what is typed.
type terminal struct {
	*transcript
	side   *os.File // the program's
	master *os.File
}

// openTerminal returns a terminal of so many columns.
func openTerminal(t *testing.T, columns uint16) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})
	}
	if err != nil {
		t.Fatal(err)
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{transcript: newTranscript(), side: side, master: master}
	go func() { // until nobody has the other side open
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			if err != nil {
				return
			}
			_, _ = term.Write(b[:n])
		}
	}()
	t.Cleanup(func() {
		_ = side.Close()
		_ = master.Close()
	})
	return term
}

func (w *terminal) typeLine(t *testing.T, line string) {
	t.Helper()
	if _, err := w.master.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*[mK]")

// checkWidth: no line is wider than the terminal. What is typed is not counted.
func (w *terminal) checkWidth(t *testing.T, columns int) {
	t.Helper()
	for _, line := range strings.FieldsFunc(w.String(), func(c rune) bool { return c == '\r' || c == '\n' }) {
		line = sgr.ReplaceAllString(line, "")
		if n := utf8.RuneCountInString(line); n > columns && strings.Contains(line, "00:") {
			t.Errorf("%d characters: %q", n, line)
		}
	}
}

// TestTerminal: a count is typed to confirm, a status line lives below, Ctrl-C asks.
func TestTerminal(t *testing.T) {
	t.Parallel()
	env := append(devAPI(t), "NO_COLOR=1")
	term := openTerminal(t, 40)
	s := start(t, env, term.side, term.side, "run", "sleep", "--all", "seconds=1000")
	term.await(t, "run sleep on all 2 endpoints: console1, console2")
	term.await(t, "Type 2 to go on: ")
	term.typeLine(t, "2")
	term.await(t, "0/2  ok 0  failed 0  ")
	s.interrupt(&cli.Interrupted{Signal: syscall.SIGINT})
	term.await(t, "goes on. Type Enter to watch it, d to detach, c to cancel it.")
	term.typeLine(t, "x")
	term.await(t, "Type Enter, d or c.")
	term.typeLine(t, "")
	term.typeLine(t, "")
	term.checkWidth(t, 40)
	name := taskName(t, s.stdout.String())
	execute(t, env, "", "cancel", name).want(t, cli.ExitOK, "", "")
	if code := <-s.code; code != cli.ExitStopped {
		t.Errorf("exit code %d: %s%s", code, s.stdout, term)
	}
	if !strings.Contains(s.stdout.String(), "CANCELED: 0 ok, 2 canceled") {
		t.Error(s.stdout.String())
	}
}

func TestTerminalDetachAndCancel(t *testing.T) {
	t.Parallel()
	env := append(devAPI(t), "NO_COLOR=1", "LANG=C")
	for answer, code := range map[string]int{"d": 130, "c": cli.ExitStopped} {
		term := openTerminal(t, 120)
		s := start(t, env, term.side, term.side, "run", "sleep", "-e", "console1", "seconds=1000")
		term.await(t, "  ........................  0/1  ok 0  failed 0  ")
		s.interrupt(&cli.Interrupted{Signal: syscall.SIGINT})
		term.await(t, "Type Enter")
		term.typeLine(t, answer)
		if got := <-s.code; got != code {
			t.Errorf("%s: exit code %d: %s", answer, got, term)
		}
		name := taskName(t, s.stdout.String())
		if answer == "d" {
			term.await(t, "tasker watch "+name+" comes back")
			execute(t, env, "", "cancel", name).want(t, cli.ExitOK, "", "")
		}
	}
}

// TestTerminalRefusal: another number than the count starts nothing, as does Ctrl-C.
func TestTerminalRefusal(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	term := openTerminal(t, 80)
	s := start(t, env, term.side, term.side, "run", "worker", "refused", "--all")
	term.await(t, "Type 2 to go on: ")
	term.typeLine(t, "y")
	if code := <-s.code; code != cli.ExitUsage {
		t.Errorf("exit code %d", code)
	}
	term.await(t, `nothing was started: "y" is not 2`)
	s = start(t, env, term.side, term.side, "run", "worker", "refused", "--all")
	term.await(t, "is not 2")
	s.interrupt(&cli.Interrupted{Signal: syscall.SIGINT})
	if code := <-s.code; code != 130 {
		t.Errorf("exit code %d", code)
	}
	execute(t, env, "", "show", "worker/refused").want(t, cli.ExitFailure, "", "not found")
}

// TestProgressNever leaves only what failed on a terminal.
func TestProgressNever(t *testing.T) {
	t.Parallel()
	term := openTerminal(t, 80)
	s := start(t, append(devAPI(t), "NO_COLOR=1"), nil, term.side, "run", "backup", "-e", "console1", "--progress", "never")
	if code := <-s.code; code != cli.ExitSomeFailed {
		t.Errorf("exit code %d", code)
	}
	term.await(t, "logs backup/")
	if out := term.String(); strings.Contains(out, "\x1b") || !strings.Contains(out, "✗ console1  FAILED 32  could not backup!") {
		t.Errorf("%q", out)
	}
}

// TestWhatWasConfirmed is what is sent: the endpoints of the plan, or as many as --yes
// says.
func TestWhatWasConfirmed(t *testing.T) {
	t.Parallel()
	bodies := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("dry_run") == "true" {
			_, _ = fmt.Fprint(w, `{"type":"worker","plan":"sha256:abc","count":20,"endpoints":["a","b","c","d","e","f","g","h","i","j","k","l","m","n","o","p","q","r","s","t"],"silent":["a"],"warnings":["no endpoint has the label x"]}`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
		_, _ = fmt.Fprint(w, `{"type":"worker","identifier":"a","status":"SENT"}`)
	}))
	t.Cleanup(server.Close)
	env := []string{"TASKER_API_URL=" + server.URL}
	term := openTerminal(t, 100)
	s := start(t, env, term.side, term.side, "run", "worker", "a", "-S", "x=1", "--detach")
	term.await(t, "run worker on 20 endpoints: a, b, c, d, e and 15 more")
	term.await(t, "1 of them are silent now: a")
	term.await(t, "warning: no endpoint has the label x")
	term.await(t, "Type 20 to go on: ")
	term.typeLine(t, "20")
	if code, body := <-s.code, <-bodies; code != cli.ExitOK || !strings.Contains(body, `"plan":"sha256:abc"`) {
		t.Errorf("exit code %d, sent %s", code, body)
	}
	for args, want := range map[string]string{
		"--yes":               `{"identifier":"a","select":["x=1"]}`,
		"--yes=20":            `{"identifier":"a","select":["x=1"],"expect":{"min":20,"max":20}}`,
		"--yes --expect 20":   `{"identifier":"a","select":["x=1"],"expect":{"min":20,"max":20}}`,
		"--yes --plan sha256": `{"identifier":"a","select":["x=1"],"plan":"sha256"}`,
	} {
		o := execute(t, env, "", append([]string{"run", "worker", "a", "-S", "x=1", "--detach"}, strings.Fields(args)...)...)
		if o.code != cli.ExitOK {
			t.Fatalf("%s: exit code %d: %s", args, o.code, o.stderr)
		}
		if body := strings.TrimSpace(<-bodies); body != want {
			t.Errorf("%s: sent %s, want %s", args, body, want)
		}
	}
	execute(t, env, "", "run", "worker", "a", "-S", "x=1", "--yes=19").want(t, cli.ExitUsage, "", "--yes=19, and 20 endpoints are chosen")
}

// TestLoginHidesTheToken: a terminal does not show what is typed, and does so again
// afterwards.
func TestLoginHidesTheToken(t *testing.T) {
	t.Parallel()
	api := newGuarded(t, "prod-type", "secret-1")
	env := []string{"HOME=" + t.TempDir()}
	term := openTerminal(t, 100)
	s := start(t, env, term.side, term.side, "login", "--api", api.url)
	term.await(t, "Token of "+api.url)
	term.typeLine(t, "secret-1")
	if code := <-s.code; code != cli.ExitOK {
		t.Errorf("exit code %d: %s", code, term.String())
	}
	if out := term.String(); strings.Contains(out, "secret-1") {
		t.Errorf("the terminal shows %q", out)
	}
	settings, err := unix.IoctlGetTermios(int(term.side.Fd()), unix.TCGETS)
	if err != nil || settings.Lflag&unix.ECHO == 0 {
		t.Errorf("the terminal does not show any more what is typed: %v", err)
	}
	execute(t, env, "", "types").want(t, cli.ExitOK, "prod-type", "")
}

// TestPager: what is longer than the screen goes to the user's pager, and nothing else.
func TestPager(t *testing.T) {
	t.Parallel()
	var tasks []string
	for i := range 40 {
		tasks = append(tasks, fmt.Sprintf(`{"id":%d,"type":"worker","identifier":"t%d","status":"DONE"}`, 100-i, i))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"tasks":[%s],"next":null}`, strings.Join(tasks, ","))
	}))
	t.Cleanup(server.Close)
	list := func(pager string, args ...string) (shown string, code int) {
		t.Helper()
		term := openTerminal(t, 120)
		env := []string{"TASKER_API_URL=" + server.URL, "PAGER=" + pager, "TERM=xterm"}
		code = cli.Execute(t.Context(), cli.Program{
			Args: append([]string{"list"}, args...), Environ: env, Stdout: term.side, Stderr: term.side,
		})
		// What was written before is there when this is.
		if _, err := term.side.WriteString("the end"); err != nil {
			t.Fatal(err)
		}
		term.await(t, "the end")
		return term.String(), code
	}
	const marks = "sed s/^/page:/"
	for _, test := range []struct {
		pager string
		args  string
		last  string
		paged bool
	}{
		{marks, "--limit 100", "worker/t39", true},
		{marks, "--limit 10", "worker/t9", false},
		{marks, "--limit 100 --no-pager", "worker/t39", false},
		{"cat", "--limit 100", "worker/t39", false},
		{"no-such-pager -x", "--limit 100", "worker/t39", false},
	} {
		shown, code := list(test.pager, strings.Fields(test.args)...)
		if code != cli.ExitOK || !strings.Contains(shown, test.last) || strings.Contains(shown, "page:worker/t0") != test.paged {
			t.Errorf("%s, %s: exit code %d\n%s", test.pager, test.args, code, shown)
		}
	}
	// Whoever leaves the pager has seen enough.
	if shown, code := list("head -n 3", "--limit", "100"); code != cli.ExitOK || strings.Contains(shown, "worker/t39") {
		t.Errorf("exit code %d\n%s", code, shown)
	}
	o := execute(t, []string{"TASKER_API_URL=" + server.URL, "PAGER=" + marks}, "", "list", "--limit", "100")
	if o.want(t, cli.ExitOK, "worker/t39", ""); strings.Contains(o.stdout, "page:") {
		t.Error("what goes to no terminal is paged")
	}
}
