package store

import (
	"context"
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// startOrder returns the place of a result that is recorded now among those that wait
// at its endpoint.
func (t *storedTask) startOrder() int64 {
	due := t.StartTime
	if t.RoundTime != nil {
		due = *t.RoundTime
	}
	return ledger.StartOrder(due, t.Priority)
}

// maxPosition bounds the results at an endpoint that are counted for a position.
const maxPosition = 10_000

// position returns the place of a waiting result in the queue of its endpoint and
// type: 1 if it starts next. Results to which a hold applies are not counted. It is 0
// if the result does not wait for a slot, or maxPosition results of whatever type, or
// more, come before it.
func (s Results) position(ctx context.Context, r *resultRow) (int, error) {
	if !slices.Contains(waiting, r.State) {
		return 0, nil
	}
	if err := s.clockKnown(ctx); err != nil {
		return 0, err
	}
	now := s.Now()
	due := r.State == tasker.Retrying && r.RetryTime != nil && !r.RetryTime.After(now)
	if r.State != tasker.Received && !due {
		return 0, nil
	}
	// Each part reads the beginning of a range of the index, without more rows than
	// are counted.
	const part = "SELECT * FROM (SELECT r.endpoint, r.task_id FROM task_results r WHERE r.endpoint = ? AND r.state = ?" +
		" AND (r.start_order < ? OR r.start_order = ? AND r.task_id < ?)"
	const counted = "SELECT COUNT(*) AS all_types," +
		" COALESCE(SUM(CASE WHEN t.type = o.type AND " + unheld + " THEN 1 ELSE 0 END), 0) AS same_type" +
		" FROM (" + part + " LIMIT ?) w UNION ALL " + part + " AND r.retry_time <= ? LIMIT ?) d) r" +
		" JOIN tasks t ON t.id = r.task_id JOIN tasks o ON o.id = ?"
	before := []any{r.StartOrder, r.StartOrder, r.TaskID}
	args := append(s.unheldArgs(), r.Endpoint, tasker.Received)
	args = append(append(args, before...), maxPosition, r.Endpoint, tasker.Retrying)
	args = append(append(args, before...), s.at(now), maxPosition, r.TaskID)
	var n struct{ AllTypes, SameType int }
	if err := s.conn(ctx).Raw(counted, args...).Scan(&n).Error; err != nil || n.AllTypes >= maxPosition {
		return 0, s.fail("count the results that wait before", err)
	}
	return n.SameType + 1, nil
}
