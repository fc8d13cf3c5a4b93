package main

import (
	"maps"
	"slices"
	"testing"
	"time"
)

func plan(seed uint64, length time.Duration) []step {
	return newPlan(seed, length, []string{"api1", "api2"}, []string{"console0", "console1"})
}

func TestPlanDependsOnSeed(t *testing.T) {
	t.Parallel()
	if a, b := plan(7, 3*time.Minute), plan(7, 3*time.Minute); !slices.Equal(a, b) {
		t.Errorf("two plans from one seed:\n%v\n%v", a, b)
	}
	if a, b := plan(7, 3*time.Minute), plan(8, 3*time.Minute); slices.Equal(a, b) {
		t.Error("same plan from two seeds")
	}
}

// A run of default length has every kind of fault, and every run wipes the
// broker's disk once.
func TestPlanHasEveryKind(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		count := map[action]int{}
		for _, s := range plan(seed, 3*time.Minute) {
			count[s.Do]++
		}
		for do := range kinds() {
			if count[do] == 0 {
				t.Errorf("seed %d: no %s", seed, do)
			}
		}
		for _, length := range []time.Duration{5 * time.Second, 20 * time.Second, 3 * time.Minute, 20 * time.Minute} {
			wipes, last := 0, time.Duration(0)
			for _, s := range plan(seed, length) {
				if s.Do == wipeBroker {
					wipes++
				}
				if s.At < last || s.At > length {
					t.Errorf("seed %d: %v at %v, after %v", seed, s, s.At, last)
				}
				last = s.At
			}
			if wipes != 1 {
				t.Errorf("seed %d, %v: the broker's disk is wiped %d times", seed, length, wipes)
			}
		}
	}
}

func TestEveryActionIsKnown(t *testing.T) {
	t.Parallel()
	planned := map[action]bool{wipeBroker: true}
	for _, do := range repeated() {
		planned[do] = true
	}
	if !maps.Equal(planned, knownActions()) {
		t.Errorf("planned actions %v, actions with a kind %v", planned, knownActions())
	}
}

func knownActions() map[action]bool {
	known := map[action]bool{}
	for do := range kinds() {
		known[do] = true
	}
	return known
}
