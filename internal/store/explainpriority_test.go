package store_test

import (
	"slices"
	"strings"
	"testing"
)

// What waits at an endpoint is read, and counted, in the order of an index: nothing is
// sorted, however much waits.
func TestWaitingWorkIsNotSorted(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, db, list := listening(t)
	for _, statement := range []string{
		"UPDATE task_results SET state = 'RECEIVED', endpoint = 'e7' WHERE task_id <= 1500 AND endpoint LIKE 'e%'",
		"UPDATE task_results SET start_order = 1000 * task_id, retry_time = NOW(6) - INTERVAL 1 DAY",
		"ANALYZE TABLE task_results",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	work, err := s.Attempts.WaitingWork(ctx, "e7", "t1", 10)
	if err != nil || len(work) != 10 {
		t.Fatalf("%d wait, %v", len(work), err)
	}
	if r, err := s.Results.FindResult(ctx, 1000, "e7"); err != nil || r.Position != 334 {
		t.Errorf("position %d, %v", r.Position, err)
	}
	if _, err := s.Endpoints.ReturnFromLost(ctx, []string{"e7"}); err != nil {
		t.Error(err)
	}
	if _, err := s.Attempts.DueWork(ctx, "e7", "t1", 10); err != nil {
		t.Error(err)
	}
	ordered := 0
	for _, statement := range *list {
		if !strings.HasPrefix(statement, "SELECT") || !strings.Contains(statement, "task_results") {
			continue
		}
		for _, problem := range explain(t, db, statement) {
			t.Errorf("%s:\n%s", problem, statement)
		}
		if strings.Contains(statement, "start_order, ") && strings.Contains(statement, "ORDER BY") {
			ordered++
			if plan := plan(t, db, statement); strings.Contains(plan, "filesort") {
				t.Errorf("it sorts: %s\n%s", plan, statement)
			}
		}
	}
	if counted := slices.ContainsFunc(*list, func(s string) bool { return strings.Contains(s, "same_type") }); !counted || ordered < 3 {
		t.Errorf("%d statements have an order, counted %t:\n%s", ordered, counted, strings.Join(*list, "\n"))
	}
}
