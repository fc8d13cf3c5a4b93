package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
)

// counted is what a count says, such as "CREATED 3, FAILED 1+", without what is zero.
func counted(counts tasker.TaskCounts) string {
	var list []string
	total, atLeast := 0, false
	for _, c := range counts.Statuses {
		total, atLeast = total+c.Count, atLeast || c.AtLeast
		if c.Count > 0 || c.AtLeast {
			list = append(list, fmt.Sprint(c.Status, " ", c.Count)+map[bool]string{true: "+"}[c.AtLeast])
		}
	}
	if total != counts.Total || atLeast != counts.AtLeast {
		list = append(list, fmt.Sprintf("but %d, %t in all", counts.Total, counts.AtLeast))
	}
	return strings.Join(list, ", ")
}

// A count says how many there are, or that it did not look at all of them.
func TestCountTasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		if err := f.SyncClock(t.Context()); err != nil { // before the first time is read
			t.Fatal(err)
		}
		begun := f.Now()
		for i := range 6 {
			if i == 4 {
				f.clock.advance(3 * time.Hour)
			}
			labels := map[string]string{"n": fmt.Sprint(i % 2), "all": ""}
			task, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
				Type: "worker", Identifier: fmt.Sprint("w", i), Payload: []byte(fmt.Sprintf(`"text %d"`, i)), Endpoints: []string{"a"}, Labels: labels,
			})
			if err != nil {
				t.Fatal(err)
			}
			if i < 2 {
				if _, err := f.Outbox.MarkSent(t.Context(), task, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{Type: "backup", Identifier: "b", Endpoints: []string{"a"}}); err != nil {
			t.Fatal(err)
		}
		worker, both := []string{"worker"}, []string{"backup", "worker"}
		sent := []tasker.TaskStatus{tasker.Sent, tasker.Failed}
		with := func(s string) []tasker.LabelFilter { return []tasker.LabelFilter{tasker.ParseLabelFilter(s)} }
		for name, c := range map[string]struct {
			q     tasker.TaskSearch
			tasks int
			limit time.Duration
			want  string
		}{
			"all":                    {tasker.TaskSearch{Types: both}, 5, time.Hour, "CREATED 5, SENT 2"},
			"more of a status":       {tasker.TaskSearch{Types: both}, 4, time.Hour, "CREATED 4+, SENT 2"},
			"more of both":           {tasker.TaskSearch{Types: both}, 1, time.Hour, "CREATED 1+, SENT 1+"},
			"a type":                 {tasker.TaskSearch{Types: worker}, 5, time.Hour, "CREATED 4, SENT 2"},
			"statuses":               {tasker.TaskSearch{Types: both, Statuses: sent}, 5, time.Hour, "SENT 2"},
			"no time":                {tasker.TaskSearch{Types: both, Statuses: sent}, 5, 0, "SENT 0+, FAILED 0+"},
			"regardless of a page":   {tasker.TaskSearch{Types: both, Before: 1, Limit: 1, MaxBytes: 1}, 5, time.Hour, "CREATED 5, SENT 2"},
			"a label":                {tasker.TaskSearch{Types: both, Labels: with("n=0")}, 5, time.Hour, "CREATED 2, SENT 1"},
			"a label, all looked at": {tasker.TaskSearch{Types: worker, Labels: with("all")}, 7, time.Hour, "CREATED 4, SENT 2"},
			"a label, more": {
				tasker.TaskSearch{Types: worker, Labels: with("all"), Statuses: []tasker.TaskStatus{tasker.Created, tasker.Done}},
				3, time.Hour, "CREATED 3+, DONE 0+",
			},
			"a label, no time":     {tasker.TaskSearch{Types: worker, Labels: with("all"), Statuses: sent}, 7, 0, "SENT 0+, FAILED 0+"},
			"no such label":        {tasker.TaskSearch{Types: both, Labels: with("none")}, 5, time.Hour, ""},
			"a window of time":     {tasker.TaskSearch{Types: both, CreatedSince: begun.Add(time.Hour)}, 9, time.Hour, "CREATED 3"},
			"nothing in a window":  {tasker.TaskSearch{Types: both, Since: begun.Add(4 * time.Hour)}, 9, time.Hour, ""},
			"a text":               {tasker.TaskSearch{Types: both, Text: "text 1"}, 9, time.Hour, "SENT 1"},
			"an endpoint and more": {tasker.TaskSearch{Types: both, Endpoint: "a", Prefix: "w"}, 9, time.Hour, "CREATED 4, SENT 2"},
		} {
			counts, err := store.CountTasks(t.Context(), f.Store, c.q, c.tasks, c.limit)
			if got := counted(counts); err != nil || got != c.want {
				t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
			}
		}
		counts, err := f.Tasks.CountTasks(t.Context(), tasker.TaskSearch{Types: both})
		if err != nil || len(counts.Statuses) != len(tasker.TaskStatuses()) {
			t.Errorf("%s, %v", counted(counts), err)
		}
		counts, err = f.Tasks.CountTasks(t.Context(), tasker.TaskSearch{Types: both, Statuses: sent, Labels: with("none")})
		if err != nil || len(counts.Statuses) != 2 || counts.Statuses[0].Status != tasker.Sent || counts.Statuses[1].Status != tasker.Failed {
			t.Errorf("%+v, %v", counts, err)
		}
	})
}

// A count goes on where a window ends.
func TestCountTasksInWindows(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const n = 2*store.TextWindow + 10
		for i := range n {
			if _, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: fmt.Sprint(i), Payload: []byte(fmt.Sprintf(`"%d"`, i%10))}); err != nil {
				t.Fatal(err)
			}
		}
		for looked, want := range map[int]string{
			n + 1: "CREATED 21", n - 1: "CREATED 20+", store.TextWindow: "CREATED 10+", store.TextWindow + 10: "CREATED 11+",
		} {
			counts, err := store.CountTasks(t.Context(), f.Store, tasker.TaskSearch{
				Types: []string{"worker"}, Statuses: []tasker.TaskStatus{tasker.Created}, Text: `"0"`,
			}, looked, time.Hour)
			if got := counted(counts); err != nil || got != want {
				t.Errorf("of %d tasks: %s, %v, want %s", looked, got, err, want)
			}
		}
	})
}
