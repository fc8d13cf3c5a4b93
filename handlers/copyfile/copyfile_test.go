package copyfile_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/copyfile"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

// copies is the handler with its directories.
type copies struct {
	handlers.Handler
	in, out string
}

func newCopies(t *testing.T, settings handlers.Settings) copies {
	t.Helper()
	c := copies{in: filepath.Join(t.TempDir(), "in"), out: filepath.Join(t.TempDir(), "out")}
	for _, dir := range []string{c.in, c.out} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	all := handlers.Settings{"sources": []any{"/nowhere", c.in}, "destinations": []any{c.out}}
	maps.Copy(all, settings)
	c.Handler = handlertest.Make(t, copyfile.New, all)
	return c
}

func (c copies) request(t *testing.T, source, destination string) *handlers.Request {
	t.Helper()
	payload, err := json.Marshal(map[string]string{"source": source, "destination": destination})
	if err != nil {
		t.Fatal(err)
	}
	return &handlers.Request{Payload: payload}
}

func (c copies) do(t *testing.T, source, destination string) (handlers.Result, error) {
	t.Helper()
	return c.Handle(t.Context(), c.request(t, source, destination))
}

// abc is the SHA-256 of "abc".
const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

func TestCopies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings  handlers.Settings
		before    string // the destination's content, mode 0640
		want      os.FileMode
		unchanged bool
		fails     string
	}{
		"the source's mode":       {nil, "", 0o640, false, ""},
		"a mode":                  {handlers.Settings{"mode": "0604"}, "", 0o604, false, ""},
		"no more than allowed":    {handlers.Settings{"max_size": 3}, "", 0o640, false, ""},
		"more than allowed":       {handlers.Settings{"max_size": 2}, "", 0, false, "has 3 bytes, more than max_size (2)"},
		"it is there":             {nil, "abc", 0o640, true, ""},
		"another one is there":    {nil, "abd", 0, false, "exists with other content or mode, and overwrite is not set"},
		"a longer one is there":   {nil, "abcd", 0, false, "exists with other content or mode, and overwrite is not set"},
		"with another mode":       {handlers.Settings{"mode": "0600"}, "abc", 0, false, "exists with other content or mode, and overwrite is not set"},
		"replace another":         {handlers.Settings{"overwrite": true}, "abd", 0o640, false, ""},
		"replace, but it is same": {handlers.Settings{"overwrite": true}, "abc", 0o640, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCopies(t, test.settings)
			source, destination := filepath.Join(c.in, "a"), filepath.Join(c.out, "b")
			handlertest.WriteFile(t, source, "abc", 0o640)
			if test.before != "" {
				handlertest.WriteFile(t, destination, test.before, 0o640)
			}
			result, err := c.do(t, source, destination)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) || !handlers.IsPermanent(err) || result != nil {
					t.Errorf("got %s, %v; want a permanent error with %q", result, err, test.fails)
				}
				got, _ := os.ReadFile(destination)
				if string(got) != test.before {
					t.Errorf("the destination became %q", got)
				}
				if names := handlertest.List(t, c.out); len(names) > 1 || len(names) == 1 && names[0] != "b" {
					t.Errorf("there are %q", names)
				}
				return
			}
			var got struct {
				Source, Destination string
				Bytes               int64
				SHA256              string
				Unchanged           bool
			}
			if err != nil || json.Unmarshal(result, &got) != nil {
				t.Fatalf("got %s, %v", result, err)
			}
			if got.Source != source || got.Destination != destination || got.Bytes != 3 || got.SHA256 != abc || got.Unchanged != test.unchanged {
				t.Errorf("got %s", result)
			}
			text, err := os.ReadFile(destination)
			info, e := os.Stat(destination)
			if err != nil || e != nil || string(text) != "abc" || info.Mode() != test.want {
				t.Errorf("the destination is %q, %s, %v", text, info.Mode(), errors.Join(err, e))
			}
			if names := handlertest.List(t, c.out); !slices.Equal(names, []string{"b"}) {
				t.Errorf("there are %q", names)
			}
		})
	}
}

