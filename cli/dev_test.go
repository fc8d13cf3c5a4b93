package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

// dev is a real tasker: "tasker dev" in this process, with the endpoints console1 and
// console2. It starts when a test needs it.
var dev struct {
	once sync.Once
	url  string
	err  error
	stop func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dev.stop != nil {
		dev.stop()
	}
	os.Exit(code)
}

// devAPI returns the variables of a command that uses the tasker of this process.
func devAPI(t *testing.T) []string {
	t.Helper()
	dev.once.Do(func() {
		cfg, err := config.Load(config.Options{Environ: []string{
			"TASKER_TASK_TYPES=[{name: worker, settings: {duration: 20ms}}, {name: backup, settings: {duration: 10ms}}, {name: sleep, concurrency: 20}]",
			"TASKER_API_PORT=0", "TASKER_API_WAIT_FOR_ENDPOINTS_TIMEOUT=3s",
		}})
		if err != nil {
			dev.err = err
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		ready, done := make(chan string, 1), make(chan error, 1)
		go func() {
			opts := app.DevOptions{Ephemeral: true, Ready: func(addr string) { ready <- addr }}
			done <- app.RunDev(ctx, cfg, opts, slog.New(slog.DiscardHandler))
		}()
		dev.stop = func() {
			cancel()
			if err := <-done; err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
		select {
		case addr := <-ready:
			dev.url = "http://" + addr
		case dev.err = <-done:
			done <- nil
		}
	})
	if dev.err != nil {
		t.Fatal(dev.err)
	}
	return []string{"TASKER_API_URL=" + dev.url}
}

// execute runs a command with a stdin, and returns what it did.
func execute(t *testing.T, environ []string, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := cli.Execute(t.Context(), cli.Program{
		Args: args, Environ: environ, Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr,
	})
	return outcome{code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// want checks what a command did.
func (o outcome) want(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if o.code != code || !strings.Contains(o.stdout, stdout) || !strings.Contains(o.stderr, stderr) {
		t.Errorf("exit code %d\nstdout %s\nstderr %s\nwant %d, %q, %q", o.code, o.stdout, o.stderr, code, stdout, stderr)
	}
}

// started is a command that runs beside the test.
type started struct {
	stdout, stderr *transcript
	interrupt      context.CancelCauseFunc
	code           chan int
}

// start runs a command beside the test.
func start(t *testing.T, environ []string, stdin io.Reader, stderr io.Writer, args ...string) *started {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	s := &started{stdout: newTranscript(), stderr: newTranscript(), interrupt: cancel, code: make(chan int, 1)}
	if stderr == nil {
		stderr = s.stderr
	}
	go func() {
		s.code <- cli.Execute(ctx, cli.Program{Args: args, Environ: environ, Stdin: stdin, Stdout: s.stdout, Stderr: stderr})
	}()
	t.Cleanup(func() { cancel(nil) })
	return s
}

// transcript is a writer that one can wait for.
type transcript struct {
	mu      sync.Mutex
	text    strings.Builder
	written chan struct{}
}

func newTranscript() *transcript { return &transcript{written: make(chan struct{}, 1)} }

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	select {
	case w.written <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// await waits until the text is there, after what was awaited before.
func (w *transcript) await(t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(w.String(), text) {
		select {
		case <-w.written:
		case <-t.Context().Done():
			t.Fatalf("the test ended before %q: %s", text, w)
		}
	}
}

// taskName returns TYPE/IDENTIFIER of the first line of an output.
func taskName(t *testing.T, stdout string) string {
	t.Helper()
	name, _, ok := strings.Cut(stdout, " ")
	if !ok || !strings.Contains(name, "/") {
		t.Fatalf("no task in %q", stdout)
	}
	return name
}

// brokenPipe fails every write.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, fmt.Errorf("broken pipe") }
