package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Every statement for live reports uses an index, and ordered reads use its
// order.
func TestEveryLiveStatementHasItsIndex(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, db, list := listening(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	// Result 50 runs, at e10.
	task := tasker.Task{ID: 50}
	key := tasker.ResultKey{TaskID: task.ID, Endpoint: "e10"}
	_, err := s.Endpoints.AcquireEndpoint(ctx, tasker.Endpoint{Name: "e10", Manager: managerA, TaskTypes: []string{"t1"}}, time.Minute)
	must(err)
	*list = nil
	update := told(task, "e10", 1, 200, 209)
	update.DropFrom, update.DropTo = 20, 40
	must(s.Live.SaveLive(ctx, []ledger.LiveUpdate{update, told(tasker.Task{ID: 51}, "e11", 1, 100, 109)}))
	_, err = s.Results.Attempts(ctx, task.ID, "e10")
	must(err)
	_, err = s.Results.FindResult(ctx, task.ID, "e10")
	must(err)
	_, err = s.Results.TaskResults(ctx, task.ID)
	must(err)
	lines, err := s.Live.LogLines(ctx, task.ID, "e10", 1, 195, 10)
	if must(err); len(lines) == 0 {
		t.Error("there are no lines")
	}
	chunks, err := s.Live.LogChunksAfter(ctx, task.ID, 7, 10)
	if must(err); len(chunks) == 0 {
		t.Error("there are no chunks")
	}
	_, _, _, err = s.Tasks.ChangedTasks(ctx, tasker.ChangePosition{LastModifiedTime: s.Now().Add(-time.Hour), ID: 3}, 10, nil)
	must(err)
	_, err = s.Attempts.AwaitReboot(ctx, key, 1, 2, bootA)
	must(err)
	_, err = s.Attempts.InterruptedWork(ctx, managerA, "e10", 10)
	must(err)
	for range 2 {
		_, err = s.Attempts.ResumeAttempts(ctx, startsOf(managerA, []ledger.Start{
			{ResultKey: key, Attempt: 1},
			{ResultKey: tasker.ResultKey{TaskID: 7, Endpoint: "e7"}, Attempt: 1},
		}))
		must(err)
	}
	_, err = s.Live.ResultNews(ctx, []tasker.ResultKey{key, {TaskID: 7, Endpoint: "e7"}})
	must(err)
	_, err = s.Attempts.FinishAttempts(ctx, []ledger.End{{ResultKey: key, Attempt: 1, State: tasker.Retrying}})
	must(err)

	slices.Sort(*list)
	explained, ordered := 0, 0
	for _, statement := range slices.Compact(*list) {
		if strings.HasPrefix(statement, "INSERT") {
			// Whether it reads.
			var found bool
			if _, statement, found = strings.Cut(statement, " SELECT "); !found {
				continue
			}
			statement, _, _ = strings.Cut("SELECT "+statement, " ON DUPLICATE")
		}
		explained++
		for _, problem := range explain(t, db, statement) {
			t.Errorf("%s:\n%s", problem, statement)
		}
		// The few chunks of a page, and interrupted work, may be sorted.
		if strings.Contains(statement, "ORDER BY") && !strings.Contains(statement, "id IN") && !strings.Contains(statement, " JOIN ") {
			ordered++
			if plan := plan(t, db, statement); strings.Contains(plan, "filesort") {
				t.Errorf("it sorts: %s\n%s", plan, statement)
			}
		}
	}
	if explained < 14 || ordered < 5 {
		t.Errorf("%d statements were explained, %d with an order:\n%s", explained, ordered, strings.Join(*list, "\n"))
	}
}
