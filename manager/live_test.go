package manager_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/manager"
)

func (f *faulty) SaveLive(ctx context.Context, updates []ledger.LiveUpdate) error {
	_, err := faultyCall(f, "save", func() (struct{}, error) { return struct{}{}, f.database.SaveLive(ctx, updates) })
	return err
}

// telling is a database that shows a test the updates before they are stored.
type telling struct {
	*faulty
	save   func(updates []ledger.LiveUpdate) error
	finish func(finishes []ledger.End)
}

func (s *telling) SaveLive(ctx context.Context, updates []ledger.LiveUpdate) error {
	if s.save != nil {
		if err := s.save(updates); err != nil {
			return err
		}
	}
	return s.faulty.SaveLive(ctx, updates)
}

func (s *telling) FinishAttempts(ctx context.Context, finishes []ledger.End) ([]bool, error) {
	if s.finish != nil {
		s.finish(finishes)
	}
	return s.faulty.FinishAttempts(ctx, finishes)
}

// logOf returns the log of an attempt at endpoint a, and its history.
func (w *world) logOf(task tasker.Task, attempt int) ([]tasker.LogLine, tasker.Attempt) {
	w.t.Helper()
	lines, err := w.store.LogLines(w.t.Context(), task.ID, "a", attempt, 0, 1<<20)
	if err != nil {
		w.t.Fatal(err)
	}
	attempts, err := w.store.Attempts(w.t.Context(), task.ID, "a")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range attempts {
		if a.Attempt == attempt {
			return lines, a
		}
	}
	w.t.Fatalf("no attempt %d: %+v", attempt, attempts)
	return nil, tasker.Attempt{}
}

func texts(lines []tasker.LogLine) (list []string) {
	for _, line := range lines {
		list = append(list, strings.TrimSpace(line.Stream+" "+line.Level)+": "+line.Text)
	}
	return list
}

// All that a handler reports is stored before its end: who sees the end finds all
// of it.
func TestWhatAHandlerTells(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var complete []int64
	s := &telling{faulty: newFaulty(w.store, false, map[string]int{})}
	s.save = func(updates []ledger.LiveUpdate) error {
		mu.Lock()
		defer mu.Unlock()
		for _, u := range updates {
			if u.Totals.Complete {
				complete = append(complete, u.TaskID)
			}
		}
		return nil
	}
	s.finish = func(finishes []ledger.End) {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range finishes {
			if !slices.Contains(complete, f.TaskID) {
				t.Errorf("end of task %d stored before its reports", f.TaskID)
			}
		}
	}
	w.serve(s, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		req.Log.InfoContext(ctx, "it begins", "n", 1)
		req.Log.DebugContext(ctx, "only at debug level")
		req.Line(tasker.StreamStdout, "some output")
		req.Line("rubbish", "some more")
		req.Line(tasker.StreamStderr, "a\xffb")
		req.Progress(1, 2, "half")
		req.Progress(-1, -2, strings.Repeat("x", 5000))
		req.Progress(2, 2, "all")
		req.Partial(handlers.Result("no JSON"))
		req.Partial(handlers.Result(`{"so": "far"}`))
		req.Log.With("a", "b").ErrorContext(ctx, "it ends")
		return handlers.Result(`1`), nil
	}), func(c *manager.Config) { c.TaskTypes[0].Concurrency = 20 })
	for i := range 20 {
		task := w.post(fmt.Sprint("t", i), "null", "a")
		r := w.await(task, tasker.ResultDone)
		lines, attempt := w.logOf(task, 1)
		want := []string{
			"log info: it begins n=1", "stdout: some output", "stdout: some more",
			"stderr: a\uFFFDb", `log warn: partial result dropped: not JSON, begins with "no JSON"`, "log error: it ends a=b",
		}
		if got := texts(lines); !slices.Equal(got, want) {
			t.Fatalf("got\n%q\nwant\n%q", got, want)
		}
		if attempt.Log.Lines != int64(len(want)) || !attempt.Log.Complete || attempt.Log.LeftOut != 0 {
			t.Errorf("%+v", attempt.Log)
		}
		if attempt.Progress == nil || attempt.Progress.Done != 2 || attempt.Progress.Message != "all" ||
			string(attempt.Partial) != `{"so": "far"}` {
			t.Errorf("%+v", attempt)
		}
		if string(r.Payload) != `1` {
			t.Errorf("payload %s", r.Payload)
		}
	}
}

