package store_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/testservices"
)

// statements is a log handler that collects the statements of a verbose store.
type statements struct {
	slog.Handler
	mu   *sync.Mutex
	list *[]string
}

func (h statements) Enabled(context.Context, slog.Level) bool { return true }

func (h statements) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "sql" {
			h.mu.Lock()
			*h.list = append(*h.list, a.Value.String())
			h.mu.Unlock()
		}
		return true
	})
	return nil
}

// listening returns a store with tables large enough for indexes, a session of
// its database, and a list that collects the store's statements.
func listening(t *testing.T) (*store.Store, *sql.DB, *[]string) {
	t.Helper()
	s, db, list := verbose(t, testservices.MySQL(t))
	fill(t, db)
	*list = nil
	return s, db, list
}

// verbose returns a store with an empty schema, a session of its database, and
// a list that collects the store's statements.
func verbose(t *testing.T, uri string) (*store.Store, *sql.DB, *[]string) {
	t.Helper()
	list := new([]string)
	log := slog.New(statements{slog.DiscardHandler, &sync.Mutex{}, list})
	s, err := store.Open(store.Config{URI: uri, Verbose: true}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	storetest.Migrate(t, s)
	*list = nil
	return s, raw(t, uri), list
}

// Every statement uses an index, whatever the tables contain.
func TestEveryStatementHasItsIndex(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, db, list := listening(t)

	now := s.Now()
	key := tasker.ResultKey{TaskID: 7, Endpoint: "e7"}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	task, _, err := s.Tasks.CreateTask(ctx, tasker.Task{Type: "t1", Identifier: "new"})
	must(err)
	_, _, err = s.Tasks.CreateTask(ctx, tasker.Task{Type: "t1", Identifier: "new"})
	must(err)
	_, _, err = s.Tasks.CreateTask(ctx, tasker.Task{Type: "t1", Identifier: "listed", Endpoints: []string{"e7", "e8"}})
	must(err)
	_, err = db.ExecContext(ctx, "UPDATE tasks SET targets = NULL, expected = '[\"e7\"]' WHERE id IN (50, 100)")
	must(err)
	must(s.Statuses.ConvertTasks(ctx))
	_, err = s.Outbox.MarkSent(ctx, task, nil)
	must(err)
	must(s.Outbox.ReleaseTask(ctx, ledger.Release{TaskID: 3, Attempt: 1}))
	must(s.Outbox.RenewUnsent(ctx, 3, 1, time.Minute))
	must(s.Outbox.SaveSent(ctx, ledger.Unsent{Task: tasker.Task{ID: 3}, Attempt: 1, SentTo: "a"}, time.Minute))
	_, _, err = s.Inspection.RefusedTasks(ctx, 10)
	must(err)
	_, err = s.Outbox.RegisteredEndpoints(ctx, "t1", nil)
	must(err)
	_, err = s.Outbox.RegisteredEndpoints(ctx, "t1", []string{"e7", "e8"})
	must(err)
	_, err = s.Outbox.ClaimUnsent(ctx, 10, time.Minute)
	must(err)
	for _, later := range []tasker.Task{
		{Identifier: "all"},
		{Identifier: "both", Endpoints: []string{"e7", "e8"}},
		{Identifier: "chosen", Limit: "1"},
		{Identifier: "failed", Limit: "1"},
		{Identifier: "last", Start: tasker.Start{In: time.Hour}},
	} {
		later.Type, later.Status = "t1", tasker.Scheduled
		_, _, err = s.Tasks.CreateTask(ctx, later)
		must(err)
	}
	_, _, err = s.Schedule.NextStart(ctx)
	must(err)
	_, err = s.Tasks.Reschedule(ctx, "t1", "last", tasker.Start{In: time.Minute})
	must(err)
	started, choosing, err := s.Schedule.StartDue(ctx, 10, time.Minute)
	must(err)
	if len(started) != 2 || len(choosing) != 2 {
		t.Fatalf("started %v, choosing %v", started, choosing)
	}
	_, _, err = s.Schedule.StartChosen(ctx, choosing[0], []string{"e7"}, 2)
	must(err)
	_, err = s.Schedule.FailScheduled(ctx, choosing[1], "")
	must(err)
	_, err = db.ExecContext(ctx, "UPDATE tasks SET not_after = NOW(6) - INTERVAL 1 DAY, expire_time = not_after WHERE id IN (50, 51, 100)")
	must(err)
	_, err = s.Expiry.ExpireTasks(ctx, 10)
	must(err)
	_, err = s.Tasks.FindTask(ctx, "t1", "new")
	must(err)
	_, err = s.Results.TaskResults(ctx, 7)
	must(err)
	_, err = s.Tasks.PeekTask(ctx, "t1", "new", 10)
	must(err)
	_, err = s.Results.PeekResults(ctx, 7, 10)
	must(err)
	_, err = s.Tasks.ViewTask(ctx, "t1", "new")
	must(err)
	_, _, err = s.Results.ResultPage(ctx, tasker.ResultQuery{TaskID: 7, State: tasker.ResultDone, After: "a", Limit: 10})
	must(err)
	_, err = s.Results.MissingEndpoints(ctx, 7, "a", 10)
	must(err)
	_, err = s.Results.Summary(ctx, tasker.Task{ID: task.ID}, 0)
	must(err)
	_, err = s.Results.ResultsOf(ctx, 7, []string{"e7", "f7"})
	must(err)
	_, err = s.Results.PeekResultsOf(ctx, 7, []string{"e7", "f7"})
	must(err)
	_, _, err = s.Tasks.ListTasks(ctx, tasker.TaskQuery{Type: "t1", Before: 900, Limit: 10})
	must(err)
	_, _, err = s.Tasks.ListTasks(ctx, tasker.TaskQuery{Type: "t1", Status: tasker.Failed, Limit: 10})
	must(err)
	for _, q := range []tasker.TaskSearch{
		{Types: []string{"t1"}},
		{Types: []string{"t1", "t2"}, Statuses: []tasker.TaskStatus{tasker.Failed, tasker.Incomplete}, Prefix: "a", Before: 900},
		{Types: []string{"t1"}, Endpoint: "e7", Since: now.Add(-time.Hour), Text: "no space"},
		{Types: []string{"t1"}, Labels: []tasker.LabelFilter{label("ticket=5"), label("customer")}},
		{Types: []string{"t1"}, Labels: []tasker.LabelFilter{label("customer=3"), label("ticket=5")}},
		{Types: []string{"t1", "t2"}, Labels: []tasker.LabelFilter{label("customer")}, Before: 900},
		{Types: []string{"t1"}, Labels: []tasker.LabelFilter{label("customer")}, Endpoint: "e7"},
		{Types: []string{"t1"}, Labels: []tasker.LabelFilter{label("ticket=5")}, Endpoint: "e7"},
		{Types: []string{"t1"}, Since: now.Add(-time.Hour), Until: now, CreatedSince: now.Add(-time.Hour), CreatedUntil: now},
	} {
		q.Limit = 10
		_, _, err = s.Tasks.SearchTasks(ctx, q)
		must(err)
		_, err = s.Tasks.CountTasks(ctx, q)
		must(err)
	}
	_, err = s.Endpoints.AcquireEndpoint(ctx, tasker.Endpoint{Name: "e7", Manager: managerA, TaskTypes: []string{"t1"}}, time.Minute)
	must(err)
	_, err = s.Endpoints.Heartbeat(ctx, managerA, []string{"e7"}, time.Minute)
	must(err)
	_, err = s.Endpoints.RenewLeases(ctx, []ledger.Renewal{
		{Endpoint: "e7", Manager: managerA, Lease: time.Minute}, {Endpoint: "e8", Manager: managerB, Lease: time.Minute},
	})
	must(err)
	_, err = s.Inbox.ResultPayload(ctx, tasker.ResultKey{TaskID: 7, Endpoint: "e7"})
	if tasker.CodeOf(err) != tasker.NotFound {
		must(err)
	}
	_, err = s.Endpoints.CountSeen(ctx, time.Now().Add(-time.Hour))
	must(err)
	_, err = s.Endpoints.ListEndpoints(ctx, tasker.EndpointQuery{TaskType: "t1", After: "e3", Limit: 10})
	must(err)
	_, err = s.Endpoints.ListEndpoints(ctx, tasker.EndpointQuery{Names: []string{"e1", "e7"}, Recent: true, Brief: true, Limit: 10})
	must(err)
	message := ledger.Incoming{
		ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "e7"}, Type: "t1", Identifier: "new",
		State: tasker.Received,
	}
	for range 2 {
		_, err = s.Inbox.ReceiveResults(ctx, messagesOf(managerA, message))
		must(err)
	}
	for range 2 {
		_, err = s.Attempts.StartAttempts(ctx, startsOf(managerA, []ledger.Start{{ResultKey: message.ResultKey}, {ResultKey: key, Attempt: 9}}))
		must(err)
	}
	_, err = s.Attempts.ReturnAttempts(ctx, startsOf(managerA, []ledger.Start{
		{ResultKey: message.ResultKey, Attempt: 1}, {ResultKey: key, Attempt: 9},
	}))
	must(err)
	_, err = s.Attempts.FinishAttempts(ctx, []ledger.End{
		{ResultKey: message.ResultKey, Attempt: 1, State: tasker.ResultDone},
		{ResultKey: key, Attempt: 9, State: tasker.ResultDone},
	})
	must(err)
	_, err = s.Attempts.WaitingWork(ctx, "e7", "t1", 10)
	must(err)
	_, err = s.Attempts.DueWork(ctx, "e7", "t1", 10)
	must(err)
	_, _, err = s.Attempts.NextRetry(ctx, "e7", "t1")
	must(err)
	_, err = s.Attempts.UnfinishedWork(ctx, managerA, "e7")
	must(err)
	_, err = s.Attempts.InterruptedWork(ctx, managerA, "e7", 10)
	must(err)
	_, _, err = s.Inbox.UnreceivedTasks(ctx, "e7", []string{"t1", "t2"}, time.Time{}, ledger.SentPosition{}, 10)
	must(err)
	_, _, err = s.Inbox.UnreceivedTasks(ctx, "e7", []string{"t1", "t2"}, now.Add(-time.Hour), ledger.SentPosition{}, 10)
	must(err)
	for _, holder := range []string{managerA, managerB} {
		_, err = s.Leases.TakeLease(ctx, "sweep", holder, time.Minute)
		must(err)
	}
	must(s.Leases.ReleaseLease(ctx, "sweep", managerA))
	_, err = s.Endpoints.MarkLost(ctx, now.Add(-time.Hour), 10)
	must(err)
	_, err = s.Endpoints.ReturnFromLost(ctx, []string{"e7"})
	must(err)
	_, err = s.Statuses.OpenTasks(ctx, tasker.Sent, ledger.SentPosition{SentTime: now.Add(-time.Hour), ID: 3}, now, 10)
	must(err)
	_, err = s.Statuses.LookAtTasks(ctx, []int64{7, task.ID}, time.Hour)
	must(err)
	_, err = s.Statuses.Aggregate(ctx, []int64{7, task.ID}, time.Hour)
	must(err)
	_, err = s.Attempts.CanceledWork(ctx, managerA, "e7", 10)
	must(err)
	_, err = s.Cancels.CancelTask(ctx, tasker.CancelRequest{Type: "t1", Identifier: "listed", Endpoints: []string{"e8"}})
	must(err)
	_, err = s.Cancels.CancelTask(ctx, tasker.CancelRequest{Type: "t1", Identifier: "listed"})
	must(err)
	_, err = s.Attempts.FinishAttempts(ctx, []ledger.End{{ResultKey: key, Attempt: 1, State: tasker.Retrying}})
	must(err)
	_, err = s.Endpoints.CommandMark(ctx)
	must(err)
	_, err = s.Endpoints.CommandsAt(ctx, []string{"e7", "e8"})
	must(err)
	_, err = db.ExecContext(ctx, "UPDATE tasks SET cancellation = '{}' WHERE id = 4")
	must(err)
	_, err = db.ExecContext(ctx, "UPDATE task_results SET lost_from = 'RUNNING' WHERE task_id = 54 AND state = 'LOST'")
	must(err)
	for _, retry := range []tasker.RetryRequest{
		{Type: "t1", Identifier: "id-4", Class: tasker.RetryAll, Key: "k", Expires: tasker.Expiry{After: time.Hour}},
		{Type: "t1", Identifier: "id-4", Class: tasker.RetryAll, Key: "k", Expires: tasker.Expiry{After: time.Hour}},
		{Type: "t0", Identifier: "id-54", Class: tasker.RetryUnfinished},
		{Type: "t1", Identifier: "listed", Endpoints: []string{"e8"}},
	} {
		_, err = s.Rounds.RetryTask(ctx, retry)
		must(err)
	}
	_, _, err = s.Inbox.UnreceivedTasks(ctx, "e7", []string{"t0", "t1"}, now, ledger.SentPosition{SentTime: now}, 10)
	must(err)
	for _, subject := range []tasker.HoldSubject{{TaskType: "t1", Identifier: "last"}, {TaskType: "t1"}, {Endpoint: "e7"}} {
		_, err = s.Holds.Hold(ctx, tasker.HoldRequest{HoldSubject: subject, Until: tasker.Expiry{After: time.Hour}})
		must(err)
		_, err = s.Results.Summary(ctx, tasker.Task{ID: 53, Type: "t" + strconv.Itoa(len(subject.Endpoint))}, 0)
		must(err)
		_, _, err = s.Holds.Resume(ctx, subject)
		must(err)
	}
	_, err = s.Endpoints.HoldsAt(ctx, []string{"e7", "e8"})
	must(err)
	_, _, err = s.Holds.HoldsOf(ctx, "t1", nil)
	must(err)
	_, _, err = s.Holds.HoldsOf(ctx, "t1", []string{"e7"})
	must(err)
	_, err = s.Holds.HeldTypes(ctx)
	must(err)
	_, err = s.Holds.EndHolds(ctx, 10)
	must(err)
	must(explainRollouts(t, s))
	must(s.Endpoints.ReleaseEndpoints(ctx, managerA, []string{"e7"}))
	_, err = s.Tokens.AddToken(ctx, "new", hash(1))
	must(err)
	_, err = s.Tokens.RotateToken(ctx, "e7", hash(2), time.Hour)
	must(err)
	_, err = s.Tokens.FindTokens(ctx, [][]byte{hash(1), hash(2)})
	must(err)
	_, err = s.Tokens.Revision(ctx)
	must(err)
	_, err = s.Tokens.ListTokens(ctx, 400, 10)
	must(err)
	must(s.Tokens.UseTokens(ctx, []int64{7}, "2026-05-06"))
	removal, err := s.Removals.RemoveEndpoint(ctx, "e7")
	must(err)
	_, err = s.Removals.DetachEndpoint(ctx, removal)
	must(err)
	must(s.Removals.EndRemoval(ctx, removal))
	_, err = s.DeadLetters.StoreDeadLetter(ctx, tasker.DeadLetter{Key: "k"})
	must(err)
	for _, before := range []int64{0, 900} {
		_, err = s.DeadLetters.ListDeadLetters(ctx, tasker.DeadLetterQuery{Before: before, Limit: 10})
		must(err)
	}
	_, err = s.DeadLetters.FindDeadLetter(ctx, 7)
	must(err)
	must(s.DeadLetters.DeleteDeadLetter(ctx, 7))
	_, err = s.Inspection.Unsent(ctx, now)
	must(err)
	_, err = s.Inspection.Overdue(ctx, now.Add(-time.Minute))
	must(err)
	_, _, err = s.Inspection.IncompleteTasks(ctx, 10)
	must(err)
	_, _, err = s.Inspection.LostResults(ctx, 10)
	must(err)
	_, err = s.Inspection.CountDeadLetters(ctx)
	must(err)
	_, err = s.Inspection.Census(ctx, []string{"t0", "t1", "t2"}, now)
	must(err)

	slices.Sort(*list)
	explained := 0
	for _, statement := range slices.Compact(*list) {
		verb, _, _ := strings.Cut(statement, " ")
		if verb == "INSERT" && !strings.Contains(statement, " SELECT ") {
			continue
		}
		explained++
		for _, problem := range explain(t, db, statement) {
			t.Errorf("%s:\n%s", problem, statement)
		}
	}
	if explained < 25 {
		t.Errorf("only %d statements were explained", explained)
	}
}

