package store_test

import (
	"strings"
	"testing"
)

// A place is taken by indexes, in the order of one of them, however many tasks wait.
func TestTakingUsesIndexes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, db, list := listening(t)
	for _, statement := range []string{
		"UPDATE tasks SET status = 'SENT', places = 1, endpoints = '[]' WHERE type = 't1'",
		"DELETE g FROM task_targets g JOIN tasks t ON t.id = g.task_id WHERE t.type = 't1'",
		"INSERT INTO task_places (task_id, task_type, start_order, untaken, listed) SELECT id, type, id, 1, 0 FROM tasks",
		"INSERT INTO place_claims (task_id, endpoint) SELECT id, 'e8' FROM tasks WHERE type = 't1' AND id < 300",
		"UPDATE endpoints SET manager = '" + managerA + "' WHERE name = 'e7'",
		"ANALYZE TABLE tasks, task_targets, task_places, place_claims, place_candidates",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	*list = nil
	if tasks, err := s.Inbox.TakeTasks(ctx, managerA, "e7", "t1", 3); err != nil || len(tasks) != 3 {
		t.Fatalf("took %v, %v", tasks, err)
	}
	for _, statement := range *list {
		if strings.HasPrefix(statement, "INSERT") || // of a row, which reads none
			!strings.Contains(statement, "task_places") && !strings.Contains(statement, "place_claims") {
			continue
		}
		for _, problem := range explain(t, db, statement) {
			t.Errorf("%s:\n%s", problem, statement)
		}
		if strings.Contains(statement, "p.start_order") {
			if plan := plan(t, db, statement); strings.Contains(plan, "filesort") {
				t.Errorf("it sorts: %s\n%s", plan, statement)
			}
		}
	}
}
