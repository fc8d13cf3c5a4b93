package store_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/taskerhq/tasker"
)

// The results of a task are read in pages, and counted, also of a task that an
// older program accepted.
func TestResultPages(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		var endpoints []string
		list := "'["
		for i := range 25 {
			endpoints = append(endpoints, fmt.Sprintf("e%02d", i))
			list += fmt.Sprintf(`"e%02d",`, i)
		}
		f.acquire(t, managerA, endpoints...)
		task, old := f.send(t, "new"), f.send(t, "old")
		for _, task := range []tasker.Task{task, old} {
			for i, name := range endpoints[:20] {
				f.receive(t, managerA, incoming(task, name, tasker.Running))
				state := tasker.ResultDone
				if i%2 == 0 {
					state = tasker.ResultFailed
				}
				if i < 19 {
					f.finish(t, finish(task, name, 1, state))
				}
			}
		}
		f.asOld(t, old, list[:len(list)-1]+"]'")
		for _, task := range []tasker.Task{task, old} {
			read := func(q tasker.ResultQuery) (names []string, pages int) {
				for q.TaskID = task.ID; ; {
					results, more, err := f.Results.ResultPage(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range results {
						names = append(names, r.Endpoint)
					}
					if pages++; !more {
						return names, pages
					}
					q.After = names[len(names)-1]
				}
			}
			if got, pages := read(tasker.ResultQuery{Limit: 7}); !slices.Equal(got, endpoints[:20]) || pages != 3 {
				t.Errorf("%d pages have %v", pages, got)
			}
			if got, pages := read(tasker.ResultQuery{Limit: 10, State: tasker.ResultFailed}); len(got) != 10 || got[9] != "e18" || pages != 1 {
				t.Errorf("%d pages of those that failed have %v", pages, got)
			}
			if got, pages := read(tasker.ResultQuery{Limit: 10, MaxBytes: 1, State: tasker.Running}); !slices.Equal(got, []string{"e19"}) ||
				pages != 1 {
				t.Errorf("%d pages of those that run have %v", pages, got)
			}
			first, err := f.Results.MissingEndpoints(t.Context(), task.ID, "", 3)
			rest, err2 := f.Results.MissingEndpoints(t.Context(), task.ID, "e22", 3)
			if err != nil || err2 != nil || !slices.Equal(first, endpoints[20:23]) || !slices.Equal(rest, endpoints[23:]) {
				t.Errorf("missing are %v and %v, %v %v", first, rest, err, err2)
			}
			for limit, names := range map[int]int{2: 2, 5: 5, 100: 5} {
				s, err := f.Results.Summary(t.Context(), task, limit)
				if err != nil || s.Expected != 25 || s.Received != 20 || s.Finished != 19 || s.Failed != 10 || len(s.Missing) != names {
					t.Errorf("with %d names the summary is %+v, %v", limit, s, err)
				}
			}
			view, err := f.Tasks.ViewTask(t.Context(), "worker", task.Identifier)
			if err != nil || view.ID != task.ID || view.Expected != nil || view.Status != tasker.Sent {
				t.Errorf("%+v, %v", view, err)
			}
		}
	})
}