// TestStaysInside: whatever the payload names and wherever links lead, nothing outside
// the directories is read or written.
func TestStaysInside(t *testing.T) {
	t.Parallel()
	c := newCopies(t, handlers.Settings{"overwrite": true})
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	handlertest.WriteFile(t, secret, "secret", 0o600)
	handlertest.WriteFile(t, filepath.Join(c.in, "a"), "abc", 0o600)
	for _, link := range [][2]string{
		{secret, filepath.Join(c.in, "link")},
		{outside, filepath.Join(c.in, "dir")},
		{"../..", filepath.Join(c.in, "up")},
		{"a", filepath.Join(c.in, "inside")},
		{secret, filepath.Join(c.out, "link")},
		{outside, filepath.Join(c.out, "dir")},
	} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(c.in, "sub"), 0o700), os.Mkdir(filepath.Join(c.out, "sub"), 0o700)); err != nil {
		t.Fatal(err)
	}
	in, out := c.in+"/a", c.out+"/b"
	for name, test := range map[string]struct{ source, destination, want string }{
		"no source":             {"", out, `missing "source"`},
		"no destination":        {in, "", `missing "destination"`},
		"a relative source":     {"a", out, `must be the absolute path of a file`},
		"up":                    {c.in + "/../in/a", out, `must be the absolute path of a file`},
		"up, out":               {in, c.out + "/../../b", `must be the absolute path of a file`},
		"a directory's slash":   {in, out + "/", `must be the absolute path of a file`},
		"elsewhere":             {secret, out, "must be inside /nowhere or "},
		"to elsewhere":          {in, filepath.Join(outside, "b"), "must be inside "},
		"the other way":         {out, in, "must be inside "},
		"a name that begins so": {c.in + "side/a", out, "must be inside "},
		"the directory itself":  {c.in, out, "must be inside "},
		"a link":                {c.in + "/link", out, "path escapes from parent"},
		"through a link":        {c.in + "/dir/secret", out, "path escapes from parent"},
		"through a link, up":    {c.in + "/up/in/a", out, "path escapes from parent"},
		"over a link":           {in, c.out + "/link", "must be a regular file, not a symbolic link"},
		"into a link":           {in, c.out + "/dir/b", "path escapes from parent"},
		"a directory":           {c.in + "/sub", out, "must be a regular file, not a directory"},
		"over a directory":      {in, c.out + "/sub", "must be a regular file, not a directory"},
		"NUL":                   {in + "\x00", out, "invalid argument"},
		"none":                  {c.in + "/none", out, "no such file"},
		"into none":             {in, c.out + "/none/b", "no such file"},
	} {
		result, err := c.do(t, test.source, test.destination)
		if err == nil || !strings.Contains(err.Error(), test.want) || result != nil {
			t.Errorf("%s: got %s, %v; want %s", name, result, err, test.want)
		}
	}
	if _, err := c.do(t, c.in+"/inside", out); err != nil {
		t.Errorf("a link that stays inside: %v", err)
	}
	if got := handlertest.List(t, outside); !slices.Equal(got, []string{"secret"}) {
		t.Errorf("outside are %q", got)
	}
	if text, err := os.ReadFile(secret); err != nil || string(text) != "secret" {
		t.Errorf("the secret is %q, %v", text, err)
	}
	if got := handlertest.List(t, c.out); !slices.Equal(got, []string{"b", "dir", "link", "sub"}) {
		t.Errorf("there are %q", got)
	}
}

// halted reports to a recorder that stops the handler at its first progress.
func halted(req *handlers.Request) (rec *handlertest.Recorder, resume func()) {
	rec, gate := handlertest.NewRecorder(), make(chan struct{})
	rec.OnProgress = func() { <-gate }
	req.Reporter = rec
	return rec, sync.OnceFunc(func() { close(gate) })
}

// start runs the handler up to its first progress.
func (c copies) start(t *testing.T, ctx context.Context, source, destination string) (resume func(), ended <-chan end) { //nolint:revive // a test's t is first
	t.Helper()
	req := c.request(t, source, destination)
	rec, resume := halted(req)
	t.Cleanup(resume)
	done := make(chan end, 1)
	go func() {
		result, err := c.Handle(ctx, req)
		done <- end{result, err}
	}()
	select {
	case <-rec.Begun():
	case e := <-done:
		t.Fatalf("it ended before its first progress: %v", e.err)
	}
	return resume, done
}

type end struct {
	result handlers.Result
	err    error
}

// big makes a file of several buffers.
func big(t *testing.T, path string) {
	t.Helper()
	handlertest.WriteFile(t, path, "", 0o600)
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
}

