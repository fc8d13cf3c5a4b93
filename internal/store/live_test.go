package store_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

func (f fixture) save(t *testing.T, updates ...ledger.LiveUpdate) {
	t.Helper()
	if err := f.Live.SaveLive(t.Context(), updates); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) attempts(t *testing.T, task tasker.Task, endpoint string) []tasker.Attempt {
	t.Helper()
	attempts, err := f.Results.Attempts(t.Context(), task.ID, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return attempts
}

func (f fixture) result(t *testing.T, task tasker.Task, endpoint string) tasker.TaskResult {
	t.Helper()
	r, err := f.Results.FindResult(t.Context(), task.ID, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// told returns an update with lines from first to last.
func told(task tasker.Task, endpoint string, attempt int, first, last int64) ledger.LiveUpdate {
	u := ledger.LiveUpdate{
		ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Attempt: attempt,
		Totals: tasker.LogTotals{Lines: last + 1, Bytes: 10 * (last + 1)},
	}
	for n := first; n <= last; n++ {
		u.Lines = append(u.Lines, line(n))
	}
	return u
}

func line(n int64) tasker.LogLine {
	return tasker.LogLine{
		Number: n, Time: time.Date(2026, 5, 6, 1, 14, 24, int(n)*1000, time.UTC), Stream: tasker.StreamStdout,
		Text: fmt.Sprintf("line %d <&> ü€😀 \"\x00", n),
	}
}

func gap(n, leftOut int64) tasker.LogLine {
	return tasker.LogLine{Number: n, LeftOut: leftOut, Time: line(n + leftOut).Time}
}

func (f fixture) lines(t *testing.T, task tasker.Task, endpoint string, attempt int, from int64, limit int) []tasker.LogLine {
	t.Helper()
	lines, err := f.Live.LogLines(t.Context(), task.ID, endpoint, attempt, from, limit)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func wantSame(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestSaveLive(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running))
		if r := f.result(t, task, "a"); r.Progress != nil || r.State != tasker.Running || r.ID == 0 {
			t.Errorf("before it told anything: %+v", r)
		}
		progress := &tasker.Progress{Done: 3, Total: 10, Message: "copying <ü>", Time: f.Now()}
		first := told(task, "a", 1, 0, 4)
		first.Progress, first.Partial = progress, json.RawMessage(`{"n": 1, "s":"<"}`)
		f.save(t, told(task, "b", 1, 0, 0), first)
		// Fields that an update does not set stay.
		second := told(task, "a", 1, 5, 6)
		second.Totals.Complete = true
		f.save(t, second)

		now := f.Now()
		want := tasker.Attempt{
			Attempt: 1, State: tasker.Running, StartTime: &now, Progress: progress, Partial: json.RawMessage(`{"n": 1, "s":"<"}`),
			Log: tasker.LogTotals{Lines: 7, Bytes: 70, Complete: true},
		}
		wantSame(t, "the attempt", f.attempts(t, task, "a"), []tasker.Attempt{want})
		wantSame(t, "the result's progress", f.result(t, task, "a").Progress, progress)
		results, err := f.Results.TaskResults(t.Context(), task.ID)
		if err != nil || len(results) != 2 || results[1].Progress != nil {
			t.Fatalf("%+v, %v", results, err)
		}
		wantSame(t, "the progress in the list", results[0].Progress, progress)
		f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		wantSame(t, "the finished result's progress", f.result(t, task, "a").Progress, progress)
		if results, err = f.Results.TaskResults(t.Context(), task.ID); err != nil || results[0].Progress != nil {
			t.Errorf("the list has the progress of what is finished: %+v, %v", results, err)
		}
		wantSame(t, "the lines", f.lines(t, task, "a", 1, 0, 100), append(first.Lines, second.Lines...))
		_, err = f.Results.FindResult(t.Context(), task.ID, "nowhere")
		wantCode(t, err, tasker.NotFound)
		_, err = f.Results.Attempts(t.Context(), task.ID, "nowhere")
		wantCode(t, err, tasker.NotFound)
	})
}

// The same update again, after a lost answer, changes nothing, and one that has
// grown meanwhile loses nothing.
func TestSaveLiveAgain(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		update := told(task, "a", 1, 0, 2)
		f.save(t, update)
		f.save(t, update)
		wantSame(t, "the lines", f.lines(t, task, "a", 1, 0, 100), update.Lines)
		grown := told(task, "a", 1, 0, 4)
		f.save(t, grown)
		wantSame(t, "the lines of the grown one", f.lines(t, task, "a", 1, 0, 100), grown.Lines)
		f.save(t, told(task, "a", 1, 0, 1)) // older than what is stored
		wantSame(t, "the lines after an older one", f.lines(t, task, "a", 1, 0, 100), grown.Lines)
		if n := f.rows(t, "log_chunks"); n != 1 {
			t.Errorf("there are %d chunks, want one", n)
		}
	})
}

