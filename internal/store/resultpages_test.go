package store_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/testservices"
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

// What reading a few results of a task, with their progress, costs does not depend
// on how many the task has.
func TestChangedResultsReadTheirOwnRows(t *testing.T) {
	t.Parallel()
	s, db, list := verbose(t, testservices.MySQL(t))
	const columns = "WITH RECURSIVE n AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM n WHERE i < %[1]d) SELECT %[1]d, CONCAT('e', i), 1"
	for _, size := range []int{10, 990} {
		for _, statement := range []string{
			"INSERT INTO task_results (task_id, endpoint, attempt, state, manager, errnr, errmsg, start_time, last_modified_time) " +
				columns + ", 'RUNNING', '', 0, '', NOW(6), NOW(6) FROM n",
			"INSERT INTO attempts (task_id, endpoint, attempt, progress) " + columns +
				`, '{"done":1,"total":2,"message":"","time":"2015-05-06T01:14:24Z"}' FROM n`,
		} {
			if _, err := db.ExecContext(t.Context(), fmt.Sprintf(statement, size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := db.ExecContext(t.Context(), "ANALYZE TABLE task_results, attempts"); err != nil {
		t.Fatal(err)
	}
	reads := map[int64]int64{}
	for _, task := range []int64{10, 990} {
		*list = nil
		results, err := s.Results.PeekResultsOf(t.Context(), task, []string{"e3", "e7", "none"})
		if err != nil || len(results) != 2 || results[1].Endpoint != "e7" || results[1].Progress == nil || results[1].Progress.Done != 1 {
			t.Fatalf("%+v, %v", results, err)
		}
		reads[task] = handlerReads(t, db, *list)
	}
	if reads[10] != reads[990] || reads[10] > 20 {
		t.Errorf("rows read by the number of results: %v", reads)
	}
}
