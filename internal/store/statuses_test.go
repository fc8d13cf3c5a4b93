package store_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

func TestAggregate(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const wait = time.Minute
		f.acquire(t, managerA, "a", "b")
		well, badly, half := f.send(t, "well"), f.send(t, "badly"), f.send(t, "half")
		created := f.create(t, "created")
		all := []int64{half.ID, well.ID, badly.ID, created.ID, 999, well.ID}
		f.receive(t, managerA,
			incoming(well, "a", tasker.Running), incoming(well, "b", tasker.Running),
			incoming(badly, "a", tasker.Running), incoming(badly, "b", tasker.Running),
			incoming(half, "a", tasker.Running), incoming(created, "a", tasker.Running))
		aggregate := func(want int) {
			t.Helper()
			if n, err := f.Statuses.Aggregate(t.Context(), all, wait); err != nil || n != want {
				t.Fatalf("Aggregate changed %d, %v, want %d", n, err, want)
			}
		}
		unsettled := func(want ...int64) {
			t.Helper()
			got, err := f.unsettled(t, all, wait)
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("unsettled %v, %v, want %v", got, err, want)
			}
		}
		aggregate(0)
		unsettled()
		f.finish(t, finish(well, "a", 1, tasker.ResultDone), finish(badly, "a", 1, tasker.ResultDone), finish(half, "a", 1, tasker.ResultDone))
		aggregate(0)
		unsettled()
		f.finish(t, finish(well, "b", 1, tasker.ResultDone), finish(badly, "b", 1, tasker.TimedOut))
		unsettled(well.ID, badly.ID)
		aggregate(2)
		aggregate(0)
		f.clock.advance(wait)
		unsettled(half.ID)
		aggregate(1)
		unsettled()
		for task, want := range map[*tasker.Task]tasker.TaskStatus{
			&well: tasker.Done, &badly: tasker.Failed, &half: tasker.Incomplete, &created: tasker.Created,
		} {
			if got := f.status(t, *task); got != want {
				t.Errorf("%s is %s, want %s", task.Identifier, got, want)
			}
		}
		f.receive(t, managerA, incoming(half, "b", tasker.Running))
		f.finish(t, finish(half, "b", 1, tasker.ResultDone))
		aggregate(1)
		if got := f.status(t, half); got != tasker.Done {
			t.Errorf("an incomplete task whose late endpoint finished is %s", got)
		}
	})
}

// An endpoint without a queue that has received the task all the same is no
// longer unserved.
func TestAggregateUnserved(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task, err := f.Outbox.MarkSent(t.Context(), f.create(t, "one", "a", "b", "x"), []string{"b", "x"})
		if err != nil {
			t.Fatal(err)
		}
		aggregate := func(want ...string) {
			t.Helper()
			if _, err := f.Statuses.Aggregate(t.Context(), []int64{task.ID}, time.Hour); err != nil {
				t.Fatal(err)
			}
			stored, err := f.Tasks.FindTask(t.Context(), task.Type, task.Identifier)
			if err != nil || !slices.Equal(stored.Unserved, want) {
				t.Errorf("unserved %q, %v, want %q", stored.Unserved, err, want)
			}
		}
		aggregate("b", "x")
		f.receive(t, managerA, incoming(task, "b", tasker.Running))
		aggregate("x")
		f.acquire(t, managerA, "x")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "x", tasker.Running))
		for _, endpoint := range []string{"a", "b", "x"} {
			f.finish(t, finish(task, endpoint, 1, tasker.ResultDone))
		}
		aggregate()
		if got := f.status(t, task); got != tasker.Done {
			t.Errorf("the task is %s", got)
		}
	})
}

func TestAggregateAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const n = 20
		f.acquire(t, managerA, "a", "b")
		var ids []int64
		var tasks []tasker.Task
		for i := range n {
			task := f.send(t, fmt.Sprint("task-", i))
			tasks, ids = append(tasks, task), append(ids, task.ID)
		}
		var wg sync.WaitGroup
		for _, endpoint := range []string{"a", "b"} {
			wg.Go(func() {
				for _, task := range tasks {
					_, err := f.Inbox.ReceiveResults(t.Context(), messagesOf(managerA, incoming(task, endpoint, tasker.Running)))
					if err != nil {
						t.Error(err)
					}
					if _, err := f.Attempts.FinishAttempts(t.Context(), []ledger.End{finish(task, endpoint, 1, tasker.ResultDone)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		changed := make(chan int, 2)
		for range 2 {
			wg.Go(func() {
				total := 0
				for range n {
					k, err := f.Statuses.Aggregate(t.Context(), ids, time.Hour)
					if err != nil {
						t.Error(err)
					}
					total += k
				}
				changed <- total
			})
		}
		wg.Wait()
		last, err := f.Statuses.Aggregate(t.Context(), ids, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if total := last + <-changed + <-changed; total != n {
			t.Errorf("%d changes for %d tasks", total, n)
		}
		for _, task := range tasks {
			if got := f.status(t, task); got != tasker.Done {
				t.Errorf("%s is %s", task.Identifier, got)
			}
		}
	})
}

func TestOpenTasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		var sent, seen []int64
		for i := range 5 {
			sent = append(sent, f.send(t, fmt.Sprint("task-", i)).ID)
			if i%2 == 1 {
				f.clock.advance(time.Second)
			}
		}
		f.create(t, "created")
		var after ledger.SentPosition
		for {
			page, err := f.Statuses.OpenTasks(t.Context(), tasker.Sent, after, f.Now(), 2)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, p := range page {
				seen = append(seen, p.ID)
			}
			after = page[len(page)-1]
		}
		if !slices.Equal(seen, sent) {
			t.Errorf("pages hold %v, want %v", seen, sent)
		}
		page, err := f.Statuses.OpenTasks(t.Context(), tasker.Sent, ledger.SentPosition{}, f.Now().Add(-time.Second), 10)
		if err != nil || len(page) != 4 {
			t.Errorf("sent until a second ago: %v, %v", page, err)
		}
	})
}