// Updates without a result are skipped, and the rest is stored.
func TestSaveLiveOfNothing(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task, waits := f.send(t, "one"), f.send(t, "waits")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(waits, "a", tasker.Received))
		f.save(t,
			told(tasker.Task{ID: 999}, "a", 1, 0, 0), told(task, "b", 1, 0, 0), // no result
			told(waits, "a", 1, 0, 0), told(task, "a", 2, 0, 0), told(task, "a", 0, 0, 0), // no such attempt
			told(task, "a", 1, 0, 3))
		if attempts, chunks := f.rows(t, "attempts"), f.rows(t, "log_chunks"); attempts != 1 || chunks != 1 {
			t.Errorf("%d attempts and %d chunks, want one each", attempts, chunks)
		}
		f.save(t)
	})
}

// Late reports of a finished or an earlier attempt are stored with it.
func TestSaveLiveLate(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.finish(t, finish(task, "a", 1, tasker.Retrying))
		f.restart(t, task, "a", 1)
		late := told(task, "a", 1, 0, 1)
		late.Progress = &tasker.Progress{Done: 1, Time: f.Now()}
		f.save(t, late)
		if r := f.result(t, task, "a"); r.Progress != nil {
			t.Errorf("the current attempt has the progress of the one before: %+v", r.Progress)
		}
		f.finish(t, finish(task, "a", 2, tasker.ResultDone))
		last := told(task, "a", 2, 0, 2)
		last.Totals.Complete = true
		f.save(t, last)
		attempts := f.attempts(t, task, "a")
		if len(attempts) != 2 || attempts[0].Log.Lines != 2 || attempts[0].Progress == nil || attempts[0].State != tasker.ResultFailed ||
			attempts[1].Log.Lines != 3 || !attempts[1].Log.Complete || attempts[1].State != tasker.ResultDone {
			t.Errorf("%+v", attempts)
		}
	})
}

// restart starts the attempt after the given one.
func (f fixture) restart(t *testing.T, task tasker.Task, endpoint string, attempt int) {
	t.Helper()
	started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerA,
		[]ledger.Start{{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Attempt: attempt}}))
	if err != nil || !started[0] {
		t.Fatalf("started %v, %v", started, err)
	}
}

// More than fits one statement is stored all the same; with a chunk that is too
// large for any, nothing of the batch is stored.
func TestSaveLiveLarge(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		var updates []ledger.LiveUpdate
		for i := range 10 {
			task := f.send(t, fmt.Sprint("t", i))
			f.receive(t, managerA, incoming(task, "a", tasker.Running))
			u := told(task, "a", 1, 0, 0)
			u.Lines[0].Text = strings.Repeat("x", 700_000)
			u.Partial, _ = json.Marshal(u.Lines[0].Text)
			updates = append(updates, u)
		}
		f.save(t, updates...)
		if attempts, chunks := f.rows(t, "attempts"), f.rows(t, "log_chunks"); attempts != 10 || chunks != 10 {
			t.Errorf("%d attempts and %d chunks, want ten each", attempts, chunks)
		}
	})
}

// 100 updates of 100 results, concurrently.
func TestSaveLiveAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		var endpoints []string
		var messages []ledger.Incoming
		var updates []ledger.LiveUpdate
		for i := range 50 {
			endpoints = append(endpoints, fmt.Sprintf("e%02d", i))
		}
		f.acquire(t, managerA, endpoints...)
		one, two := f.send(t, "one"), f.send(t, "two")
		for _, e := range endpoints {
			messages = append(messages, incoming(one, e, tasker.Running), incoming(two, e, tasker.Running))
			updates = append(updates, told(two, e, 1, 0, 3), told(one, e, 1, 0, 3))
		}
		f.receive(t, managerA, messages...)
		errs := make(chan error)
		const sides = 4
		for range sides {
			go func() {
				mine := slices.Clone(updates)
				slices.Reverse(mine)
				errs <- f.Live.SaveLive(t.Context(), mine)
			}()
		}
		for range sides {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if attempts, chunks := f.rows(t, "attempts"), f.rows(t, "log_chunks"); attempts != 100 || chunks != 100 {
			t.Errorf("%d attempts and %d chunks, want 100 each", attempts, chunks)
		}
	})
}

