package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
)

func TestCreateTask(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		// The payload is kept byte for byte: spaces, order, numbers, any text.
		payload := []byte("{ \"b\":1.0, \"a\":[12345678901234567890, \"ü😀\\u0000\"] , \"q\":\"it's 100% \\\\ ?\"}")
		given := tasker.Task{Type: "worker", Identifier: "Case.1", Payload: payload, Endpoints: []string{"a", "b"}}
		task, created, err := f.Tasks.CreateTask(t.Context(), given)
		if err != nil || !created {
			t.Fatalf("created %v, %v", created, err)
		}
		found, err := f.Tasks.FindTask(t.Context(), "worker", "Case.1")
		if err != nil {
			t.Fatal(err)
		}
		task.Expected = given.Endpoints
		if diff := cmp.Diff(task, found); diff != "" {
			t.Errorf("what is read is not what was stored:\n%s", diff)
		}
		if string(found.Payload) != string(payload) {
			t.Errorf("payload %s, want %s", found.Payload, payload)
		}
		if want := f.Now(); !found.StartTime.Equal(want) || want.Nanosecond()%1000 != 0 {
			t.Errorf("start time %v, want %v in microseconds", found.StartTime, want)
		}
		if found.Status != tasker.Created || found.SentTime != nil {
			t.Errorf("status %v, sent %v", found.Status, found.SentTime)
		}

		// The same again, in other words, is the same task.
		given.Payload = []byte(`{"a":[12345678901234567890,"ü😀\u0000"],"q":"it's 100% \\ ?","b":1.0}`)
		again, created, err := f.Tasks.CreateTask(t.Context(), given)
		if err != nil || created || again.ID != task.ID {
			t.Fatalf("the same again: id %d, created %v, %v", again.ID, created, err)
		}
		// Another body is a conflict, another case or type another task.
		given.Endpoints = []string{"a"}
		_, _, err = f.Tasks.CreateTask(t.Context(), given)
		wantCode(t, err, tasker.Conflict)
		given.Identifier = "case.1"
		if _, created, err = f.Tasks.CreateTask(t.Context(), given); err != nil || !created {
			t.Fatalf("another case: created %v, %v", created, err)
		}
		_, err = f.Tasks.FindTask(t.Context(), "backup", "Case.1")
		wantCode(t, err, tasker.NotFound)
	})
}

// What decoding would lose makes another body all the same.
func TestCreateTaskOfOtherText(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for i, bodies := range [][2]string{
			{`{"host":"db1","host":"db2"}`, `{"host":"db2"}`},
			{`{"a":[{"x":1,"x":2}]}`, `{"a":[{"x":2}]}`},
			{`"\ud800"`, `"\ud801"`},
			{`"\ud800"`, `"\ufffd"`},
			{`{"\udc00":1}`, `{"\ufffd":1}`},
		} {
			task := tasker.Task{Type: "worker", Identifier: fmt.Sprint("t", i), Payload: []byte(bodies[0])}
			for _, created := range []bool{true, false} {
				if _, got, err := f.Tasks.CreateTask(t.Context(), task); err != nil || got != created {
					t.Errorf("%s: created %v, %v", bodies[0], got, err)
				}
			}
			task.Payload = []byte(bodies[1])
			if _, _, err := f.Tasks.CreateTask(t.Context(), task); tasker.CodeOf(err) != tasker.Conflict {
				t.Errorf("%s is the same as %s: %v", bodies[1], bodies[0], err)
			}
		}
	})
}

func TestTaskName(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		task := f.create(t, "one")
		taskType, identifier, err := f.Tasks.TaskName(t.Context(), task.ID)
		if err != nil || taskType != "worker" || identifier != "one" {
			t.Errorf("%s/%s, %v", taskType, identifier, err)
		}
		_, _, err = f.Tasks.TaskName(t.Context(), task.ID+1)
		wantCode(t, err, tasker.NotFound)
	})
}

func TestCreateTaskAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		var (
			wg      sync.WaitGroup
			mu      sync.Mutex
			created int
		)
		for range 8 {
			wg.Go(func() {
				_, fresh, err := f.Tasks.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: "one"})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if fresh {
					created++
				}
			})
		}
		wg.Wait()
		if created != 1 {
			t.Errorf("%d of 8 created the task, want 1", created)
		}
	})
}

