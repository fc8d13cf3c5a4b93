package handlers_test

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
	"github.com/taskerhq/tasker/handlers/builtin"
)

// copies is a copyfile handler with its directories.
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
	c.Handler = newHandler(t, "copyfile", all)
	return c
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// list names all that is in a directory.
func list(t *testing.T, dir string) []string {
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

func TestCopyfile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings  handlers.Settings
		before    string // what is there, mode 0640
		want      os.FileMode
		unchanged bool
		fails     string
	}{
		"the source's mode":       {nil, "", 0o640, false, ""},
		"a mode":                  {handlers.Settings{"mode": "0604"}, "", 0o604, false, ""},
		"no more than allowed":    {handlers.Settings{"max_size": 3}, "", 0o640, false, ""},
		"more than allowed":       {handlers.Settings{"max_size": 2}, "", 0, false, "it has 3 bytes, and the limit is 2"},
		"it is there":             {nil, "abc", 0o640, true, ""},
		"another one is there":    {nil, "abd", 0, false, "there is another file already, which must not be replaced"},
		"a longer one is there":   {nil, "abcd", 0, false, "there is another file already, which must not be replaced"},
		"with another mode":       {handlers.Settings{"mode": "0600"}, "abc", 0, false, "there is another file already, which must not be replaced"},
		"replace another":         {handlers.Settings{"overwrite": true}, "abd", 0o640, false, ""},
		"replace, but it is same": {handlers.Settings{"overwrite": true}, "abc", 0o640, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCopies(t, test.settings)
			source, destination := filepath.Join(c.in, "a"), filepath.Join(c.out, "b")
			write(t, source, "abc", 0o640)
			if test.before != "" {
				write(t, destination, test.before, 0o640)
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
				if names := list(t, c.out); len(names) > 1 || len(names) == 1 && names[0] != "b" {
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
			if names := list(t, c.out); !slices.Equal(names, []string{"b"}) {
				t.Errorf("there are %q", names)
			}
		})
	}
}

// TestCopyfileStaysInside: whatever the payload names and wherever links lead,
// nothing outside the directories is read or written.
func TestCopyfileStaysInside(t *testing.T) {
	t.Parallel()
	c := newCopies(t, handlers.Settings{"overwrite": true})
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	write(t, secret, "secret", 0o600)
	write(t, filepath.Join(c.in, "a"), "abc", 0o600)
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
		"no source":             {"", out, `the payload has no "source"`},
		"no destination":        {in, "", `the payload has no "destination"`},
		"a relative source":     {"a", out, `"source" must be the absolute path of a file`},
		"up":                    {c.in + "/../in/a", out, `"source" must be the absolute path of a file`},
		"up, out":               {in, c.out + "/../../b", `"destination" must be the absolute path of a file`},
		"a directory's slash":   {in, out + "/", `"destination" must be the absolute path of a file`},
		"elsewhere":             {secret, out, "which is not inside /nowhere or "},
		"to elsewhere":          {in, filepath.Join(outside, "b"), "which is not inside "},
		"the other way":         {out, in, "which is not inside "},
		"a name that begins so": {c.in + "side/a", out, "which is not inside "},
		"the directory itself":  {c.in, out, "which is not inside "},
		"a link":                {c.in + "/link", out, "path escapes from parent"},
		"through a link":        {c.in + "/dir/secret", out, "path escapes from parent"},
		"through a link, up":    {c.in + "/up/in/a", out, "path escapes from parent"},
		"over a link":           {in, c.out + "/link", "it is no regular file but a symbolic link"},
		"into a link":           {in, c.out + "/dir/b", "path escapes from parent"},
		"a directory":           {c.in + "/sub", out, "it is no regular file but a directory"},
		"over a directory":      {in, c.out + "/sub", "it is no regular file but a directory"},
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
	if got := list(t, outside); !slices.Equal(got, []string{"secret"}) {
		t.Errorf("outside there are %q", got)
	}
	if text, err := os.ReadFile(secret); err != nil || string(text) != "secret" {
		t.Errorf("the secret is %q, %v", text, err)
	}
	if got := list(t, c.out); !slices.Equal(got, []string{"b", "dir", "link", "sub"}) {
		t.Errorf("there are %q", got)
	}
}

// halting is a Reporter that stops the handler at its first progress.
type halting struct {
	once    sync.Once
	reached chan struct{}
	goOn    chan struct{}
}

func newHalting() *halting {
	return &halting{reached: make(chan struct{}), goOn: make(chan struct{})}
}

// await waits for that progress; a handler that ends before fails the test.
func (h *halting) await(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case <-h.reached:
	case err := <-ended:
		t.Fatalf("it ended before its first progress: %v", err)
	}
}

func (h *halting) Progress(int64, int64, string) {
	h.once.Do(func() {
		close(h.reached)
		<-h.goOn
	})
}
func (*halting) Partial(handlers.Result) {}
func (*halting) Line(string, string)     {}

