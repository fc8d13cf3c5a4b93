package livefeed

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
)

func change(task int64, attempt int, state tasker.ResultState) wire.LiveChange {
	return wire.LiveChange{TaskID: task, Endpoint: "a", Attempt: attempt, State: state}
}

// Changes are published together, at most every 100 ms and maxChanges at once; the
// rest is counted.
func TestChangesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // held while the test looks
		var events []wire.Live
		var times []time.Time
		c := New(func(_ context.Context, key string, body []byte) error {
			event, err := wire.DecodeLive(body)
			if err != nil || key != wire.KeyLive {
				t.Error(key, err)
			}
			mu.Lock()
			defer mu.Unlock()
			events, times = append(events, event), append(times, time.Now())
			return nil
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.Run(ctx); close(done) }()
		synctest.Wait()

		c.Add(change(1, 1, tasker.Running))
		synctest.Wait()
		mu.Lock()
		if len(events) != 1 || len(events[0].Changes) != 1 {
			t.Errorf("a single change waits: %+v", events)
		}
		mu.Unlock()
		for i := range maxChanges + 7 {
			c.Add(change(int64(i), 1, tasker.ResultDone))
		}
		c.Add(change(5, 1, tasker.ResultDone)) // of a result that is in the event already
		synctest.Wait()
		mu.Lock()
		if len(events) != 1 {
			t.Error("the second event came at once")
		}
		mu.Unlock()
		time.Sleep(2 * eventPause)
		synctest.Wait()
		mu.Lock()
		if len(events) != 2 || len(events[1].Changes) != maxChanges || events[1].LeftOut != 7 || times[1].Sub(times[0]) != eventPause {
			t.Errorf("%d events, the second with %d changes, %d left out, %s later", len(events), len(events[1].Changes), events[1].LeftOut,
				times[1].Sub(times[0]))
		}
		mu.Unlock()
		time.Sleep(time.Hour)
		synctest.Wait()
		mu.Lock()
		if len(events) != 2 {
			t.Error("got an event without changes")
		}
		mu.Unlock()
		c.Add(change(1, 1, tasker.ResultDone))
		c.Add(change(2, 1, tasker.ResultDone))
		cancel()
		<-done
		if last := events[len(events)-1]; len(last.Changes) == 0 {
			t.Error("the last changes are not published")
		}
	})
}

func TestMerge(t *testing.T) {
	t.Parallel()
	half, all := &tasker.Progress{Done: 1}, &tasker.Progress{Done: 2}
	for name, test := range map[string]struct{ first, second, want wire.LiveChange }{
		"an end after a begin": {
			change(1, 1, tasker.Running),
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, State: tasker.ResultFailed, Errnr: 3},
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, State: tasker.ResultFailed, Errnr: 3},
		},
		"progress after a begin": {
			change(1, 1, tasker.Running),
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, Progress: half},
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, State: tasker.Running, Progress: half},
		},
		"lines after progress": {
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, Progress: half},
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, Log: true},
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, Progress: half, Log: true},
		},
		"progress after progress and lines": {
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, Progress: half, Log: true},
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, Progress: all},
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, Progress: all, Log: true},
		},
		"another attempt": {
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, State: tasker.Retrying, Progress: all, Log: true},
			change(1, 2, tasker.Running),
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 2, State: tasker.Running, Log: true},
		},
		"a late report of an earlier attempt": {
			change(1, 2, tasker.Running),
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 1, Progress: all, Log: true},
			wire.LiveChange{TaskID: 1, Endpoint: "a", Attempt: 2, State: tasker.Running, Log: true},
		},
	} {
		if got := merge(test.first, test.second); got != test.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, test.want)
		}
	}
}

// BenchmarkChanges measures a change from add to publish.
func BenchmarkChanges(b *testing.B) {
	b.ReportAllocs()
	c := New(func(context.Context, string, []byte) error { return nil }, slog.New(slog.DiscardHandler))
	n := 0
	for b.Loop() {
		c.Add(wire.LiveChange{
			TaskID: int64(n), Type: "job", Identifier: "e7bd91d0-16ad-11e2-892e-0800200c9a66", Endpoint: "console1",
			Attempt: 1, State: tasker.Running,
		})
		if n++; n%maxChanges == 0 {
			c.publish(b.Context())
		}
	}
}