func TestMarkSent(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "old")
		f.clock.advance(month + time.Second)
		f.acquire(t, managerA, "b", "a")

		all := f.send(t, "all")
		some := f.create(t, "some", "b", "x")
		some, err := f.Outbox.MarkSent(t.Context(), some, []string{"x"})
		if err != nil {
			t.Fatal(err)
		}
		for identifier, want := range map[string][]string{
			"all":  {"a", "b"}, // not the one not seen for a month
			"some": {"b", "x"},
		} {
			found, err := f.Tasks.FindTask(t.Context(), "worker", identifier)
			if err != nil {
				t.Fatal(err)
			}
			if found.Status != tasker.Sent || found.SentTime == nil || !slices.Equal(found.Expected, want) {
				t.Errorf("%s: status %v, sent %v, expects %v, want %v", identifier, found.Status, found.SentTime, found.Expected, want)
			}
		}
		if !slices.Equal(some.Unserved, []string{"x"}) {
			t.Errorf("unserved %v", some.Unserved)
		}
		// Sent again by a slow relay: nothing changes.
		sent := *all.SentTime
		f.clock.advance(time.Second)
		again, err := f.Outbox.MarkSent(t.Context(), all, nil)
		if err != nil || !again.SentTime.Equal(sent) {
			t.Errorf("sent again at %v, was %v, %v", again.SentTime, sent, err)
		}
	})
}

func TestNobodyRegistered(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.send(t, "all")
		found, err := f.Tasks.FindTask(t.Context(), "worker", "all")
		if err != nil || found.Status != tasker.Sent || found.Expected == nil || len(found.Expected) != 0 {
			t.Errorf("status %v, expects %#v, %v", found.Status, found.Expected, err)
		}
	})
}

