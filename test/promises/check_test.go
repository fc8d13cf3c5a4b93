package promises

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCleanHistory(t *testing.T) {
	for seed := range uint64(10) {
		h := generate(100, rand.New(rand.NewPCG(seed, 0)).IntN)
		keepHolds(&h)
		keepWaves(&h)
		keepPlaces(&h)
		keepSchedules(&h)
		keepTopics(&h)
		for _, v := range Check(h) {
			t.Errorf("seed %d: promise %d, %s: %s", seed, v.Promise, v.Rule, v.Detail)
		}
	}
}

func TestCleanHistoriesAreNeverViolated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := generate(rapid.IntRange(0, 5).Draw(t, "tasks"), func(n int) int {
			return rapid.IntRange(0, n-1).Draw(t, "choice")
		})
		for _, v := range Check(h) {
			t.Errorf("promise %d, %s: %s", v.Promise, v.Rule, v.Detail)
		}
	})
}

// Faults excuse violations: without its faults, a history has violations.
func TestOnlyFaultsExcuse(t *testing.T) {
	h := generate(500, rand.New(rand.NewPCG(3, 0)).IntN)
	for kind, want := range map[string][]string{
		FaultKill: {"interrupted-without-fault", "lost-done", "lost-failure", "lost-timeout"},
		FaultStop: {"interrupted-without-fault", "lost-timeout", "lost-failure"},
		FaultPause: {
			"interrupted-without-fault", "lost-done", "lost-failure", "lost-timeout",
			"overlapping-runs", "attempts-out-of-order", "run-after-final", "ran-expired",
		},
		FaultTakeover: {"interrupted-without-fault", "lost-timeout", "overlapping-runs"},
	} {
		without := h
		without.Faults = slices.DeleteFunc(slices.Clone(h.Faults), func(f Fault) bool { return f.Kind == kind })
		found := map[string]bool{}
		for _, v := range Check(without) {
			found[v.Rule] = true
			// The time of an attempt that never started is known only roughly:
			// another fault may excuse it, or a run is not late any more.
			if !slices.Contains(want, v.Rule) && v.Rule != "attempt-gap" {
				t.Errorf("without %s: %s: %s", kind, v.Rule, v.Detail)
			}
		}
		for _, rule := range want {
			if !found[rule] {
				t.Errorf("without %s: %s not found", kind, rule)
			}
		}
	}
}

// Overlapping answers have no order.
func TestOverlappingAnswersAreNotCompared(t *testing.T) {
	h := calm()
	first := pick(t, &h, "work", true)
	first.unfinished(stateRunning, 0, 1, statusSent)
	late := &h.Seen[len(h.Seen)-1]
	late.Time, late.Answered = first.a.Answered.Add(-time.Millisecond), first.a.Answered.Add(time.Second)
	if v := Check(h); len(v) > 0 {
		t.Errorf("violations %v", v)
	}
	late.Time = first.a.Answered.Add(time.Millisecond)
	h.Final, h.Seen = append(h.Final, *late), append(h.Seen, *first.a)
	if v := Check(h); !slices.ContainsFunc(v, func(v Violation) bool { return v.Rule == "final-row-changed" }) {
		t.Errorf("consecutive answers: violations %v", v)
	}
}

func TestReport(t *testing.T) {
	h := generate(200, rand.New(rand.NewPCG(5, 0)).IntN)
	keepSchedules(&h)
	r := NewReport(h, []Violation{{Promise: 3, Rule: "lost-done", Detail: "what was lost"}})
	if r.Posted != 200 || r.Accepted < 100 || r.Accepted >= 200 || r.Started < 200 || r.Ended >= r.Started || r.Attempts[2] == 0 {
		t.Errorf("report %+v", r)
	}
	for _, kind := range []string{FaultKill, FaultStop, FaultPause, FaultTakeover} {
		if r.Faults[kind] == 0 {
			t.Errorf("the generator produced no %s", kind)
		}
	}
	for _, state := range []string{stateDone, stateFailed, stateTimedOut} {
		if r.States[state] == 0 {
			t.Errorf("the generator produced no %s", state)
		}
	}
	seen := map[string]bool{}
	for _, a := range h.Seen {
		seen[a.Task.Status] = true
		for _, row := range a.Results {
			seen[row.State] = true
		}
	}
	for _, word := range []string{statusCreated, statusSent, statusIncomplete, stateReceived, stateRunning, stateRetrying, stateLost} {
		if !seen[word] {
			t.Errorf("no answer of the generator has %s", word)
		}
	}
	var out strings.Builder
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, line := range []string{
		"schedules 3 accepted of 4; slots: 3 FIRED, 1 MISSED, 1 SKIPPED_OVERLAP", "violations of promise 3 1",
		"lost-done: what was lost", "violations of promise 1 0",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the report lacks %q:\n%s", line, out.String())
		}
	}
}
