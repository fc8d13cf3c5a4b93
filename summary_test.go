package tasker_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/taskerhq/tasker"
)

// situation is a task's endpoints and what they have recorded.
type situation struct {
	expected []string
	outcomes []tasker.Outcome // one for an endpoint at most, as the store has it
}

// situations draws any mixture, with endpoints that are expected, that have
// recorded something, or both.
func situations() *rapid.Generator[situation] {
	return rapid.Custom(func(t *rapid.T) situation {
		var s situation
		for i := range rapid.IntRange(0, 8).Draw(t, "endpoints") {
			name := fmt.Sprintf("console%d", i)
			recorded := rapid.Bool().Draw(t, "recorded")
			if !recorded || rapid.Bool().Draw(t, "expected") {
				s.expected = append(s.expected, name)
			}
			if recorded {
				s.outcomes = append(s.outcomes, tasker.Outcome{
					Endpoint: name, State: rapid.SampledFrom(tasker.ResultStates()).Draw(t, "state"),
				})
			}
		}
		return s
	})
}

func (s situation) summary() tasker.Summary { return tasker.Summarize(s.expected, s.outcomes) }

func statuses() *rapid.Generator[tasker.TaskStatus] { return rapid.SampledFrom(tasker.TaskStatuses()) }

func TestSummarize(t *testing.T) {
	t.Parallel()
	out := func(endpoint string, state tasker.ResultState) tasker.Outcome {
		return tasker.Outcome{Endpoint: endpoint, State: state}
	}
	for name, test := range map[string]struct {
		expected []string
		outcomes []tasker.Outcome
		want     tasker.Summary
	}{
		"nothing": {nil, nil, tasker.Summary{Missing: []string{}}},
		"nobody has answered": {
			[]string{"b", "a", "b"}, nil, tasker.Summary{Expected: 2, Missing: []string{"a", "b"}},
		},
		"all states": {
			[]string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"},
			[]tasker.Outcome{
				out("a", tasker.Received), out("b", tasker.Running), out("c", tasker.Retrying), out("d", tasker.Lost),
				out("e", tasker.ResultDone), out("f", tasker.ResultFailed), out("g", tasker.TimedOut),
				out("h", tasker.ResultCanceled), out("i", tasker.Expired), out("j", tasker.Rejected),
			},
			tasker.Summary{Expected: 11, Received: 10, Finished: 6, Failed: 4, Canceled: 1, Lost: 1, Missing: []string{"k"}},
		},
		"one that was not expected counts as expected": {
			[]string{"a"},
			[]tasker.Outcome{out("b", tasker.ResultDone)},
			tasker.Summary{Expected: 2, Received: 1, Finished: 1, Missing: []string{"a"}},
		},
		"a second row of an endpoint does not count": {
			[]string{"a"},
			[]tasker.Outcome{out("a", tasker.ResultDone), out("a", tasker.ResultDone)},
			tasker.Summary{Expected: 1, Received: 1, Finished: 1, Missing: []string{}},
		},
	} {
		if diff := cmp.Diff(test.want, tasker.Summarize(test.expected, test.outcomes)); diff != "" {
			t.Error(name, diff)
		}
	}
}

func TestSummaryAccountsForEveryEndpoint(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := situations().Draw(t, "situation")
		s := in.summary()
		switch {
		case s.Expected != s.Received+len(s.Missing):
			t.Fatalf("expected %d, received %d, missing %d", s.Expected, s.Received, len(s.Missing))
		case s.Received != len(in.outcomes):
			t.Fatalf("received %d of %d rows", s.Received, len(in.outcomes))
		case s.Failed+s.Canceled > s.Finished || s.Finished+s.Lost > s.Received:
			t.Fatalf("it counts too many: %+v", s)
		case s.Missing == nil || !slices.IsSorted(s.Missing):
			t.Fatalf("missing is %#v", s.Missing)
		}
		for _, endpoint := range in.expected {
			recorded := slices.ContainsFunc(in.outcomes, func(o tasker.Outcome) bool { return o.Endpoint == endpoint })
			if recorded == slices.Contains(s.Missing, endpoint) {
				t.Fatalf("%s has a row: %t; missing: %v", endpoint, recorded, s.Missing)
			}
		}
	})
}

func TestSummaryDependsOnNoOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := situations().Draw(t, "situation")
		shuffled := situation{
			append(rapid.Permutation(in.expected).Draw(t, "expected"), in.expected...), // and on no duplicates
			rapid.Permutation(in.outcomes).Draw(t, "outcomes"),
		}
		if diff := cmp.Diff(in.summary(), shuffled.summary()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestSummarizeLeavesItsInputAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := situations().Draw(t, "situation")
		expected, outcomes := slices.Clone(in.expected), slices.Clone(in.outcomes)
		in.summary()
		if !slices.Equal(expected, in.expected) || !slices.Equal(outcomes, in.outcomes) {
			t.Fatalf("it changed %v, %v", expected, outcomes)
		}
	})
}

func TestNextStatus(t *testing.T) {
	t.Parallel()
	all := tasker.Summary{Expected: 2, Received: 2, Finished: 2}
	one := tasker.Summary{Expected: 2, Received: 1, Finished: 1, Missing: []string{"b"}}
	failed := tasker.Summary{Expected: 2, Received: 2, Finished: 2, Failed: 1}
	canceled := tasker.Summary{Expected: 2, Received: 2, Finished: 2, Canceled: 1}
	both := tasker.Summary{Expected: 2, Received: 2, Finished: 2, Canceled: 1, Failed: 1}
	running := tasker.Summary{Expected: 2, Received: 2, Finished: 1, Failed: 1}
	lost := tasker.Summary{Expected: 2, Received: 2, Finished: 1, Lost: 1}
	for name, test := range map[string]struct {
		current tasker.TaskStatus
		summary tasker.Summary
		overdue bool
		want    tasker.TaskStatus
	}{
		"all well":                           {tasker.Sent, all, false, tasker.Done},
		"one failed":                         {tasker.Sent, failed, false, tasker.Failed},
		"one runs, in time or not":           {tasker.Sent, running, true, tasker.Sent},
		"one is missing, in time":            {tasker.Sent, one, false, tasker.Sent},
		"one is missing, too late":           {tasker.Sent, one, true, tasker.Incomplete},
		"one is lost":                        {tasker.Sent, lost, false, tasker.Incomplete},
		"nobody is expected, in time":        {tasker.Sent, tasker.Summary{}, false, tasker.Sent},
		"nobody is expected, too late":       {tasker.Sent, tasker.Summary{}, true, tasker.Incomplete},
		"the late one came, and runs":        {tasker.Incomplete, running, true, tasker.Incomplete},
		"the late one came, and finished":    {tasker.Incomplete, all, true, tasker.Done},
		"the late one came, and failed":      {tasker.Incomplete, failed, true, tasker.Failed},
		"not sent, though results are there": {tasker.Created, all, true, tasker.Created},
		"canceled, though all finished":      {tasker.Canceled, all, true, tasker.Canceled},
		"canceled for one endpoint":          {tasker.Sent, canceled, false, tasker.Canceled},
		"canceled for one, the other failed": {tasker.Incomplete, both, false, tasker.Failed},
		"canceled, and one failed":           {tasker.Canceling, both, false, tasker.Canceled},
		"canceled, and one runs":             {tasker.Canceling, running, true, tasker.Canceling},
		"canceled, and one is lost":          {tasker.Canceling, lost, true, tasker.Canceling},
		"canceled, but all were done":        {tasker.Canceling, all, false, tasker.Done},
		"canceled, but all had ended":        {tasker.Canceling, failed, false, tasker.Failed},
		"canceled, and nobody is expected":   {tasker.Canceling, tasker.Summary{}, false, tasker.Canceled},
		"no place taken, in time":            {tasker.Sent, tasker.Summary{Expected: 2, Untaken: 2}, false, tasker.Sent},
		"no place taken, too late":           {tasker.Sent, tasker.Summary{Expected: 2, Untaken: 2}, true, tasker.Incomplete},
		"all places closed":                  {tasker.Sent, tasker.Summary{Closed: 2}, false, tasker.Canceled},
		"scheduled":                          {tasker.Scheduled, tasker.Summary{}, true, tasker.Scheduled},
	} {
		if got := tasker.NextStatus(test.current, test.summary, test.overdue); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}

// TestNextStatusIsLegalAndHonest checks every result against what a status
// promises, whatever happened.
func TestNextStatusIsLegalAndHonest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := situations().Draw(t, "situation")
		current, overdue := statuses().Draw(t, "current"), rapid.Bool().Draw(t, "overdue")
		s := in.summary()
		next := tasker.NextStatus(current, s, overdue)
		if next != current && !current.CanMoveTo(next) {
			t.Fatalf("%s to %s is no legal move", current, next)
		}
		if current.Final() && next != current {
			t.Fatalf("%s is final and became %s", current, next)
		}
		if again := tasker.NextStatus(next, s, overdue); again != next {
			t.Fatalf("%s became %s, and then %s of the same results", current, next, again)
		}
		if next == current {
			return
		}
		everyone := s.Expected > 0 && s.Finished == s.Expected
		well := everyone && s.Failed+s.Canceled == 0
		switch next {
		case tasker.Done:
			if !well || len(s.Missing) > 0 || slices.ContainsFunc(in.outcomes, func(o tasker.Outcome) bool { return o.State != tasker.ResultDone }) {
				t.Fatalf("DONE of %+v", in)
			}
		case tasker.Failed:
			if !everyone || s.Failed == 0 {
				t.Fatalf("FAILED of %+v", in)
			}
		case tasker.Canceled:
			if s.Expected > 0 && (!everyone || s.Canceled == 0) || s.Expected == 0 && current != tasker.Canceling {
				t.Fatalf("CANCELED of %+v, which was %s", in, current)
			}
		case tasker.Incomplete:
			if everyone || s.Lost == 0 && !overdue {
				t.Fatalf("INCOMPLETE of %+v", in)
			}
		default:
			t.Fatalf("the results made it %s", next)
		}
	})
}