func TestClaimUnsent(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const n = 40
		for i := range n {
			f.create(t, fmt.Sprint("task-", i))
		}
		claim := func(limit int) []ledger.Unsent {
			claimed, err := f.Outbox.ClaimUnsent(t.Context(), limit, lease)
			if err != nil {
				t.Error(err)
			}
			return claimed
		}
		if got := claim(n); len(got) != 0 {
			t.Fatalf("%d tasks were claimed while their API publishes them", len(got))
		}
		first := f.create(t, "given-up")
		if err := f.Outbox.ReleaseTask(t.Context(), ledger.Release{TaskID: first.ID, Attempt: 1}); err != nil {
			t.Fatal(err)
		}
		if got := claim(n); len(got) != 1 || got[0].ID != first.ID {
			t.Fatalf("claimed %v, want the one given up", got)
		}
		f.clock.advance(20 * time.Second)
		// Several relays at once: each task goes to one.
		var (
			wg   sync.WaitGroup
			mu   sync.Mutex
			seen = map[int64]int{}
		)
		for range 4 {
			wg.Go(func() {
				for range n {
					for _, task := range claim(5) {
						mu.Lock()
						seen[task.ID]++
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		if len(seen) != n {
			t.Errorf("%d tasks were claimed, want %d", len(seen), n)
		}
		for id, times := range seen {
			if times != 1 {
				t.Errorf("task %d was claimed %d times", id, times)
			}
		}
		// A dead relay's claims become due again, longest due first.
		f.clock.advance(2 * lease)
		if got := claim(3); len(got) != 3 || got[0].Identifier != "given-up" {
			t.Errorf("after the lease %v was claimed", got)
		}
	})
}

// Attempts to send a task: changes from an attempt are rejected once another
// one has begun, and its progress is kept for the next.
func TestAttemptsToSend(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		task := f.create(t, "one", "a", "b", "c")
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		claim := func() ledger.Unsent {
			t.Helper()
			claimed, err := f.Outbox.ClaimUnsent(t.Context(), 10, lease)
			must(err)
			if len(claimed) != 1 {
				t.Fatalf("claimed %v, want one", claimed)
			}
			return claimed[0]
		}
		none := func(when string) {
			t.Helper()
			if claimed, err := f.Outbox.ClaimUnsent(t.Context(), 10, lease); err != nil || len(claimed) != 0 {
				t.Fatalf("%s %v was claimed, %v", when, claimed, err)
			}
		}
		task.Unserved = []string{"a"}
		must(f.Outbox.SaveSent(t.Context(), ledger.Unsent{Task: task, Attempt: 1, SentTo: "b"}, lease))
		must(f.Outbox.ReleaseTask(t.Context(), ledger.Release{TaskID: task.ID, Attempt: 1, After: time.Minute, Refusal: "too \xff large"}))
		none("during the pause")
		total, refused, err := f.Inspection.RefusedTasks(t.Context(), 10)
		if err != nil || total != 1 || len(refused) != 1 || refused[0].Identifier != "one" || refused[0].Reason != "too \ufffd large" ||
			refused[0].Attempts != 1 {
			t.Errorf("refused: %d %+v, %v", total, refused, err)
		}
		f.clock.advance(time.Minute)
		u := claim()
		if u.Attempt != 2 || u.SentTo != "b" || !u.Refused || !slices.Equal(u.Unserved, []string{"a"}) {
			t.Errorf("claimed %+v", u)
		}
		must(f.Outbox.ReleaseTask(t.Context(), ledger.Release{TaskID: task.ID, Attempt: 1}))
		none("after the word of an earlier attempt")
		must(f.Outbox.RenewUnsent(t.Context(), task.ID, 2, time.Hour))
		f.clock.advance(2 * lease)
		none("while the attempt is renewed")
		must(f.Outbox.ReleaseTask(t.Context(), ledger.Release{TaskID: task.ID, Attempt: 2, Untried: true}))
		if u := claim(); u.Attempt != 2 || !u.Refused {
			t.Errorf("after one that was not tried, claimed %+v", u)
		}
		must(f.Outbox.ReleaseTask(t.Context(), ledger.Release{TaskID: task.ID, Attempt: 2}))
		if u := claim(); u.Attempt != 3 || u.Refused {
			t.Errorf("after one that was not refused, claimed %+v", u)
		}
		if _, err := f.Outbox.MarkSent(t.Context(), task, nil); err != nil {
			t.Fatal(err)
		}
		must(f.Outbox.ReleaseTask(t.Context(), ledger.Release{TaskID: task.ID, Attempt: 3}))
		none("when it is sent")
		if total, _, err := f.Inspection.RefusedTasks(t.Context(), 10); err != nil || total != 0 {
			t.Errorf("%d are refused still, %v", total, err)
		}
	})
}

func TestListTasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for i := range 5 {
			f.create(t, fmt.Sprint("task-", i))
		}
		f.send(t, "sent")
		list := func(q tasker.TaskQuery) (identifiers []string, last int64) {
			tasks, _, err := f.Tasks.ListTasks(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, task := range tasks {
				identifiers, last = append(identifiers, task.Identifier), task.ID
			}
			return identifiers, last
		}
		page, last := list(tasker.TaskQuery{Type: "worker", Limit: 3})
		if !slices.Equal(page, []string{"sent", "task-4", "task-3"}) {
			t.Errorf("first page %v", page)
		}
		if page, _ = list(tasker.TaskQuery{Type: "worker", Before: last, Limit: 3}); !slices.Equal(page, []string{"task-2", "task-1", "task-0"}) {
			t.Errorf("second page %v", page)
		}
		if page, _ = list(tasker.TaskQuery{Type: "worker", Status: tasker.Sent, Limit: 3}); !slices.Equal(page, []string{"sent"}) {
			t.Errorf("those sent %v", page)
		}
		if page, _ = list(tasker.TaskQuery{Type: "backup", Limit: 3}); len(page) != 0 {
			t.Errorf("another type %v", page)
		}
	})
}

