// Package model runs tasker at random on the real store, and compares what the
// store does with a small model of the five promises of docs/guarantees.md: two
// APIs with their relays and reconcilers, managers that come, go, crash and
// replace each other, a broker that duplicates, delays and loses messages,
// people who cancel, retry, hold and approve, and a clock. Each call of the store is a step; between any two a crash may erase
// the caller's memory. An answer may be lost, so that the call is repeated. At
// the end all faults end, and every accepted task must end correctly.
//
// It runs on SQLite and, if available, on MySQL or MariaDB. For more and longer
// runs:
//
//	go test ./test/model -rapid.checks 2000 -rapid.steps 150
//
// A failure prints the shortest run found, and the -rapid.seed or
// -rapid.failfile that repeats it.
package model

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// TestMain makes runs longer and fewer than rapid's defaults, unless its flags
// are set: faults that involve several processes need many steps.
func TestMain(m *testing.M) {
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"rapid.checks": "10", "rapid.steps": "80", "rapid.shrinktime": "20s"} {
		if !given[name] {
			if err := flag.Set(name, value); err != nil {
				panic(err)
			}
		}
	}
	goleak.VerifyTestMain(m)
}

// One call of the store at a time, in any order.
func TestAnyOrder(t *testing.T) {
	eachBackend(t, func(t *testing.T, open opener) {
		rapid.Check(t, func(t *rapid.T) {
			w := open(t)
			t.Repeat(w.actions())
			w.heal(t)
		})
	})
}

// Concurrent calls. Their exact answers are not known, but the rows must keep
// the promises. The seed decides what each process does, the scheduler in what
// order.
func TestAtOnce(t *testing.T) {
	rounds, ok := flag.Lookup("rapid.checks").Value.(flag.Getter).Get().(int)
	if !ok {
		t.Fatal("invalid -rapid.checks: not a number")
	}
	eachBackend(t, func(t *testing.T, open opener) {
		for range max(1, rounds/5) {
			seed := rand.Uint64()
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				w := open(t)
				for burst := range uint64(4) {
					w.burst(t, rand.New(rand.NewPCG(seed, burst)))
				}
				w.heal(t)
			})
			if t.Failed() {
				return
			}
		}
	})
}

// step is one action in the world.
type step func(w *world, c chance)

// steps returns the possible steps, repeated by their weight.
func steps() map[string]step {
	all := map[string]step{}
	for _, s := range []struct {
		name   string
		weight int
		do     step
	}{
		{"api", 4, (*world).stepAPI},
		{"relay", 2, (*world).stepRelay},
		{"starter", 1, (*world).stepStarter},
		{"manager", 12, (*world).stepManager},
		{"reconciler", 4, (*world).stepReconciler},
		{"retry", 1, (*world).stepRetry},
		{"cancel", 1, (*world).stepCancel},
		{"rollout", 1, (*world).stepRollout},
		{"new manager", 1, (*world).stepSpawn},
		{"pause", 1, (*world).stepPause},
		{"broker", 2, (*world).stepBroker},
		{"time", 2, (*world).stepTime},
		{"hold", 1, (*world).stepHold},
		{"end of holds", 1, (*world).stepEndHolds},
		{"GET", 1, (*world).observe},
	} {
		for i := range s.weight {
			all[fmt.Sprint(s.name, " ", i)] = s.do
		}
	}
	return all
}

// actions returns the steps in rapid's form, each followed by a check.
func (w *world) actions() map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){}
	for name, do := range steps() {
		actions[name] = func(t *rapid.T) {
			w.mu.Lock()
			defer w.mu.Unlock()
			do(w, drawn(t))
		}
	}
	actions[""] = func(t *rapid.T) {
		w.check()
		w.report(t)
	}
	return actions
}

// drawn returns a chance that rapid can shrink.
func drawn(t *rapid.T) chance {
	return func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) }
}

// report fails the run if a promise was broken.
func (w *world) report(t tb) {
	if len(w.violations) > 0 {
		t.Fatal(strings.Join(w.violations, "\n"))
	}
}

// burst takes steps concurrently.
func (w *world) burst(t tb, random *rand.Rand) {
	all := steps()
	names := slices.Sorted(maps.Keys(all))
	w.alone = false
	var players sync.WaitGroup
	for range 4 {
		own := rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))
		players.Go(func() {
			for range 25 {
				w.mu.Lock()
				all[names[own.IntN(len(names))]](w, func(n int, _ string) int { return own.IntN(n) })
				w.mu.Unlock()
			}
		})
	}
	players.Wait()
	w.mu.Lock()
	w.resumeAll() // in which order they were held and resumed is not known
	w.mu.Unlock()
	w.check()
	if err := w.learn(); err != nil {
		t.Fatal(err)
	}
	w.report(t)
	w.alone = true
}

// stepSpawn starts a manager, perhaps for endpoints that another one serves.
func (w *world) stepSpawn(c chance) {
	alive := 0
	for _, m := range w.managers {
		if !m.gone {
			alive++
		}
	}
	if alive < maxManagers {
		w.spawn(pick(c, [][]string{{"a", "b"}, {"c"}, {"b", "c"}, {"a"}, {"b"}}, "endpoints")...)
	}
}
