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

func TestPlanIsTheSeeds(t *testing.T) {
	t.Parallel()
	if a, b := plan(7, 3*time.Minute), plan(7, 3*time.Minute); !slices.Equal(a, b) {
		t.Errorf("one seed gave two plans:\n%v\n%v", a, b)
	}
	if a, b := plan(7, 3*time.Minute), plan(8, 3*time.Minute); slices.Equal(a, b) {
		t.Error("two seeds gave one plan")
	}
}

// TestPlanHasEveryKind: a run of the default length meets every kind of fault,
// and the broker's disk is lost once in a run of any length.
func TestPlanHasEveryKind(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		count := map[action]int{}
		for _, s := range plan(seed, 3*time.Minute) {
			count[s.Do]++
		}
		for do := range kinds() {
			if count[do] == 0 {
				t.Errorf("seed %d: there is no %s", seed, do)
			}
		}
		for _, length := range []time.Duration{5 * time.Second, 20 * time.Second, 3 * time.Minute, 20 * time.Minute} {
			wipes, last := 0, time.Duration(0)
			for _, s := range plan(seed, length) {
				if s.Do == wipeBroker {
					wipes++
				}
				if s.At < last || s.At > length {
					t.Errorf("seed %d: %v is at %v, after %v", seed, s, s.At, last)
				}
				last = s.At
			}
			if wipes != 1 {
				t.Errorf("seed %d, %v: the broker's disk is lost %d times", seed, length, wipes)
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
		t.Errorf("these are planned: %v, and these have a kind: %v", planned, knownActions())
	}
}

func knownActions() map[action]bool {
	known := map[action]bool{}
	for do := range kinds() {
		known[do] = true
	}
	return known
}