// A page is limited in bytes, but has at least one task.
func TestListTasksByBytes(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const n = 10_000
		payload := []byte(`"` + strings.Repeat("ü", n/2-1) + `"`) // bytes, not characters
		for i := range 5 {
			_, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
				Type: "worker", Identifier: fmt.Sprint("task-", i), Payload: payload,
				Endpoints: []string{"a"},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			query tasker.TaskQuery
			tasks int
			more  bool
		}{
			{tasker.TaskQuery{Limit: 5}, 5, false},
			{tasker.TaskQuery{Limit: 4}, 4, true},
			{tasker.TaskQuery{Limit: 5, MaxBytes: 1}, 1, true},
			{tasker.TaskQuery{Limit: 5, MaxBytes: 3 * (n + 100)}, 3, true},
			{tasker.TaskQuery{Limit: 5, MaxBytes: 5 * (n + 100)}, 5, false},
			{tasker.TaskQuery{Limit: 5, MaxBytes: n, WithoutPayload: true}, 5, false},
			{tasker.TaskQuery{Limit: 5, MaxBytes: 12, WithoutPayload: true}, 2, true},
		} {
			c.query.Type = "worker"
			tasks, more, err := f.Tasks.ListTasks(t.Context(), c.query)
			if err != nil || len(tasks) != c.tasks || more != c.more {
				t.Errorf("%+v: %d tasks, more %t, %v; want %d, %t", c.query, len(tasks), more, err, c.tasks, c.more)
				continue
			}
			if tasks[0].Identifier != "task-4" || (tasks[0].Payload == nil) != c.query.WithoutPayload || len(tasks[0].Endpoints) != 1 {
				t.Errorf("%+v: the first is %.200v", c.query, tasks[0])
			}
		}
	})
}

// Payloads that are too long are left out, with their sizes.
func TestPeek(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one", "a", "b")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running))
		end := finish(task, "a", 1, tasker.ResultDone)
		end.Payload = []byte(`"ü"`)
		f.finish(t, end)
		for _, c := range []struct{ limit, task, result int64 }{{0, 13, 4}, {3, 13, 4}, {4, 13, 0}, {100, 0, 0}} {
			got, err := f.Tasks.PeekTask(t.Context(), "worker", "one", c.limit)
			if err != nil || got.PayloadSize != c.task || (got.Payload == nil) != (c.task > 0) || len(got.Expected) != 2 {
				t.Errorf("with at most %d bytes the task is %+v, %v", c.limit, got, err)
			}
			results, err := f.Results.PeekResults(t.Context(), task.ID, c.limit)
			if err != nil || len(results) != 2 || results[0].PayloadSize != c.result || (results[0].Payload == nil) != (c.result > 0) {
				t.Errorf("with at most %d bytes the results are %+v, %v", c.limit, results, err)
			}
		}
		results, err := f.Results.ResultsOf(t.Context(), task.ID, []string{"a", "c"})
		if err != nil || len(results) != 1 || string(results[0].Payload) != `"ü"` {
			t.Errorf("of one endpoint: %+v, %v", results, err)
		}
		results, err = f.Results.PeekResultsOf(t.Context(), task.ID, []string{"a", "c"})
		if err != nil || len(results) != 1 || results[0].Payload != nil || results[0].PayloadSize != 4 || results[0].State != tasker.ResultDone {
			t.Errorf("of one endpoint, without its payload: %+v, %v", results, err)
		}
	})
}

// whenLogged is a log handler that calls a function once, after a statement
// with this beginning.
type whenLogged struct {
	slog.Handler
	begins string
	do     func()
}

func (h whenLogged) Enabled(context.Context, slog.Level) bool { return true }

func (h whenLogged) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "sql" && strings.HasPrefix(a.Value.String(), h.begins) {
			h.do()
		}
		return true
	})
	return nil
}

// A task that is purged while its identifier is posted again: the new one is
// stored.
func TestCreateTaskWhileItIsPurged(t *testing.T) {
	t.Parallel()
	f, rival := against(t)
	for round := 0; ; round++ {
		old := f.create(t, fmt.Sprint("task", round), "a")
		// The task that was inserted in vain locks the row until it is rolled back.
		var purged sync.WaitGroup
		purge := sync.OnceFunc(func() {
			purged.Go(func() { rival.do(fmt.Sprintf("DELETE FROM tasks WHERE id = %d", old.ID)) })
		})
		s, err := store.Open(store.Config{URI: f.uri, Verbose: true}, slog.New(whenLogged{slog.DiscardHandler, "INSERT INTO `tasks`", purge}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		task, created, err := s.Tasks.CreateTask(t.Context(), tasker.Task{
			Type: "worker", Identifier: old.Identifier, Payload: []byte("1"),
			Endpoints: []string{"b"},
		})
		purged.Wait()
		if tasker.CodeOf(err) == tasker.Conflict && round < 100 {
			continue // it was read before it was purged
		}
		if err != nil || !created || task.ID == old.ID {
			t.Errorf("got task %d, created %t, %v", task.ID, created, err)
		}
		return
	}
}