// big makes a file with several buffers of nothing.
func big(t *testing.T, path string) {
	t.Helper()
	write(t, path, "", 0o600)
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
}

// TestCopyfileMidway: a run that ends in the middle leaves nothing, and other
// runs to the same place do not take its file for a leftover.
func TestCopyfileMidway(t *testing.T) {
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
		}, "the file has become shorter: 307200 bytes instead of 1048576"},
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
			write(t, small, "abc", 0o600)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			halt := newHalting()
			req := c.request(t, source, destination)
			req.Reporter = halt
			ended := make(chan error, 1)
			go func() {
				_, err := c.Handle(ctx, req)
				ended <- err
			}()
			halt.await(t, ended)
			if _, err := c.do(t, small, destination); err != nil {
				t.Error(err)
			}
			if names := list(t, c.out); len(names) != 2 || !strings.HasPrefix(names[0], ".tasker-copy-") || names[1] != "b" {
				t.Errorf("in the middle there are %q", names)
			}
			test.act(t, source, cancel)
			close(halt.goOn)
			err := <-ended
			want := "abc"
			if test.want == "" {
				want = strings.Repeat("\x00", 1<<20)
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if names := list(t, c.out); !slices.Equal(names, []string{"b"}) {
				t.Errorf("there are %q", names)
			}
			if text, err := os.ReadFile(destination); err != nil || string(text) != want {
				t.Errorf("the destination has %d bytes, %v", len(text), err)
			}
		})
	}
}

// TestCopyfileMeanwhile: a file that somebody else makes while the copy is
// written is not replaced.
func TestCopyfileMeanwhile(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	big(t, c.in+"/big")
	halt := newHalting()
	req := c.request(t, c.in+"/big", c.out+"/b")
	req.Reporter = halt
	ended := make(chan error, 1)
	go func() {
		_, err := c.Handle(t.Context(), req)
		ended <- err
	}()
	halt.await(t, ended)
	write(t, c.out+"/b", "mine", 0o600)
	close(halt.goOn)
	if err := <-ended; err == nil || !handlers.IsPermanent(err) || !strings.Contains(err.Error(), "must not be replaced") {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(c.out + "/b"); err != nil || string(text) != "mine" {
		t.Errorf("the destination is %q, %v", text, err)
	}
	if names := list(t, c.out); !slices.Equal(names, []string{"b"}) {
		t.Errorf("there are %q", names)
	}
}

// TestCopyfileSharedDisk: endpoints that share a disk all copy the same file to
// the same place, and all are well; so it is with more than may copy at once.
func TestCopyfileSharedDisk(t *testing.T) {
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
	if names := list(t, c.out); copied != 1 || !slices.Equal(names, []string{"b"}) {
		t.Errorf("%d runs copied, and there are %q", copied, names)
	}
}

// TestCopyfileSameMeanwhile: what somebody else has put there while the copy
// was written is compared, not refused unseen.
func TestCopyfileSameMeanwhile(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	big(t, c.in+"/big")
	halt := newHalting()
	req := c.request(t, c.in+"/big", c.out+"/b")
	req.Reporter = halt
	type end struct {
		result handlers.Result
		err    error
	}
	first, ended := make(chan end, 1), make(chan error, 1)
	go func() {
		result, err := c.Handle(t.Context(), req)
		first <- end{result, err}
		ended <- err
	}()
	halt.await(t, ended)
	if result, err := c.do(t, c.in+"/big", c.out+"/b"); err != nil || !strings.Contains(string(result), `"unchanged":false`) {
		t.Errorf("the second: %s, %v", result, err)
	}
	close(halt.goOn)
	if got := <-first; got.err != nil || !strings.Contains(string(got.result), `"unchanged":true`) {
		t.Errorf("the first: %s, %v", got.result, got.err)
	}
}

// TestCopyfileHardLinks: a name inside of sources says nothing of where the
// other names of the file are.
func TestCopyfileHardLinks(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "abc", 0o600)
	if err := os.Link(secret, c.in+"/a"); err != nil {
		t.Skip(err)
	}
	if result, err := c.do(t, c.in+"/a", c.out+"/b"); err == nil || !handlers.IsPermanent(err) || !strings.Contains(err.Error(), "it has other names (hard links)") {
		t.Errorf("got %s, %v", result, err)
	}
	allowing := newHandler(t, "copyfile", handlers.Settings{"sources": []any{c.in}, "destinations": []any{c.out}, "hard_links": true})
	if _, err := allowing.Handle(t.Context(), c.request(t, c.in+"/a", c.out+"/b")); err != nil {
		t.Error(err)
	}
}

