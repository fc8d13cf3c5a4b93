package copyfile_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
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

// halted reports to a recorder that stops the handler at its first progress.
func halted(req *handlers.Request) (rec *handlertest.Recorder, resume func()) {
	rec, gate := handlertest.NewRecorder(), make(chan struct{})
	rec.OnProgress = func() { <-gate }
	req.Reporter = rec
	return rec, sync.OnceFunc(func() { close(gate) })
}

// start runs the handler up to its first progress.
//
//nolint:revive // a test's t is first
func (c copies) start(t *testing.T, ctx context.Context, source, destination string) (resume func(), ended <-chan end) {
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
			c.wantOut(t, want)
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
	c.wantOut(t, "mine")
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
