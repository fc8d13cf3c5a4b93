package tasker_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker"
)

func TestTaskMoves(t *testing.T) {
	t.Parallel()
	final := []tasker.TaskStatus{tasker.Done, tasker.Failed, tasker.Canceled}
	for _, from := range tasker.TaskStatuses() {
		if !from.Valid() {
			t.Errorf("%s is not valid", from)
		}
		if from.Final() != slices.Contains(final, from) {
			t.Errorf("%s: final is %t", from, from.Final())
		}
		if from.Final() == from.CanMoveTo(tasker.Canceled) {
			t.Errorf("%s: every task that has not ended can be canceled, and no other", from)
		}
		if from.CanRetry() != slices.Contains(tasker.RetriableTaskStatuses(), from) || from.Final() && !from.CanRetry() {
			t.Errorf("%s: it can be retried: %t", from, from.CanRetry())
		}
		for _, to := range tasker.TaskStatuses() {
			if from.CanMoveTo(to) != slices.Contains(tasker.TaskStatusesBefore(to), from) {
				t.Errorf("%s to %s: CanMoveTo and TaskStatusesBefore differ", from, to)
			}
			if from.CanMoveTo(to) && (from == to || from.Final()) {
				t.Errorf("%s moves to %s", from, to)
			}
		}
	}
}

func TestResultMoves(t *testing.T) {
	t.Parallel()
	unfinished := []tasker.ResultState{tasker.Received, tasker.Running, tasker.Retrying, tasker.Lost}
	if got := tasker.UnfinishedResultStates(); !slices.Equal(got, unfinished) {
		t.Errorf("unfinished are %v", got)
	}
	for _, from := range tasker.ResultStates() {
		if !from.Valid() || from.Finished() == slices.Contains(unfinished, from) {
			t.Errorf("%s: valid %t, finished %t", from, from.Valid(), from.Finished())
		}
		for _, to := range tasker.ResultStates() {
			if from.CanMoveTo(to) != slices.Contains(tasker.ResultStatesBefore(to), from) {
				t.Errorf("%s to %s: CanMoveTo and ResultStatesBefore differ", from, to)
			}
			if from.CanMoveTo(to) && (from == to || from.Finished()) {
				t.Errorf("%s moves to %s", from, to)
			}
		}
	}
	for _, s := range tasker.InitialResultStates() {
		if !s.Valid() || s == tasker.ResultDone {
			t.Errorf("a result begins as %s", s)
		}
	}
}

// TestNoStateIsADeadEndOrUnreachable follows the moves from the initial states.
func TestNoStateIsADeadEndOrUnreachable(t *testing.T) {
	t.Parallel()
	tasks := reach([]tasker.TaskStatus{tasker.Scheduled, tasker.Created}, tasker.TaskStatuses(), tasker.TaskStatus.CanMoveTo)
	if len(tasks) != len(tasker.TaskStatuses()) {
		t.Errorf("tasks reach only %v", tasks)
	}
	results := reach(tasker.InitialResultStates(), tasker.ResultStates(), tasker.ResultState.CanMoveTo)
	if len(results) != len(tasker.ResultStates()) {
		t.Errorf("results reach only %v", results)
	}
	for _, s := range tasker.UnfinishedResultStates() {
		ends := reach([]tasker.ResultState{s}, tasker.ResultStates(), tasker.ResultState.CanMoveTo)
		if !slices.Contains(ends, tasker.ResultDone) {
			t.Errorf("%s cannot end well: it reaches %v", s, ends)
		}
	}
}

// reach returns all states that moves lead to from some, these included.
func reach[S comparable](begin, all []S, can func(from, to S) bool) []S {
	reached := slices.Clone(begin)
	for i := 0; i < len(reached); i++ {
		for _, to := range all {
			if can(reached[i], to) && !slices.Contains(reached, to) {
				reached = append(reached, to)
			}
		}
	}
	return reached
}

func TestUnknownStatesGoNowhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.String().Draw(t, "word")
		status, state := tasker.TaskStatus(word), tasker.ResultState(word)
		if !slices.Contains(tasker.TaskStatuses(), status) && (status.Valid() || status.Final() || len(tasker.TaskStatusesBefore(status)) > 0) {
			t.Fatalf("%q passes for a status", word)
		}
		if !slices.Contains(tasker.ResultStates(), state) && (state.Valid() || state.Finished() || len(tasker.ResultStatesBefore(state)) > 0) {
			t.Fatalf("%q passes for a state", word)
		}
	})
}
