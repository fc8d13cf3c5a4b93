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

// receiveFast is the fast path: one read and one statement instead of a
// transaction of five. It records the messages if all are new, for tasks that
// expect their endpoints, at endpoints that their managers hold; the statement
// locks the rows of these endpoints. If done is false, [Inbox.receive] must do
// it: it may find some recorded already.
func (s Inbox) receiveFast(
	ctx context.Context, incoming []ledger.Incoming,
) (recordings []ledger.Recording, done bool, err error) {
	tasks, err := readTasks(s.conn(ctx), incoming)
	if err != nil {
		return nil, false, s.fail("read the received tasks", err)
	}
	recordings = make([]ledger.Recording, len(incoming))
	for i, a := range incoming {
		task, ok := tasks[a.TaskID]
		if refusal(a, task, ok) != "" || task.Status.Final() || task.Removed(a.Endpoint) || joins(task, a.Endpoint) {
			return nil, false, nil
		}
		recordings[i].Task = task
	}
	var recorded int64
	err = s.withRetry(ctx, func() error {
		statement, args := s.insertHeld(incoming)
		insert := s.conn(ctx).Exec(statement, args...)
		recorded = insert.RowsAffected
		return insert.Error
	})
	switch {
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return nil, false, nil // a duplicate: none was recorded
	case err != nil:
		return nil, false, s.fail("record the received tasks", err)
	}
	return recordings, recorded == int64(len(incoming)), nil
}

// insertHeld returns the statement that inserts a result for each message whose
// endpoint its manager holds.
func (s Inbox) insertHeld(incoming []ledger.Incoming) (statement string, args []any) {
	now := dbTime{s.Now()}
	one := fmt.Sprintf(s.dialect.selectShare, "?, name, ?, ?, manager, ?, ?, ?, ?, ? FROM endpoints WHERE name = ? AND manager = ?")
	// Lock the rows in the same order as heartbeats do.
	ordered := slices.SortedFunc(slices.Values(incoming), func(a, b ledger.Incoming) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	selects := make([]string, len(ordered))
	for i, a := range ordered {
		selects[i] = one
		attempt, begun := 0, any(nil)
		if a.State == tasker.Running {
			attempt, begun = 1, now
		}
		args = append(args, a.TaskID, a.State, attempt, a.Errnr, a.Errmsg, now, now, begun, a.Endpoint, a.Manager)
	}
	return "INSERT INTO task_results" +
		" (task_id, endpoint, state, attempt, manager, errnr, errmsg, start_time, last_modified_time, attempt_time) " +
		strings.Join(selects, " UNION ALL "), args
}
