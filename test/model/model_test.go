// Package model plays tasker at random against the real store, and holds what
// the store does against a small model of the five promises of
// docs/guarantees.md: two APIs with their relays and reconcilers, managers
// that come, go, crash and replace each other, a broker that repeats, delays
// and loses messages, and a clock. Each call of the store is a step of its
// own, between any two of which a crash may drop the memory of the one who
// made it; an answer may get lost, so that the call is made again. At the end
// all is healed, and every accepted task must come to its right end.
//
// It runs on SQLite and, where the service is there, on MySQL or MariaDB.
// More runs, and longer ones:
//
//	go test ./test/model -rapid.checks 2000 -rapid.steps 150
//
// A failure prints the shortest run that was found, and the -rapid.seed or
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

// TestMain makes runs longer and fewer than rapid's, unless its flags are
// given: what goes wrong between several takes its time.
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

// Calls of several at once. What each must answer is not known then, but what
// is stored must keep the promises all the same. The seed decides what each
// does, and the scheduler in what order.
func TestAtOnce(t *testing.T) {
	rounds, ok := flag.Lookup("rapid.checks").Value.(flag.Getter).Get().(int)
	if !ok {
		t.Fatal("-rapid.checks is no number")
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

// step is one action of the world.
type step func(w *world, c chance)

// steps returns what may happen, each as often as its weight says.
func steps() map[string]step {
	all := map[string]step{}
	for _, s := range []struct {
		name   string
		weight int
		do     step
	}{
		{"api", 4, (*world).stepAPI},
		{"relay", 2, (*world).stepRelay},
		{"manager", 12, (*world).stepManager},
		{"reconciler", 4, (*world).stepReconciler},
		{"new manager", 1, (*world).stepSpawn},
		{"pause", 1, (*world).stepPause},
		{"broker", 2, (*world).stepBroker},
		{"time", 2, (*world).stepTime},
		{"GET", 1, (*world).observe},
	} {
		for i := range s.weight {
			all[fmt.Sprint(s.name, " ", i)] = s.do
		}
	}
	return all
}

// actions are the steps as rapid takes them, one at a time, and checked.
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

// drawn is the chance that rapid can shrink.
func drawn(t *rapid.T) chance {
	return func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) }
}

// report fails the run where a promise is broken.
func (w *world) report(t tb) {
	if len(w.violations) > 0 {
		t.Fatal(strings.Join(w.violations, "\n"))
	}
}

// burst lets several play at once.
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
	w.check()
	if err := w.learn(); err != nil {
		t.Fatal(err)
	}
	w.report(t)
	w.alone = true
}

// stepSpawn brings a manager, for endpoints that another one may have.
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
