package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// What a newer task does to the older ones of its topic uses an index, however many tasks
// topics have.
func TestTopicsHaveTheirIndex(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, db, list := listening(t)
	const numbers = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) "
	for _, statement := range []string{
		"INSERT INTO topics (task_type, topic) " + numbers + "SELECT CONCAT('t', i % 3), CONCAT('topic-', i) FROM n",
		"INSERT INTO topic_tasks (task_id, task_type, topic, ended) " + numbers +
			"SELECT i, CONCAT('t', i % 3), CONCAT('topic-', i % 50), IF(i % 50 = 0, 0, 1) FROM n",
		"ANALYZE TABLE topics, topic_tasks",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	task := func(identifier, topic string, endpoints ...string) tasker.Task {
		return tasker.Task{
			Type: "t1", Identifier: identifier, Topic: topic, OnConflict: tasker.ConflictSupersede, Endpoints: endpoints,
		}
	}
	older, _, err := s.Tasks.CreateTask(ctx, task("older", "topic-0"))
	must(err)
	refused := task("refused", "topic-0", "e7")
	refused.OnConflict = tasker.ConflictRefuse
	if err := s.Tasks.CheckTopic(ctx, refused); tasker.CodeOf(err) != tasker.Conflict {
		t.Error(err)
	}
	_, _, err = s.Tasks.CreateTask(ctx, task("newer", "topic-0", "e7", "e10"))
	must(err)
	waves := task("waves", "topic-0", "e7", "e10")
	waves.Rollout = &tasker.Rollout{Settings: settingsOf(t, `{"batch":1}`)}
	_, _, err = s.Tasks.CreateTask(ctx, waves)
	must(err)
	_, _, err = s.Tasks.CreateTask(ctx, task("newest", "topic-0", "e7", "e10"))
	must(err)
	_, err = s.Inbox.ReceiveResults(ctx, []ledger.Incoming{{
		ResultKey: tasker.ResultKey{TaskID: older.ID, Endpoint: "new"}, Type: "t1", Identifier: "older", State: tasker.Received,
	}})
	must(err)
	_, err = s.Attempts.StartAttempts(ctx, []ledger.Start{{ResultKey: tasker.ResultKey{TaskID: older.ID, Endpoint: "e7"}, Manager: "m"}})
	must(err)
	_, _, err = s.Retention.PurgeTasks(ctx, "t1", s.Now().Add(time.Hour), nil, 10)
	must(err)
	explained := 0
	slices.Sort(*list)
	for _, statement := range slices.Compact(*list) {
		of := strings.Contains(statement, "topic_tasks") || strings.Contains(statement, "superseded_by") || strings.Contains(statement, "`topics`")
		if !of || strings.HasPrefix(statement, "INSERT") && !strings.Contains(statement, " SELECT ") {
			continue
		}
		explained++
		for _, problem := range explain(t, db, statement) {
			t.Errorf("%s:\n%s", problem, statement)
		}
	}
	if explained < 9 {
		t.Errorf("only %d statements were explained:\n%s", explained, strings.Join(*list, "\n"))
	}
}