// explainRollouts has the store make the statements of rollouts.
func explainRollouts(t *testing.T, s *store.Store) error {
	t.Helper()
	ctx := t.Context()
	var errs []error
	must := func(err error) { errs = append(errs, err) }
	waves := &tasker.Rollout{Settings: settingsOf(t,
		`{"batch":1,"order":"label:zone","skip_silent":"1h","splay":"1ms","approve":[1],"on_halt":"cancel"}`)}
	_, err := s.Rollouts.PlanRollout(ctx, &tasker.Task{Type: "t1", Rollout: waves}, []string{"e7", "e8"})
	must(err)
	task, _, err := s.Tasks.CreateTask(ctx, tasker.Task{
		Type: "t1", Identifier: "waves", Endpoints: []string{"e7", "e8", "e9"}, Rollout: waves,
	})
	must(err)
	act := tasker.RolloutAct{Type: "t1", Identifier: "waves"}
	approved, err := s.Rollouts.Approve(ctx, act, time.Minute)
	must(err)
	_, err = s.Outbox.WaveTask(ctx, task.ID)
	must(err)
	_, _, err = s.Outbox.NextWave(ctx, approved.Send, time.Minute, 10)
	must(err)
	must(s.Outbox.SaveWave(ctx, approved.Send, []string{"e7"}, []string{"e7"}))
	_, _, err = s.Outbox.NextWave(ctx, approved.Send, time.Minute, 10)
	must(err)
	must(s.Outbox.ReleaseWave(ctx, approved.Send, 0))
	_, err = s.Outbox.ClaimWaves(ctx, 10, time.Minute)
	must(err)
	_, err = s.Rollouts.DueRollouts(ctx, 10)
	must(err)
	_, err = s.Rollouts.OpenRollouts(ctx, nil, 1)
	must(err)
	_, err = s.Rollouts.OpenRollouts(ctx, []int64{7, task.ID}, 2)
	must(err)
	for _, wait := range []time.Duration{time.Hour, 0, 0} { // the second time all are unreached
		_, err = s.Rollouts.Advance(ctx, task.ID, wait)
		must(err)
	}
	_, _, err = s.Inspection.WaitingRollouts(ctx, 10)
	must(err)
	_, err = s.Rollouts.FindRollout(ctx, &task, 0, 10)
	must(err)
	_, _, err = s.Rollouts.CountRollout(ctx, &task, 0, 10)
	must(err)
	for _, q := range []tasker.RolloutQuery{{States: []string{"HALTED"}}, {States: []string{"HALTED", "DONE"}, Before: 900}} {
		q.Limit = 10
		_, _, err = s.Rollouts.ListRollouts(ctx, q)
		must(err)
	}
	_, err = s.Rollouts.ResumeRollout(ctx, act, 0)
	must(err)
	_, err = s.Statuses.LookAtTasks(ctx, []int64{task.ID}, 0)
	must(err)
	_, err = s.Statuses.Aggregate(ctx, []int64{task.ID}, 0)
	must(err)
	_, err = s.Tasks.FindTask(ctx, "t1", "waves")
	must(err)
	_, err = s.Cancels.CancelTask(ctx, tasker.CancelRequest{Type: "t1", Identifier: "waves", Endpoints: []string{"e8"}})
	must(err)
	_, err = s.Cancels.CancelTask(ctx, tasker.CancelRequest{Type: "t1", Identifier: "waves"})
	must(err)
	return errors.Join(errs...)
}