// A run that reports nothing costs no statement, and reports after the handler's
// return are ignored.
func TestSilence(t *testing.T) {
	w := newWorld(t)
	f := newFaulty(w.store, false, map[string]int{})
	requests := make(chan *handlers.Request, 1)
	g := newGated()
	w.serve(f, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		if req.Identifier == "loud" {
			req.Line(tasker.StreamStdout, "hello")
			return g.Handle(ctx, req)
		}
		requests <- req
		return nil, nil
	}))
	silent := w.post("silent", "null", "a")
	w.await(silent, tasker.ResultDone)
	req := <-requests
	req.Progress(1, 2, "late")
	req.Line(tasker.StreamStdout, "late")
	req.Partial(handlers.Result("1"))
	req.Log.InfoContext(t.Context(), "late")
	loud := w.post("loud", "null", "a")
	w.until(func() string {
		if lines, err := w.store.LogLines(t.Context(), loud.ID, "a", 1, 0, 10); err != nil || len(lines) == 0 {
			return "the reports of the other one"
		}
		return ""
	})
	// Earlier reports are stored before that one or with it.
	if lines, attempt := w.logOf(silent, 1); len(lines) != 0 || attempt.Progress != nil || attempt.Log.Lines != 0 {
		t.Errorf("%+v, %+v", lines, attempt)
	}
	if n := f.called("save"); n != 1 {
		t.Errorf("%d statements", n)
	}
	close(g.gate)
	w.await(loud, tasker.ResultDone)
}

// Reports are stored while the handler runs.
func TestLiveWhileItRuns(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	w.serve(w.store, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		req.Progress(1, 2, "half")
		req.Line(tasker.StreamStdout, "one")
		return g.Handle(ctx, req)
	}))
	task := w.post("one", "null", "a")
	w.until(func() string {
		r, _ := w.result(task, "a")
		if r.State == tasker.Running && r.Progress != nil && r.Progress.Message == "half" {
			return ""
		}
		return "its progress"
	})
	lines, attempt := w.logOf(task, 1)
	if len(lines) != 1 || attempt.Log.Complete {
		t.Errorf("%+v, %+v", lines, attempt)
	}
	close(g.gate)
	w.await(task, tasker.ResultDone)
	if _, attempt := w.logOf(task, 1); !attempt.Log.Complete || attempt.Log.Lines != 1 {
		t.Errorf("%+v", attempt)
	}
}

// A handler that floods its log harms neither the database nor itself, and the log
// shows what was left out.
func TestFloodedLog(t *testing.T) {
	w := newWorld(t)
	f := newFaulty(w.store, false, map[string]int{})
	const lines = 100_000
	w.serve(f, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		for i := range lines {
			req.Line(tasker.StreamStdout, fmt.Sprint("line ", i))
		}
		return nil, nil
	}))
	task := w.post("one", "null", "a")
	begin := time.Now()
	w.await(task, tasker.ResultDone)
	most := int(time.Since(begin)/time.Second) + 3 // one a second, the first one and the last
	if n := f.called("save"); n > most {
		t.Errorf("%d statements, want at most %d", n, most)
	}
	log, attempt := w.logOf(task, 1)
	if attempt.Log.Lines != lines || attempt.Log.LeftOut == 0 || !attempt.Log.Complete {
		t.Errorf("%+v", attempt.Log)
	}
	if first, last := log[0], log[len(log)-1]; first.Text != "line 0" || last.Text != fmt.Sprint("line ", lines-1) || last.Number != lines-1 {
		t.Errorf("from %+v to %+v", first, last)
	}
	next := int64(0)
	for _, line := range log {
		if line.Number != next {
			t.Fatalf("line %d follows %d", line.Number, next-1)
		}
		next += max(line.LeftOut, 1)
	}
}

// A database that rejects reports, or hangs, delays no handler and no result for
// long, and gets the reports when it can.
func TestReportsWaitForTheDatabase(t *testing.T) {
	for name, hang := range map[string]bool{"away": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			release := make(chan struct{})
			s := &telling{faulty: newFaulty(w.store, false, map[string]int{})}
			s.save = func([]ledger.LiveUpdate) error {
				if hang {
					<-release
				}
				select {
				case <-release:
					return nil
				default:
					return errAway
				}
			}
			w.serve(s, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
				req.Line(tasker.StreamStdout, "hello")
				return nil, nil
			}), jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }), inSpool(t.TempDir()))
			var tasks []tasker.Task
			for i := range 10 {
				tasks = append(tasks, w.post(fmt.Sprint("t", i), "null", "a"))
			}
			for _, task := range tasks {
				w.await(task, tasker.ResultDone) // in vain for 30 s, if each of them waited
			}
			close(release)
			for _, task := range tasks {
				w.until(func() string {
					if lines, attempt := w.logOf(task, 1); len(lines) == 1 && attempt.Log.Complete {
						return ""
					}
					return "the log"
				})
			}
		})
	}
}

