// Package handlertest is what the tests of the built-in handlers share.
package handlertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker/handlers"
)

// Make makes a handler, and closes it when the test ends.
func Make(t testing.TB, factory handlers.Factory, settings handlers.Settings) handlers.Handler {
	t.Helper()
	h, err := factory(settings)
	if err != nil {
		t.Fatal(err)
	}
	if closer, ok := h.(io.Closer); ok {
		t.Cleanup(func() {
			if err := closer.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return h
}

// Handle runs a handler.
func Handle(t testing.TB, h handlers.Handler, payload string) (string, error) {
	t.Helper()
	result, err := h.Handle(t.Context(), NewRecorder().Request(payload))
	return string(result), err
}

// Refuses asserts that a factory refuses settings, with errors that contain the
// keys.
func Refuses(t testing.TB, factory handlers.Factory, settings map[string]handlers.Settings) {
	t.Helper()
	for want, s := range settings {
		if _, err := factory(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// Check calls the Check method of a handler.
func Check(h handlers.Handler) error { return h.(handlers.Checker).Check() }

// Poll waits until a condition is true.
func Poll(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		<-tick.C
	}
}

// WriteFile writes a file with exactly that mode.
func WriteFile(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// List returns the names of the entries of a directory.
func List(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// DeadRecord returns the record of a program whose manager is dead.
func DeadRecord(t testing.TB) string {
	t.Helper()
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	return "4194999 4194998 1 " + namespace
}

// SecretFile writes a file with a secret.
func SecretFile(t testing.TB, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	WriteFile(t, path, secret+"\n", 0o600)
	return path
}

// Recorder records what a handler reports and logs.
type Recorder struct {
	// OnProgress is called with each progress, if set.
	OnProgress func()

	mu       sync.Mutex
	progress []string
	partials []string
	lines    []string
	log      bytes.Buffer
	begun    chan struct{}
	once     sync.Once
}

var _ handlers.Reporter = (*Recorder)(nil)

// NewRecorder returns an empty recorder.
func NewRecorder() *Recorder { return &Recorder{begun: make(chan struct{})} }

// Request returns a request that reports to the recorder.
func (r *Recorder) Request(payload string) *handlers.Request {
	withoutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return &handlers.Request{
		TaskID: 7, Identifier: "e7bd", Type: "call", Endpoint: "console1", Attempt: 2, Step: 1,
		Deadline: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Payload: json.RawMessage(payload), Reporter: r,
		Log: slog.New(slog.NewTextHandler((*logWriter)(r), &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutTime})),
	}
}

// Progress records progress as "1/3 message".
func (r *Recorder) Progress(done, total int64, message string) {
	r.mu.Lock()
	r.progress = append(r.progress, fmt.Sprintf("%d/%d %s", done, total, message))
	r.mu.Unlock()
	r.once.Do(func() { close(r.begun) })
	if r.OnProgress != nil {
		r.OnProgress()
	}
}

// Partial records a partial result.
func (r *Recorder) Partial(result handlers.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partials = append(r.partials, string(result))
}

// Line records a line as "stream: text".
func (r *Recorder) Line(stream, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, stream+": "+text)
}

// Begun is closed by the first progress.
func (r *Recorder) Begun() <-chan struct{} { return r.begun }

// Progresses returns the progress so far.
func (r *Recorder) Progresses() []string { return r.copyOf(&r.progress) }

// Partials returns the partial results so far.
func (r *Recorder) Partials() []string { return r.copyOf(&r.partials) }

// Lines returns the lines so far.
func (r *Recorder) Lines() []string { return r.copyOf(&r.lines) }

func (r *Recorder) copyOf(list *[]string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(*list)
}

// Log returns the log so far, without times.
func (r *Recorder) Log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

type logWriter Recorder

func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}