// TestFinishedTasksEnd: when all endpoints have finished, a sent task ends,
// whatever came before.
func TestFinishedTasksEnd(t *testing.T) {
	t.Parallel()
	finished := slices.DeleteFunc(tasker.ResultStates(), func(s tasker.ResultState) bool { return !s.Finished() })
	rapid.Check(t, func(t *rapid.T) {
		in := situations().Draw(t, "situation")
		for _, endpoint := range in.summary().Missing {
			in.outcomes = append(in.outcomes, tasker.Outcome{Endpoint: endpoint})
		}
		for i := range in.outcomes {
			in.outcomes[i].State = rapid.SampledFrom(finished).Draw(t, "end")
		}
		if len(in.outcomes) == 0 {
			return
		}
		current := rapid.SampledFrom([]tasker.TaskStatus{tasker.Sent, tasker.Incomplete, tasker.Canceling}).Draw(t, "current")
		if next := tasker.NextStatus(current, in.summary(), rapid.Bool().Draw(t, "overdue")); !next.Final() {
			t.Fatalf("all finished, and %s became %s", current, next)
		}
	})
}

// Removed endpoints count nowhere, whatever they recorded.
func TestSummarizeWithoutRemovedEndpoints(t *testing.T) {
	task := tasker.Task{Status: tasker.Incomplete, Expected: []string{"a"}, RemovedEndpoints: []string{"b", "c"}}
	outcomes := []tasker.Outcome{{Endpoint: "a", State: tasker.ResultDone}, {Endpoint: "b", State: tasker.ResultCanceled}}
	s := task.Summarize(outcomes)
	if s.Expected != 1 || s.Received != 1 || s.Finished != 1 || s.Failed != 0 || s.Removed != 2 {
		t.Errorf("%+v", s)
	}
	if next := tasker.NextStatus(task.Status, s, true); next != tasker.Done {
		t.Errorf("it becomes %s", next)
	}
	task.Expected = []string{}
	if next := tasker.NextStatus(task.Status, task.Summarize(outcomes[1:]), false); next != tasker.Canceled {
		t.Errorf("without anybody left it becomes %s", next)
	}
	if next := tasker.NextStatus(tasker.Created, task.Summarize(nil), false); next != tasker.Created {
		t.Errorf("not sent yet, it becomes %s", next)
	}
}