// If the database refuses a report, those in the same batch are stored.
func TestRefusedReport(t *testing.T) {
	w := newWorld(t)
	s := &telling{faulty: newFaulty(w.store, false, map[string]int{})}
	var bad tasker.Task
	s.save = func(updates []ledger.LiveUpdate) error {
		for _, u := range updates {
			if u.TaskID == bad.ID {
				return tasker.Errorf(tasker.Invalid, "no")
			}
		}
		return nil
	}
	bad = w.create("bad", "null", "a")
	good := w.create("good", "null", "a")
	both := newGated()
	w.serve(s, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		if both.started.Add(1) == 2 {
			close(both.gate)
		}
		<-both.gate
		req.Line(tasker.StreamStdout, "hello")
		return nil, nil
	}))
	w.await(good, tasker.ResultDone)
	w.await(bad, tasker.ResultDone)
	if lines, _ := w.logOf(good, 1); len(lines) != 1 {
		t.Errorf("%+v", lines)
	}
	if lines, _ := w.logOf(bad, 1); len(lines) != 0 {
		t.Errorf("%+v", lines)
	}
}

func TestPartialIsTheLastWord(t *testing.T) {
	w := newWorld(t)
	s := w.serve(w.store, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		req.Partial(handlers.Result(`1`))
		partial := handlers.Result(`[2]`)
		req.Partial(partial)
		copy(partial, "xxx") // it is the handler's again
		if req.Identifier == "failed" {
			return nil, errors.New("no")
		}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}), jobType(func(j *tasker.TaskType) { j.Timeout = 5 * time.Second }), func(c *manager.Config) { c.ShutdownTimeout = time.Millisecond })
	if r := w.await(w.post("failed", "null", "a"), tasker.ResultFailed); string(r.Payload) != `[2]` {
		t.Errorf("failed: %s", r.Payload)
	}
	if r := w.await(w.post("timed.out", "null", "a"), tasker.TimedOut); string(r.Payload) != `[2]` {
		t.Errorf("timed out: %s", r.Payload)
	}
	task := w.post("interrupted", "null", "a")
	w.until(func() string {
		if attempts, err := w.store.Attempts(t.Context(), task.ID, "a"); err == nil && len(attempts) == 1 && attempts[0].Partial != nil {
			return ""
		}
		return "the partial result"
	})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if r, _ := w.result(task, "a"); r.Payload != nil {
		t.Errorf("interrupted: %+v", r)
	}
}

// events collects the live events about the results of each endpoint.
func (w *world) events() func() []wire.LiveChange {
	w.t.Helper()
	var mu sync.Mutex
	var list []wire.LiveChange
	ctx, cancel := context.WithCancel(w.t.Context())
	listening, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.broker.Listen(ctx, "#", func(key string, body []byte) {
			if key == "begin" {
				select {
				case <-listening:
				default:
					close(listening)
				}
			}
			if key != wire.KeyLive {
				return
			}
			event, err := wire.DecodeLive(body)
			if err != nil {
				w.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			list = append(list, event.Changes...)
		})
	}()
	w.t.Cleanup(func() { cancel(); <-ended })
	w.until(func() string {
		if err := w.broker.Notify(ctx, "begin", nil); err != nil {
			w.t.Fatal(err)
		}
		select {
		case <-listening:
			return ""
		default:
			return "the listener"
		}
	})
	return func() []wire.LiveChange {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// Live events have every change that lasts for a while.
func TestLiveEvents(t *testing.T) {
	w := newWorld(t)
	events := w.events()
	g := newGated()
	w.serve(w.store, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		req.Progress(1, 2, "half")
		req.Line(tasker.StreamStdout, "one")
		if req.Identifier == "second" {
			return nil, handlers.WithCode(7, errors.New("no"))
		}
		return g.Handle(ctx, req)
	}), jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
	first := w.post("first", "null", "a")
	seen := func(what string, is func(c wire.LiveChange) bool) {
		t.Helper()
		w.until(func() string {
			if slices.ContainsFunc(events(), is) {
				return ""
			}
			return what
		})
	}
	seen("RUNNING", func(c wire.LiveChange) bool {
		return c.TaskID == first.ID && c.Type == "job" && c.Identifier == "first" && c.Endpoint == "a" && c.Attempt == 1 &&
			c.State == tasker.Running
	})
	seen("the progress", func(c wire.LiveChange) bool {
		return c.TaskID == first.ID && c.Attempt == 1 && c.Log && c.Progress != nil && c.Progress.Message == "half"
	})
	second := w.post("second", "null", "a")
	seen("RECEIVED", func(c wire.LiveChange) bool {
		return c.TaskID == second.ID && c.State == tasker.Received && c.Attempt == 0
	})
	close(g.gate)
	seen("DONE", func(c wire.LiveChange) bool {
		return c.TaskID == first.ID && c.State == tasker.ResultDone && c.Attempt == 1
	})
	seen("FAILED", func(c wire.LiveChange) bool {
		return c.TaskID == second.ID && c.State == tasker.ResultFailed && c.Errnr == 7 && c.Identifier == "second"
	})
}