func TestLogLines(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running))
		if lines := f.lines(t, task, "a", 1, 0, 10); len(lines) != 0 {
			t.Errorf("before there are any: %v", lines)
		}
		f.save(t, told(task, "a", 1, 0, 9), told(task, "b", 1, 0, 99))
		for first := int64(10); first < 100; first += 10 {
			u := told(task, "a", 1, first, first+9)
			if first == 90 { // nothing between 30 and 80 is kept
				u.DropFrom, u.DropTo = 30, 80
			}
			f.save(t, u)
		}
		if n := f.rows(t, "log_chunks"); n != 6 {
			t.Errorf("%d chunks are left, want 6", n)
		}
		// One left out by the manager itself.
		u := told(task, "a", 1, 150, 151)
		u.Lines = append([]tasker.LogLine{{Number: 100, LeftOut: 50, Time: line(150).Time}}, u.Lines...)
		f.save(t, u)

		seq := func(first, last int64) []tasker.LogLine { return told(task, "a", 1, first, last).Lines }
		all := slices.Concat(seq(0, 29), []tasker.LogLine{gap(30, 50)}, seq(80, 99), []tasker.LogLine{gap(100, 50)}, seq(150, 151))
		wantSame(t, "all", f.lines(t, task, "a", 1, 0, 1000), all)
		wantSame(t, "the first", f.lines(t, task, "a", 1, 0, 3), all[:3])
		wantSame(t, "from the middle of a chunk", f.lines(t, task, "a", 1, 15, 1000), all[15:])
		wantSame(t, "from within what was dropped", f.lines(t, task, "a", 1, 50, 2), []tasker.LogLine{gap(50, 30), line(80)})
		wantSame(t, "from within what was left out", f.lines(t, task, "a", 1, 120, 2), []tasker.LogLine{gap(120, 30), line(150)})
		wantSame(t, "the last", f.lines(t, task, "a", 1, 151, 2), []tasker.LogLine{line(151)})
		if lines := f.lines(t, task, "a", 1, 152, 10); len(lines) != 0 {
			t.Errorf("behind the last: %v", lines)
		}
		// The same page by page.
		for _, limit := range []int{1, 7, 10, 31} {
			var paged []tasker.LogLine
			for from := int64(0); ; {
				lines := f.lines(t, task, "a", 1, from, limit)
				if len(lines) == 0 {
					break
				}
				if len(lines) > limit {
					t.Fatalf("%d lines, want at most %d", len(lines), limit)
				}
				paged = append(paged, lines...)
				last := lines[len(lines)-1]
				from = last.Number + max(last.LeftOut, 1)
			}
			wantSame(t, fmt.Sprintf("in pages of %d", limit), paged, all)
		}
		if lines := f.lines(t, task, "b", 1, 0, 1000); len(lines) != 100 {
			t.Errorf("the other endpoint has %d lines", len(lines))
		}
	})
}

// A chunk that is dropped only in part is kept, and the head of the log may go.
func TestDropChunks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.save(t, told(task, "a", 1, 0, 9), told(task, "a", 1, 10, 19), told(task, "a", 1, 20, 29))
		u := told(task, "a", 1, 30, 30)
		u.DropFrom, u.DropTo = 0, 25
		f.save(t, u)
		wantSame(t, "the lines", f.lines(t, task, "a", 1, 0, 100), append([]tasker.LogLine{gap(0, 20)}, told(task, "a", 1, 20, 30).Lines...))
		u.DropTo = 30
		f.save(t, u)
		wantSame(t, "the lines", f.lines(t, task, "a", 1, 0, 100), []tasker.LogLine{gap(0, 30), line(30)})
	})
}

func TestLogChunksAfter(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task, other := f.send(t, "one"), f.send(t, "two")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running), incoming(other, "a", tasker.Running))
		f.save(t, told(task, "a", 1, 0, 1))
		f.save(t, told(other, "a", 1, 0, 1))
		f.save(t, told(task, "b", 1, 0, 0))
		f.save(t, told(task, "a", 1, 2, 2))
		var after int64
		for _, want := range []ledger.LiveUpdate{told(task, "a", 1, 0, 1), told(task, "b", 1, 0, 0), told(task, "a", 1, 2, 2)} {
			chunks, err := f.Live.LogChunksAfter(t.Context(), task.ID, after, 1)
			if err != nil || len(chunks) != 1 || chunks[0].ID <= after {
				t.Fatalf("%+v, %v", chunks, err)
			}
			after = chunks[0].ID
			wantSame(t, "a chunk", chunks[0], tasker.LogChunk{ID: after, ResultKey: want.ResultKey, Attempt: 1, Lines: want.Lines})
		}
		if chunks, err := f.Live.LogChunksAfter(t.Context(), task.ID, after, 1); err != nil || len(chunks) != 0 {
			t.Errorf("%+v, %v", chunks, err)
		}
	})
}
