package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Statuses computes the statuses of tasks from their results.
type Statuses struct{ *DB }

// open are the statuses that results move a task out of.
var open = []tasker.TaskStatus{tasker.Sent, tasker.Incomplete}

// Aggregate computes the statuses of open tasks from their results, stores
// those that changed and returns how many did. waitForEndpoints is the time in
// which every expected endpoint should have received a task. Tasks that are not
// open do not change. The tasks are locked meanwhile, so that no result is
// recorded in between and several processes may aggregate the same ones.
func (s Statuses) Aggregate(ctx context.Context, taskIDs []int64, waitForEndpoints time.Duration) (changed int, err error) {
	ids := slices.Clone(taskIDs)
	slices.Sort(ids)
	for chunk := range slices.Chunk(slices.Compact(ids), batchSize) {
		var n int
		err := s.transact(ctx, "aggregate tasks", func(tx *gorm.DB) error {
			var err error
			n, err = s.aggregate(tx, chunk, waitForEndpoints)
			return err
		})
		if err != nil {
			return changed, err
		}
		changed += n
	}
	return changed, nil
}

func (s Statuses) aggregate(tx *gorm.DB, ids []int64, waitForEndpoints time.Duration) (changed int, err error) {
	var tasks []taskRow
	err = tx.Clauses(clause.Locking{Strength: "UPDATE"}).
		Select("id", "status", "endpoints", "expected", "unserved", "removed_endpoints", "sent_time").
		Where("id IN ? AND status IN ?", ids, open).Order("id").Find(&tasks).Error
	if err != nil || len(tasks) == 0 {
		return 0, err
	}
	locked := make([]int64, len(tasks))
	for i := range tasks {
		locked[i] = tasks[i].ID
	}
	var results []resultRow
	if err := tx.Select("task_id", "endpoint", "state").Where("task_id IN ?", locked).Find(&results).Error; err != nil {
		return 0, err
	}
	outcomes := make(map[int64][]tasker.Outcome, len(tasks))
	for _, r := range results {
		outcomes[r.TaskID] = append(outcomes[r.TaskID], tasker.Outcome{Endpoint: r.Endpoint, State: r.State})
	}
	now := s.Now()
	moves := map[tasker.TaskStatus][]int64{}
	for i := range tasks {
		task := tasks[i].task()
		overdue := task.SentTime != nil && !now.Before(task.SentTime.Add(waitForEndpoints))
		next := tasker.NextStatus(task.Status, task.Summarize(outcomes[task.ID]), overdue)
		if next != task.Status {
			moves[next] = append(moves[next], task.ID)
		}
		if left := task.StillUnserved(outcomes[task.ID]); len(left) < len(task.Unserved) {
			err := tx.Model(&taskRow{}).Where("id = ?", task.ID).Update("unserved", names(left)).Error
			if err != nil {
				return 0, err
			}
		}
	}
	for next, moved := range moves {
		update := tx.Model(&taskRow{}).Where("id IN ? AND status IN ?", moved, tasker.TaskStatusesBefore(next)).
			Updates(map[string]any{"status": next, "last_modified_time": dbTime{now}})
		if update.Error != nil {
			return 0, update.Error
		}
		changed += int(update.RowsAffected)
	}
	return changed, nil
}

// UnsettledTasks returns the tasks whose stored status is behind their results,
// as far as counting can tell, so that [Statuses.Aggregate] will move them: as
// many results have ended as endpoints are expected; or the task is SENT and
// has a lost result, or lacks some after waitForEndpoints. It takes no locks.
func (s Statuses) UnsettledTasks(ctx context.Context, taskIDs []int64, waitForEndpoints time.Duration) (unsettled []int64, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	finished := slices.DeleteFunc(tasker.ResultStates(), func(state tasker.ResultState) bool { return !state.Finished() })
	// A task that expects no endpoint is settled by the results it has.
	expected := s.dialect.greatest + "(1, " + s.dialect.jsonLength + "(COALESCE(tasks.expected, tasks.endpoints)))"
	results := fmt.Sprintf("(SELECT COUNT(*) FROM task_results r WHERE r.task_id = tasks.id AND r.errnr <> %d", tasker.ErrnrRemoved)
	for chunk := range slices.Chunk(taskIDs, batchSize) {
		var ids []int64
		err := s.conn(ctx).Model(&taskRow{}).Where("id IN ? AND status IN ?", chunk, open).
			Where(s.gorm.Where(results+" AND r.state IN ?) >= "+expected, finished).
				Or("status = ? AND "+results+" AND r.state = ?) > 0", tasker.Sent, tasker.Lost).
				Or("status = ? AND sent_time <= ? AND "+results+") < "+expected, tasker.Sent, dbTime{s.Now().Add(-waitForEndpoints)})).
			Pluck("id", &ids).Error
		if err != nil {
			return nil, s.fail("read the unsettled tasks", err)
		}
		unsettled = append(unsettled, ids...)
	}
	return unsettled, nil
}

// OpenTasks returns up to limit tasks of an open status, SENT or INCOMPLETE,
// after a position and sent no later than until, in the order in which they
// were sent.
func (s Statuses) OpenTasks(
	ctx context.Context, status tasker.TaskStatus, after ledger.SentPosition, until time.Time, limit int,
) ([]ledger.SentPosition, error) {
	var rows []taskRow
	err := s.conn(ctx).Select("id", "sent_time").
		Where("status = ? AND sent_time <= ?", status, dbTime{until}).
		Where("sent_time >= ? AND (sent_time > ? OR id > ?)", dbTime{after.SentTime}, dbTime{after.SentTime}, after.ID).
		Order("sent_time, id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, s.fail("read the open tasks", err)
	}
	positions := make([]ledger.SentPosition, len(rows))
	for i, r := range rows {
		positions[i] = ledger.SentPosition{SentTime: r.SentTime.Time, ID: r.ID}
	}
	return positions, nil
}