// raw opens a session of a store's database, of either kind.
func raw(t *testing.T, uri string) *sql.DB {
	t.Helper()
	file, ok := strings.CutPrefix(uri, "sqlite://")
	if !ok {
		return admin(t, uri)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	return db
}

func admin(t *testing.T, uri string) *sql.DB {
	t.Helper()
	db := plain(t, uri)
	db.SetMaxOpenConns(1) // session variables hold for all
	return db
}

// fill fills tables until indexes pay: 3,000 tasks of 3 types, most of them
// ended, with 2 results each, at 40 endpoints.
func fill(t *testing.T, db *sql.DB) {
	t.Helper()
	const numbers = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
	const status = "CASE WHEN i % 50 = 0 THEN 'SENT' WHEN i % 51 = 0 THEN 'CREATED' WHEN i % 7 = 0 THEN 'FAILED' ELSE 'DONE' END"
	const state = "CASE WHEN i % 50 = 0 THEN 'RUNNING' WHEN i % 53 = 0 THEN 'RETRYING' WHEN i % 54 = 0 THEN 'LOST' ELSE 'DONE' END"
	for _, statement := range []string{
		"SET SESSION max_recursive_iterations = 5000",
		"SET SESSION cte_max_recursion_depth = 5000",
		"INSERT INTO tasks (id, type, identifier, request_hash, status, payload, start_time, sent_time, relay_time, last_modified_time) " +
			numbers +
			"SELECT i, CONCAT('t', i % 3), CONCAT('id-', i), '', " + status +
			", 'null', NOW(6), IF(i % 51 = 0 AND i % 50 <> 0, NULL, NOW(6) - INTERVAL i SECOND), NOW(6), NOW(6) FROM n",
		"INSERT INTO task_results (task_id, endpoint, state, attempt, manager, errnr, errmsg, start_time, last_modified_time, retry_time) " +
			numbers +
			"SELECT i, CONCAT('e', i % 40), " + state + ", 1, '', 0, '', NOW(6), NOW(6), NOW(6) FROM n",
		"INSERT INTO task_results (task_id, endpoint, state, attempt, manager, errnr, errmsg, start_time, last_modified_time) " + numbers +
			"SELECT i, CONCAT('f', i % 40), 'DONE', 1, '', 0, '', NOW(6), NOW(6) FROM n",
		"INSERT INTO endpoints (name, manager, host, pid, version, start_time, last_seen, lease_until) " + numbers +
			"SELECT CONCAT('e', i), '', '', 1, '', NOW(6), NOW(6), NOW(6) - INTERVAL 1 HOUR FROM n WHERE i < 500",
		"INSERT INTO task_targets (task_id, endpoint) SELECT task_id, endpoint FROM task_results",
		"INSERT INTO task_labels (task_id, name, value) SELECT id, 'ticket', id DIV 10 FROM tasks",
		"INSERT INTO task_labels (task_id, name, value) SELECT id, 'customer', id % 10 FROM tasks",
		"UPDATE tasks SET targets = 2",
		"INSERT INTO endpoint_task_types (task_type, endpoint) " + numbers + "SELECT CONCAT('t', i % 3), CONCAT('e', i) FROM n WHERE i < 500",
		"INSERT INTO dead_letters (id, digest, reason, queue, message_id, body, size, dead_time) " + numbers +
			"SELECT i, UNHEX(SHA2(i, 256)), '', '', '', '', 0, NOW(6) FROM n",
		"INSERT INTO attempts (task_id, endpoint, attempt, progress) " + numbers + "SELECT i, CONCAT('e', i % 40), 1, '{}' FROM n",
		"INSERT INTO log_chunks (task_id, endpoint, attempt, first_line, last_line, content) " + numbers +
			"SELECT i DIV 10, CONCAT('e', (i DIV 10) % 40), 1, 10 * (i % 10), 10 * (i % 10) + 9, '[]' FROM n",
		"INSERT INTO endpoint_tokens (id, endpoint, hash, created_time) " + numbers +
			"SELECT i, CONCAT('e', i), UNHEX(SHA2(i, 256)), NOW(6) FROM n WHERE i < 500",
		"INSERT INTO cancels (id, task_id, requested_by, reason, cancel_time) " + numbers + "SELECT i, i, '', '', NOW(6) FROM n",
		"INSERT INTO rollouts (task_id, version, state, record, plan, settings, next_look, relay_time, publish_attempts) " + numbers +
			"SELECT i, 0, 'DONE', '{}', '{}', '{}', IF(i % 50 = 0, NOW(6), NULL), IF(i % 51 = 0, NOW(6), NULL), 0 FROM n",
		"INSERT INTO rollout_targets (task_id, endpoint, wave, stage, open_time) SELECT task_id, endpoint, 1, 3, NOW(6) FROM task_results",
		"INSERT INTO holds (task_id, requested_by, reason, hold_time, held_until) " + numbers +
			"SELECT i, '', '', NOW(6), NOW(6) - INTERVAL 1 HOUR FROM n WHERE i < 500",
		"INSERT INTO holds (endpoint, requested_by, reason, hold_time, held_until) " + numbers +
			"SELECT CONCAT('e', i), '', '', NOW(6), NOW(6) - INTERVAL 1 HOUR FROM n WHERE i < 500",
		"INSERT INTO holds (task_type, requested_by, reason, hold_time, held_until) " + numbers +
			"SELECT CONCAT('t', i), '', '', NOW(6), NOW(6) - INTERVAL 1 HOUR FROM n WHERE i < 500",
		"INSERT INTO rounds (task_id, round, request_hash, outcome, requested_by, reason, round_time) " + numbers +
			"SELECT i + 9000, 2, '', '{}', '', '', NOW(6) - INTERVAL i SECOND FROM n",
		"ANALYZE TABLE rollouts, rollout_targets, holds, cancels, rounds, tasks, task_labels, task_results, task_targets, endpoints, endpoint_task_types, dead_letters, attempts, log_chunks, endpoint_tokens",
	} {
		// Each kind of server knows one of the two names of a variable.
		if _, err := db.ExecContext(t.Context(), statement); err != nil && !strings.HasPrefix(statement, "SET") {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM task_results").Scan(&n); err != nil || n != 6000 {
		t.Fatalf("%d results were made, %v", n, err)
	}
}

// explain returns the tables of a statement that are fully read.
var allHolds = regexp.MustCompile(`FROM holds h .*h\.\w+ IS NOT NULL`)

func explain(t *testing.T, db *sql.DB, statement string) (problems []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN "+statement)
	if err != nil {
		t.Fatalf("EXPLAIN %s: %v", statement, err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		pointers := make([]any, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			t.Fatal(err)
		}
		row := map[string]string{}
		for i, column := range columns {
			row[strings.ToLower(column)] = values[i].String
		}
		if row["table"] == "h" && allHolds.MatchString(statement) {
			continue // it reads all of the few that there are
		}
		if row["type"] == "ALL" && !strings.HasPrefix(row["table"], "<") && !strings.HasPrefix(row["extra"], "Table function") {
			problems = append(problems, "table "+row["table"]+" is read without an index ("+row["possible_keys"]+")")
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return problems
}