// TestMidway: a run that ends midway leaves nothing, and other runs to the same
// destination do not take its file for a leftover.
func TestMidway(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		act  func(t *testing.T, source string, cancel context.CancelCauseFunc)
		want string
	}{
		"canceled": {func(_ *testing.T, _ string, cancel context.CancelCauseFunc) { cancel(handlers.ErrCanceled) }, handlers.ErrCanceled.Error()},
		"shorter": {func(t *testing.T, source string, _ context.CancelCauseFunc) {
			if err := os.Truncate(source, 300<<10); err != nil {
				t.Error(err)
			}
		}, "the file was shortened from 1048576 to 307200 bytes"},
		"longer": {func(t *testing.T, source string, _ context.CancelCauseFunc) {
			if err := os.Truncate(source, 2<<20); err != nil {
				t.Error(err)
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCopies(t, handlers.Settings{"overwrite": true})
			source, small, destination := c.in+"/big", c.in+"/small", c.out+"/b"
			big(t, source)
			handlertest.WriteFile(t, small, "abc", 0o600)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			resume, ended := c.start(t, ctx, source, destination)
			if _, err := c.do(t, small, destination); err != nil {
				t.Error(err)
			}
			if names := handlertest.List(t, c.out); len(names) != 2 || !strings.HasPrefix(names[0], ".tasker-copy-") || names[1] != "b" {
				t.Errorf("midway there are %q", names)
			}
			test.act(t, source, cancel)
			resume()
			err := (<-ended).err
			want := "abc"
			if test.want == "" {
				want = strings.Repeat("\x00", 1<<20)
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if names := handlertest.List(t, c.out); !slices.Equal(names, []string{"b"}) {
				t.Errorf("there are %q", names)
			}
			if text, err := os.ReadFile(destination); err != nil || string(text) != want {
				t.Errorf("the destination has %d bytes, %v", len(text), err)
			}
		})
	}
}

// TestCreatedMeanwhile: a file that somebody else creates meanwhile is not replaced.
func TestCreatedMeanwhile(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	big(t, c.in+"/big")
	resume, ended := c.start(t, t.Context(), c.in+"/big", c.out+"/b")
	handlertest.WriteFile(t, c.out+"/b", "mine", 0o600)
	resume()
	if err := (<-ended).err; err == nil || !handlers.IsPermanent(err) || !strings.Contains(err.Error(), "overwrite is not set") {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(c.out + "/b"); err != nil || string(text) != "mine" {
		t.Errorf("the destination is %q, %v", text, err)
	}
	if names := handlertest.List(t, c.out); !slices.Equal(names, []string{"b"}) {
		t.Errorf("there are %q", names)
	}
}

// TestSharedDisk: endpoints that share a disk all copy the same file to the same
// destination, and all succeed, even if they are more than may copy at once.
func TestSharedDisk(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	big(t, c.in+"/big")
	var wg sync.WaitGroup
	var mu sync.Mutex
	copied := 0
	for range 40 {
		wg.Go(func() {
			result, err := c.do(t, c.in+"/big", c.out+"/b")
			var got struct {
				Unchanged bool   `json:"unchanged"`
				SHA256    string `json:"sha256"`
			}
			if err = errors.Join(err, json.Unmarshal(result, &got)); err != nil || len(got.SHA256) != len(abc) {
				t.Errorf("got %s, %v", result, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if !got.Unchanged {
				copied++
			}
		})
	}
	wg.Wait()
	if names := handlertest.List(t, c.out); copied != 1 || !slices.Equal(names, []string{"b"}) {
		t.Errorf("%d runs copied, and there are %q", copied, names)
	}
}

// TestSameMeanwhile: a file that somebody else creates meanwhile is compared.
func TestSameMeanwhile(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	big(t, c.in+"/big")
	resume, first := c.start(t, t.Context(), c.in+"/big", c.out+"/b")
	if result, err := c.do(t, c.in+"/big", c.out+"/b"); err != nil || !strings.Contains(string(result), `"unchanged":false`) {
		t.Errorf("the second: %s, %v", result, err)
	}
	resume()
	if got := <-first; got.err != nil || !strings.Contains(string(got.result), `"unchanged":true`) {
		t.Errorf("the first: %s, %v", got.result, got.err)
	}
}

// TestHardLinks: the other names of a file may be outside of sources.
func TestHardLinks(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	secret := filepath.Join(t.TempDir(), "secret")
	handlertest.WriteFile(t, secret, "abc", 0o600)
	if err := os.Link(secret, c.in+"/a"); err != nil {
		t.Skip(err)
	}
	if result, err := c.do(t, c.in+"/a", c.out+"/b"); err == nil || !handlers.IsPermanent(err) || !strings.Contains(err.Error(), "has hard links") {
		t.Errorf("got %s, %v", result, err)
	}
	allowing := handlertest.Make(t, copyfile.New, handlers.Settings{"sources": []any{c.in}, "destinations": []any{c.out}, "hard_links": true})
	if _, err := allowing.Handle(t.Context(), c.request(t, c.in+"/a", c.out+"/b")); err != nil {
		t.Error(err)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	big(t, c.in+"/big")
	rec := handlertest.NewRecorder()
	req := c.request(t, c.in+"/big", c.out+"/b")
	req.Reporter = rec
	if _, err := c.Handle(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if got := rec.Progresses(); len(got) < 2 || got[0] != "262144/1048576 bytes" || got[len(got)-1] != "1048576/1048576 bytes" {
		t.Errorf("got %v", got)
	}
}

// TestKilled: the next run to the same destination removes what a killed one left.
func TestKilled(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs locks of files")
	}
	c := newCopies(t, nil)
	big(t, c.in+"/big")
	handlertest.WriteFile(t, c.in+"/small", "abc", 0o600)
	child := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
	child.Env = append(os.Environ(), "TASKER_TEST_COPY="+c.in+":"+c.out)
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "midway\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if names := handlertest.List(t, c.out); len(names) != 1 || !strings.HasPrefix(names[0], ".tasker-copy-") {
		t.Fatalf("the killed run left %q", names)
	}
	if _, err := c.do(t, c.in+"/small", c.out+"/other"); err != nil {
		t.Fatal(err)
	}
	if names := handlertest.List(t, c.out); len(names) != 2 {
		t.Errorf("after a run to another destination there are %q", names)
	}
	if _, err := c.do(t, c.in+"/small", c.out+"/b"); err != nil {
		t.Fatal(err)
	}
	if names := handlertest.List(t, c.out); !slices.Equal(names, []string{"b", "other"}) {
		t.Errorf("after a run to the same destination there are %q", names)
	}
}

// TestHelperProcess is the process that TestKilled kills.
func TestHelperProcess(t *testing.T) {
	in, out, ok := strings.Cut(os.Getenv("TASKER_TEST_COPY"), ":")
	if !ok {
		return
	}
	h := handlertest.Make(t, copyfile.New, handlers.Settings{"sources": []any{in}, "destinations": []any{out}})
	req := copies{}.request(t, in+"/big", out+"/b")
	rec, _ := halted(req)
	go func() {
		<-rec.Begun()
		_, _ = os.Stdout.WriteString("midway\n")
	}()
	_, _ = h.Handle(t.Context(), req) // until this process is killed
}

func TestConcurrentCopies(t *testing.T) {
	t.Parallel()
	c := newCopies(t, handlers.Settings{"overwrite": true})
	texts := []string{strings.Repeat("a", 300<<10), strings.Repeat("b", 300<<10)}
	for i, text := range texts {
		handlertest.WriteFile(t, filepath.Join(c.in, string(rune('0'+i))), text, 0o600)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 5 {
				if _, err := c.do(t, filepath.Join(c.in, string(rune('0'+i%2))), c.out+"/b"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	text, err := os.ReadFile(c.out + "/b")
	if err != nil || !slices.Contains(texts, string(text)) {
		t.Errorf("the destination has %d bytes, %v", len(text), err)
	}
	if names := handlertest.List(t, c.out); !slices.Equal(names, []string{"b"}) {
		t.Errorf("there are %q", names)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	with := func(name string, value any) handlers.Settings {
		s := handlers.Settings{"sources": []any{"/in"}, "destinations": []any{"/out"}}
		s[name] = value
		return s
	}
	handlertest.Refuses(t, copyfile.New, map[string]handlers.Settings{
		`setting "sources" is required`:      with("sources", []any{}),
		`setting "destinations" is required`: with("destinations", nil),
		`setting "sources": must be absolute paths, without . and .. and a final /, got "in"`: with("sources", []any{"in"}),
		`and a final /, got "/in/../a"`: with("sources", []any{"/in/../a"}),
		`setting "destinations": must be absolute paths, without . and .. and a final /, got "/out/"`: with("destinations", []any{"/out/"}),
		`setting "mode": must be an octal number in quotes, such as "0644", got 420`:                  with("mode", 420),
		`setting "mode": must be an octal number from "000" to "777", got "0648"`:                     with("mode", "0648"),
		`setting "mode": must be an octal number from "000" to "777", got "4755"`:                     with("mode", "4755"),
		`setting "max_size": invalid size "lots"`:                                                     with("max_size", "lots"),
		`setting "overwrite": must be true or false, got string`:                                      with("overwrite", "yes"),
		`unknown setting "source": the settings are destinations, hard_links, max_size, mo`:           with("source", "/in"),
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	checker, ok := handlers.Find[handlers.Checker](c.Handler)
	if !ok {
		t.Fatal("not a Checker")
	}
	if err := checker.Check(); err == nil || !strings.Contains(err.Error(), "/nowhere does not exist") || strings.Contains(err.Error(), c.in) {
		t.Errorf("got %v", err)
	}
}
