package store

import (
	"context"
	"errors"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// receiveFast is the fast path: one read and one statement instead of a
// transaction of six. It records the messages if all are new, for open tasks
// whose targets their endpoints are, at endpoints that their managers hold; the
// statement locks the rows of these endpoints. It records none as RUNNING where starts
// have to look for holds. What it costs does not depend on
// how many endpoints a task has. rest are the indexes of those that it did not
// record: [Inbox.receive] must do it.
func (s Inbox) receiveFast(ctx context.Context, incoming []ledger.Incoming) (recordings []ledger.Recording, rest []int, err error) {
	tasks, err := s.readTasks(s.conn(ctx), incoming)
	if err != nil {
		return nil, nil, s.fail("read the received tasks", err)
	}
	all := make([]int, len(incoming))
	recordings = make([]ledger.Recording, len(incoming))
	var old []int64 // tasks of older programs
	fast := true
	for i, a := range incoming {
		all[i] = i
		task := tasks[a.TaskID]
		if task.stored && !task.converted && !task.Status.Final() {
			old = append(old, a.TaskID)
		}
		fast = fast && !task.expired && task.refusal(a) == "" && slices.Contains(receivable(), task.Status) &&
			!task.Removed(a.Endpoint)
		recordings[i].Task, recordings[i].StartOrder = task.Task, task.startOrder()
	}
	if len(old) > 0 {
		if err := s.convert(ctx, slices.Compact(slices.Sorted(slices.Values(old)))); err != nil {
			return nil, nil, s.fail("convert the received tasks", err)
		}
	}
	if !fast {
		return recordings, all, nil
	}
	var recorded int64
	var now dbTime
	err = s.withRetry(ctx, func() error {
		now = dbTime{s.Now()}
		statement, args := s.insertHeld(incoming, tasks, now, true)
		insert := s.conn(ctx).Exec(statement, args...)
		recorded = insert.RowsAffected
		return insert.Error
	})
	switch {
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return recordings, all, nil // a duplicate: none was recorded
	case err != nil:
		return nil, nil, s.fail("record the received tasks", err)
	case recorded == int64(len(incoming)):
		return recordings, nil, nil
	case recorded == 0:
		return recordings, all, nil
	}
	rest, err = s.notRecorded(ctx, incoming, now)
	return recordings, rest, s.fail("read which tasks were recorded", err)
}

// notRecorded returns the indexes of the messages that the fast path did not
// record at a time. Nobody else records the others: the key is unique. If a batch has
// the same message twice, in two states, a closed gate may have refused one of them.
func (s Inbox) notRecorded(ctx context.Context, incoming []ledger.Incoming, now dbTime) (rest []int, err error) {
	condition, args := anyOf(keysOf(incoming))
	var rows []resultRow
	err = s.conn(ctx).Select("task_id", "endpoint", "manager", "state").Where(condition, args...).Where("start_time = ?", now).
		Find(&rows).Error
	by := make(map[tasker.ResultKey]resultRow, len(rows))
	for _, r := range rows {
		by[r.key()] = r
	}
	for i, a := range incoming {
		if row, ok := by[a.ResultKey]; !ok || row.Manager != a.Manager || row.State != a.State {
			rest = append(rest, i)
		}
	}
	return rest, err
}

// resultColumns are the columns of a new result, from the values of a message.
var resultColumns = []string{
	"task_id", "endpoint", "manager", "state", "attempt", "errnr", "errmsg", "start_time", "last_modified_time", "attempt_time",
	"not_after", "round", "priority", "start_order",
}

// insertHeld returns the statement that inserts a result for each message whose
// endpoint its manager holds and, if targeted, is a target of the open task, which
// has not expired; then none is RUNNING at an endpoint whose gate is closed. The
// list of values is read first, and each of its rows finds its endpoint, target
// and task by their keys.
func (s Inbox) insertHeld(
	incoming []ledger.Incoming, tasks map[int64]storedTask, now dbTime, targeted bool,
) (statement string, args []any) {
	// Lock the rows in the same order as heartbeats do.
	ordered := slices.SortedFunc(slices.Values(incoming), func(a, b ledger.Incoming) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	// MySQL wants the word; MariaDB and SQLite, which do not know it, take it for a
	// comment.
	row := "/*!80019 ROW*/ (?" + strings.Repeat(", ?", len(resultColumns)-1) + ")"
	columns := strings.Join(resultColumns, ", ")
	statement = "INSERT INTO task_results (" + columns + ") WITH v (" + columns + ") AS (VALUES " +
		row + strings.Repeat(", "+row, len(ordered)-1) + ")" +
		" SELECT v.task_id, e.name, e.manager, v.state, v.attempt, v.errnr, v.errmsg," +
		" v.start_time, v.last_modified_time, v.attempt_time, v.not_after, v.round, v.priority, v.start_order" +
		// Only the endpoints are locked.
		" FROM v JOIN (SELECT name, manager, gate FROM endpoints WHERE name IN ?" + s.dialect.share + ") e" +
		" ON e.name = " + s.dialect.asName("v.endpoint") + " AND e.manager = v.manager"
	for _, a := range ordered {
		attempt, begun := 0, any(nil)
		if a.State == tasker.Running {
			attempt, begun = 1, now
		}
		var expires any
		task := tasks[a.TaskID]
		if task.Expires != nil {
			expires = dbTime{*task.Expires}
		}
		args = append(args, a.TaskID, a.Endpoint, a.Manager, a.State, attempt, a.Errnr, a.Errmsg, now, now, begun, expires,
			max(task.Round, 1), task.Priority, task.startOrder())
	}
	args = append(args, endpointsOf(incoming))
	if targeted {
		statement += " JOIN task_targets g ON g.task_id = v.task_id AND g.endpoint = e.name" +
			" JOIN tasks t ON t.id = v.task_id AND t.status IN ? AND " + unexpired("t.") +
			" WHERE (e.gate = 0 OR v.state <> ?)"
		args = append(args, receivable(), s.at(now.Time), tasker.Running)
	}
	return statement, args
}
