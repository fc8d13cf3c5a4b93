package store_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/rollout"
)

// A process that dies between "wave closed" and "next opened", or at any other decision, leaves
// a rollout that another one goes on with: no endpoint is skipped, none is sent to twice.
func TestRolloutCrash(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for dies := range 6 {
			fl := f.rollAt(t, 6, fmt.Sprint("crash", dies), `{"batch":[1,3,"100%"],"approve":[3]}`)
			ending := map[int][]string{1: {"e01"}, 2: {"e02", "e03"}, 3: {"e04", "e05", "e06"}}
			decisions := 0
			for wave := 1; wave <= 3; wave++ {
				for _, name := range ending[wave] {
					fl.get(t, tasker.Running, name)
					f.finish(t, finish(fl.task, name, 1, tasker.ResultDone))
				}
				for {
					a, err := f.Rollouts.Advance(t.Context(), fl.task.ID, waveWait)
					if err != nil {
						t.Fatal(err)
					}
					if a.Changed {
						decisions++
					}
					if decisions == dies+1 && a.Changed {
						fl.crash(t)
						break
					}
					fl.follow(t, a)
					if !a.Changed {
						break
					}
				}
				fl.advance(t)
				if _, r := fl.found(t); r.State == string(rollout.WaitingApproval) {
					fl.approve(t, 0, true)
				}
			}
			fl.want(t, rollout.Done, 3, 6)
		}
	})
}

// crash forgets what was to follow: the relay does it when the claim has expired.
func (f *fleet) crash(t *testing.T) {
	t.Helper()
	f.clock.advance(time.Minute / 2)
	f.acquire(t, managerA, f.names...)
	f.relay(t)
}

// relay sends what is left of opened waves, as the relay of another process.
func (f *fleet) relay(t *testing.T) {
	t.Helper()
	claims, err := f.Outbox.ClaimWaves(t.Context(), 10, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, claim := range claims {
		f.deliver(t, claim)
	}
}

// A process that dies while it sends a wave: what it stored is not sent again. Its attempt
// is over once another one has begun.
func TestRolloutSendIsResumed(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 8, `{"batch":[1,"100%"]}`)
		fl.get(t, tasker.Running, "e01")
		f.finish(t, finish(fl.task, "e01", 1, tasker.ResultDone))
		var claim ledger.WaveClaim
		for claim.Attempt == 0 {
			a, err := f.Rollouts.Advance(t.Context(), fl.task.ID, waveWait)
			if err != nil {
				t.Fatal(err)
			}
			claim = a.Send
		}
		wave, current, err := f.Outbox.NextWave(t.Context(), claim, time.Minute, 3)
		if err != nil || !current || !slices.Equal(wave.Endpoints, []string{"e02", "e03", "e04"}) {
			t.Fatalf("%+v, %v, %v", wave, current, err)
		}
		if err := f.Outbox.SaveWave(t.Context(), claim, wave.Endpoints, []string{"e03"}); err != nil {
			t.Fatal(err)
		}
		fl.sent = append(fl.sent, wave.Endpoints...)
		fl.relay(t)
		if len(fl.sent) != 4 {
			t.Errorf("sent to %v although the claim has not expired", fl.sent)
		}
		f.clock.advance(time.Minute)
		fl.relay(t)
		fl.want(t, rollout.Running, 2, 8)
		if _, current, err := f.Outbox.NextWave(t.Context(), claim, time.Minute, 3); current || err != nil {
			t.Errorf("the first attempt goes on: %v", err)
		}
		if err := f.Outbox.ReleaseWave(t.Context(), claim, 0); err != nil {
			t.Fatal(err)
		}
		fl.relay(t) // the release of an older attempt has no effect
		if task := f.find(t, fl.task); !slices.Equal(task.Unserved, []string{"e03"}) || len(fl.sent) != 8 {
			t.Errorf("unserved: %v, sent to %v", task.Unserved, fl.sent)
		}
	})
}

// With splay each endpoint becomes a target, and gets the task, when its own delay has
// passed; a pause keeps those that are left.
func TestRolloutSplay(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 6, `{"batch":["100%"],"splay":"1m","seed":"x"}`)
		s, err := rollout.Decode([]byte(`{"batch":1,"splay":"1m","seed":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		due := func() (n int) {
			for _, name := range fl.names {
				if !f.Now().Before(fl.task.StartTime.Add(s.Delay(name))) {
					n++
				}
			}
			return n
		}
		for range 60 {
			if task := f.find(t, fl.task); len(fl.sent) != due() || len(task.Expected) != due() {
				t.Fatalf("%d are due, sent to %v, expected %v", due(), fl.sent, task.Expected)
			}
			if due() > 2 && due() < 6 {
				break
			}
			f.clock.advance(time.Second)
			fl.advance(t)
			fl.relay(t)
		}
		n := len(fl.sent)
		f.hold(t, taskSubject(fl.task), tasker.Expiry{})
		fl.after(t, time.Minute)
		fl.relay(t)
		if len(fl.sent) != n {
			t.Errorf("sent to %v while it was paused", fl.sent[n:])
		}
		fl.resume(t, false, true)
		fl.relay(t)
		if len(fl.sent) != 6 {
			t.Errorf("sent to %v", fl.sent)
		}
	})
}

// Two processes advance at once, while results end: no endpoint is skipped, none is opened or
// sent to twice, and each version was stored once.
func TestRolloutTwoAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const n = 12
		fl := f.roll(t, n, `{"batch":[1,3,7,"100%"]}`)
		fl.sent = nil
		other := open(t, f.uri)
		other.clock.now = f.clock.now
		var mu sync.Mutex
		changes := map[string]int{}
		sends := map[int]int{}
		begun := 0
		for begun < n {
			for _, name := range fl.names {
				if f.count(t, fmt.Sprintf("task_targets WHERE task_id = %d AND endpoint = '%s'", fl.task.ID, name)) == 1 &&
					f.count(t, fmt.Sprintf("task_results WHERE task_id = %d AND endpoint = '%s'", fl.task.ID, name)) == 0 {
					fl.get(t, tasker.Running, name)
					f.finish(t, finish(fl.task, name, 1, tasker.ResultDone))
					begun++
				}
			}
			var group sync.WaitGroup
			for _, one := range []fixture{f, other, f, other} {
				group.Go(func() {
					for range 20 {
						a, err := one.Rollouts.Advance(t.Context(), fl.task.ID, waveWait)
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						if a.Changed {
							changes[fmt.Sprint(a.State, a.Wave)]++
						}
						if a.Send.Attempt > 0 {
							sends[a.Send.Attempt]++
						}
						mu.Unlock()
						if !a.Changed {
							return
						}
					}
				})
			}
			group.Wait()
			f.clock.advance(time.Minute)
			other.clock.now = f.clock.now
			f.acquire(t, managerA, fl.names...)
			fl.relay(t)
			if t.Failed() {
				return
			}
		}
		for attempt, times := range sends {
			if times != 1 {
				t.Errorf("attempt %d was made %d times", attempt, times)
			}
		}
		if got := slices.Sorted(slices.Values(fl.sent)); !slices.Equal(got, fl.names[1:]) {
			t.Errorf("sent to %v", got)
		}
		if _, r := fl.found(t); r.State != string(rollout.Done) || r.Wave != 4 {
			t.Errorf("%+v, %v", r, changes)
		}
	})
}
