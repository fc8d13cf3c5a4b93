package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// receiveUsual records arrivals in the usual case, in one read and one
// statement instead of a transaction of five: all are new, for tasks that
// expect their endpoints, at endpoints that the manager holds. The statement
// takes each endpoint's row, and locks it, only where the manager holds it.
// done is false where something is unusual; then [Inbox.receive] does it, and
// meets what this recorded already as known and the manager's own.
func (s Inbox) receiveUsual(ctx context.Context, manager string, arrivals []ledger.Incoming) (admissions []ledger.Recording, done bool, err error) {
	tasks, err := readTasks(s.conn(ctx), arrivals)
	if err != nil {
		return nil, false, s.fail("read the tasks that arrived", err)
	}
	admissions = make([]ledger.Recording, len(arrivals))
	for i, a := range arrivals {
		task, ok := tasks[a.TaskID]
		if refusal(a, task, ok) != "" || task.Status.Final() || task.Removed(a.Endpoint) || joins(task, a.Endpoint) {
			return nil, false, nil
		}
		admissions[i].Task = task
	}
	var recorded int64
	err = s.withRetry(ctx, func() error {
		statement, args := s.insertHeld(manager, arrivals)
		insert := s.conn(ctx).Exec(statement, args...)
		recorded = insert.RowsAffected
		return insert.Error
	})
	switch {
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return nil, false, nil // one is known: none was recorded
	case err != nil:
		return nil, false, s.fail("record the tasks that arrived", err)
	}
	return admissions, recorded == int64(len(arrivals)), nil
}

// insertHeld is the statement that inserts a row for each arrival whose
// endpoint the manager holds.
func (s Inbox) insertHeld(manager string, arrivals []ledger.Incoming) (statement string, args []any) {
	now := dbTime{s.Now()}
	one := fmt.Sprintf(s.dialect.selectShare, "?, name, ?, ?, manager, ?, ?, ?, ?, ? FROM endpoints WHERE name = ? AND manager = ?")
	// Rows are locked in one order, here and by heartbeats.
	ordered := slices.SortedFunc(slices.Values(arrivals), func(a, b ledger.Incoming) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	selects := make([]string, len(ordered))
	for i, a := range ordered {
		selects[i] = one
		attempt, begun := 0, any(nil)
		if a.State == tasker.Running {
			attempt, begun = 1, now
		}
		args = append(args, a.TaskID, a.State, attempt, a.Errnr, a.Errmsg, now, now, begun, a.Endpoint, manager)
	}
	return "INSERT INTO task_results (task_id, endpoint, state, attempt, manager, errnr, errmsg, start_time, last_modified_time, attempt_time) " +
		strings.Join(selects, " UNION ALL "), args
}