func TestCopyfileProgress(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	big(t, c.in+"/big")
	told := &telling{}
	req := c.request(t, c.in+"/big", c.out+"/b")
	req.Reporter = told
	if _, err := c.Handle(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if len(told.progress) < 2 || told.progress[len(told.progress)-1] != [2]int64{1 << 20, 1 << 20} || told.progress[0][0] >= 1<<20 {
		t.Errorf("got %v", told.progress)
	}
}

// telling is a Reporter that keeps the progress.
type telling struct{ progress [][2]int64 }

func (t *telling) Progress(done, total int64, _ string) {
	t.progress = append(t.progress, [2]int64{done, total})
}
func (*telling) Partial(handlers.Result) {}
func (*telling) Line(string, string)     {}

// TestCopyfileKilled kills a process that copies, and looks at what the next
// run does with what it left.
func TestCopyfileKilled(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("it needs the locks of files")
	}
	c := newCopies(t, nil)
	big(t, c.in+"/big")
	write(t, c.in+"/small", "abc", 0o600)
	child := exec.Command(os.Args[0], "-test.run=^TestCopyfileHelper$")
	child.Env = append(os.Environ(), "TASKER_TEST_COPY="+c.in+":"+c.out)
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "in the middle\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if names := list(t, c.out); len(names) != 1 || !strings.HasPrefix(names[0], ".tasker-copy-") {
		t.Fatalf("the killed run left %q", names)
	}
	if _, err := c.do(t, c.in+"/small", c.out+"/other"); err != nil {
		t.Fatal(err)
	}
	if names := list(t, c.out); len(names) != 2 {
		t.Errorf("after a run to another place there are %q", names)
	}
	if _, err := c.do(t, c.in+"/small", c.out+"/b"); err != nil {
		t.Fatal(err)
	}
	if names := list(t, c.out); !slices.Equal(names, []string{"b", "other"}) {
		t.Errorf("after a run to that place there are %q", names)
	}
}

// TestCopyfileHelper is the process that TestCopyfileKilled kills, and nothing
// otherwise.
func TestCopyfileHelper(t *testing.T) {
	in, out, ok := strings.Cut(os.Getenv("TASKER_TEST_COPY"), ":")
	if !ok {
		return
	}
	h := newHandler(t, "copyfile", handlers.Settings{"sources": []any{in}, "destinations": []any{out}})
	halt := newHalting()
	req := copies{}.request(t, in+"/big", out+"/b")
	req.Reporter = halt
	go func() {
		<-halt.reached
		_, _ = os.Stdout.WriteString("in the middle\n")
	}()
	_, _ = h.Handle(t.Context(), req) // until the end of this process
}

func TestCopyfileAtOnce(t *testing.T) {
	t.Parallel()
	c := newCopies(t, handlers.Settings{"overwrite": true})
	texts := []string{strings.Repeat("a", 300<<10), strings.Repeat("b", 300<<10)}
	for i, text := range texts {
		write(t, filepath.Join(c.in, string(rune('0'+i))), text, 0o600)
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
	if names := list(t, c.out); !slices.Equal(names, []string{"b"}) {
		t.Errorf("there are %q", names)
	}
}

func TestCopyfileSettings(t *testing.T) {
	t.Parallel()
	with := func(name string, value any) handlers.Settings {
		s := handlers.Settings{"sources": []any{"/in"}, "destinations": []any{"/out"}}
		s[name] = value
		return s
	}
	for want, settings := range map[string]handlers.Settings{
		`setting "sources" is missing`:                                            with("sources", []any{}),
		`setting "destinations" is missing`:                                       with("destinations", nil),
		`setting "sources": "in" is not the absolute path of a directory`:         with("sources", []any{"in"}),
		`setting "sources": "/in/../a" is not the absolute path`:                  with("sources", []any{"/in/../a"}),
		`setting "destinations": "/out/" is not the absolute path`:                with("destinations", []any{"/out/"}),
		`setting "mode": 420 is no mode: give octal text in quotes`:               with("mode", 420),
		`setting "mode": "0648" is no mode: give octal text from "0000" to`:       with("mode", "0648"),
		`setting "mode": "4755" is no mode: give octal text from "0000" to`:       with("mode", "4755"),
		`setting "max_size": "lots" is no size`:                                   with("max_size", "lots"),
		`setting "overwrite" holds a string: give true or false`:                  with("overwrite", "yes"),
		`unknown setting "source": it has destinations, hard_links, max_size, mo`: with("source", "/in"),
	} {
		_, err := builtin.Catalog().Make("copyfile", settings)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestCopyfileCheck(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	checker, ok := handlers.Find[handlers.Checker](c.Handler)
	if !ok {
		t.Fatal("it is no Checker")
	}
	if err := checker.Check(); err == nil || !strings.Contains(err.Error(), "there is no directory /nowhere") || strings.Contains(err.Error(), c.in) {
		t.Errorf("got %v", err)
	}
}
