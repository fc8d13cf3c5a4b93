package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
)

// Retention deletes what was kept for long enough.
type Retention struct{ *DB }

// A task that has ended is deleted in two steps, since it may have thousands of
// results and no statement may lock or log them all.
//
//  1. One transaction deletes tasks and notes their ids in purged_tasks. From
//     then on the task does not exist: a GET returns 404, a redelivered message
//     of it is refused, and a POST of its identifier makes a new task.
//  2. Later, in transactions of a limited number of rows, the results of these
//     ids are deleted, then the reports of their attempts, and then the ids.
//
// A crash leaves either the whole task, or an id by which the rest is found. In
// the other order, a task would be visible without its results. The second step
// waits for requests that read the task before the first step and its results
// after it. Ids are never reused, so leftover results belong to no other task.

// purgedTaskRow is a deleted task whose results are not deleted yet.
type purgedTaskRow struct {
	TaskID    int64 `gorm:"primaryKey;autoIncrement:false"`
	PurgeTime dbTime
}

// TableName returns the table of deleted tasks.
func (purgedTaskRow) TableName() string { return "purged_tasks" }

// ended are the statuses in which tasks may be deleted.
func ended() []tasker.TaskStatus {
	return slices.DeleteFunc(tasker.TaskStatuses(), func(s tasker.TaskStatus) bool { return !s.Final() })
}

// NextTaskType returns the first type after the one given, in byte order, that
// has tasks, configured or not; "" if there is none.
func (s Retention) NextTaskType(ctx context.Context, after string) (string, error) {
	var row taskRow
	err := s.conn(ctx).Select("type").Where("type > ?", after).Order("type").Limit(1).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return "", nil
	}
	return row.Type, s.fail("read the task types", err)
}

// PurgeTasks deletes up to limit tasks of a type that ended before a time, and
// returns how many; [Retention.PurgeResults] deletes their results. Several
// processes may do so at once: each takes other tasks. If it returns fewer than
// limit, unfinished included, none are left.
//
// A task that has ended but has an unfinished result must not exist. It is not
// deleted, but returned as unfinished; tasks in except are skipped.
func (s Retention) PurgeTasks(
	ctx context.Context, taskType string, endedBefore time.Time, except []int64, limit int,
) (purged int, unfinished []int64, err error) {
	err = s.transact(ctx, "delete tasks", func(tx *gorm.DB) error {
		purged, unfinished = 0, nil
		var ids []int64
		// One statement per status, so that the index provides the order and
		// locks only the rows taken.
		for _, status := range ended() {
			find := tx.Model(&taskRow{}).Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}).
				Where("type = ? AND status = ? AND last_modified_time < ?", taskType, status, s.at(endedBefore))
			if len(except) > 0 {
				find = find.Where("id NOT IN ?", except)
			}
			var found []int64
			if err := find.Order("last_modified_time, id").Limit(limit-len(ids)).Pluck("id", &found).Error; err != nil {
				return err
			}
			if ids = append(ids, found...); len(ids) == limit {
				break
			}
		}
		slices.Sort(ids)
		for chunk := range slices.Chunk(ids, batchSize) {
			kept, err := s.purgeTasks(tx, chunk)
			if err != nil {
				return err
			}
			purged += len(chunk) - len(kept)
			unfinished = append(unfinished, kept...)
		}
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	return purged, unfinished, nil
}

// PurgeIncomplete deletes up to limit INCOMPLETE and CANCELING tasks of a type and
// returns their ids. Neither the status nor any result has changed since a time,
// and no endpoint is working on them: endpoints are missing or lost, perhaps for
// ever.
func (s Retention) PurgeIncomplete(
	ctx context.Context, taskType string, unchangedSince time.Time, limit int,
) (purged []int64, err error) {
	inHand := slices.DeleteFunc(tasker.UnfinishedResultStates(), func(state tasker.ResultState) bool { return state == tasker.Lost })
	err = s.transact(ctx, "delete tasks that stayed incomplete", func(tx *gorm.DB) error {
		purged = nil
		before := s.at(unchangedSince)
		for _, status := range []tasker.TaskStatus{tasker.Incomplete, tasker.Canceling} {
			var found []int64
			err := tx.Model(&taskRow{}).Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}).
				Where("type = ? AND status = ? AND last_modified_time < ?", taskType, status, before).
				Where("NOT EXISTS (SELECT 1 FROM task_results r WHERE r.task_id = tasks.id"+
					" AND (r.last_modified_time >= ? OR r.state IN ?))", before, inHand).
				Order("last_modified_time, id").Limit(limit-len(purged)).Pluck("id", &found).Error
			if err != nil {
				return err
			}
			if purged = append(purged, found...); len(purged) == limit {
				break
			}
		}
		for chunk := range slices.Chunk(purged, batchSize) {
			if err := s.deleteTasks(tx, chunk); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return purged, nil
}

// purgeTasks deletes the locked tasks that have no unfinished result, and
// returns the others.
func (s Retention) purgeTasks(tx *gorm.DB, ids []int64) (unfinished []int64, err error) {
	err = tx.Model(&resultRow{}).Distinct("task_id").
		Where("task_id IN ? AND state IN ?", ids, tasker.UnfinishedResultStates()).Order("task_id").Pluck("task_id", &unfinished).Error
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(slices.Clone(ids), func(id int64) bool { return slices.Contains(unfinished, id) })
	return unfinished, s.deleteTasks(tx, ids)
}

// deleteTasks deletes locked tasks, and notes that their results must follow.
func (s Retention) deleteTasks(tx *gorm.DB, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	now := dbTime{s.Now()}
	rows := make([]purgedTaskRow, len(ids))
	for i, id := range ids {
		rows[i] = purgedTaskRow{TaskID: id, PurgeTime: now}
	}
	if err := tx.Create(&rows).Error; err != nil {
		return err
	}
	for _, row := range []any{&cancelRow{}, &roundRow{}} {
		if err := tx.Where("task_id IN ?", ids).Delete(row).Error; err != nil {
			return err
		}
	}
	if err := tx.Where("task_id IN ?", ids).Delete(&rolloutRow{}).Error; err != nil {
		return err
	}
	if err := deleteLabels(tx, ids); err != nil {
		return err
	}
	if err := deleteTopics(tx, ids); err != nil {
		return err
	}
	if err := deletePlaces(tx, ids); err != nil {
		return err
	}
	return tx.Where("id IN ?", ids).Delete(&taskRow{}).Error
}

// PurgeResults deletes up to limit results and as many attempts, with chunks of
// their logs, and the targets and endpoints of rollouts, of tasks deleted before a time. It returns how many results it
// deleted and whether there may be more. Several processes may do so at once:
// each takes other tasks.
func (s Retention) PurgeResults(ctx context.Context, purgedBefore time.Time, limit int) (deleted int, more bool, err error) {
	err = s.transact(ctx, "delete results", func(tx *gorm.DB) error {
		deleted, more = 0, false
		var tasks []int64
		err := tx.Model(&purgedTaskRow{}).Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}).
			Where("purge_time < ?", s.at(purgedBefore)).Order("purge_time, task_id").Limit(batchSize).Pluck("task_id", &tasks).Error
		if err == nil && len(tasks) == 0 {
			more, err = purgeStrayTargets(tx, limit)
			if err == nil && !more {
				more, err = purgeStrayLabels(tx, limit)
			}
			return err
		}
		if err != nil {
			return err
		}
		var rows []resultRow
		through, err := purgePart(tx, tasks, limit, &rows, []string{"id", "task_id"},
			func(r resultRow) int64 { return r.TaskID },
			func(part []resultRow) error {
				ids := make([]int64, len(part))
				for i, r := range part {
					ids[i] = r.ID
				}
				return tx.Where("id IN ?", ids).Delete(&resultRow{}).Error
			})
		if err == nil {
			through, err = purgeTargets(tx, through, limit)
		}
		if err == nil {
			through, err = purgeRolloutTargets(tx, through, limit)
		}
		if err == nil {
			through, err = purgeCandidates(tx, through, limit)
		}
		if err == nil {
			through, err = purgeLive(tx, through, limit)
		}
		if err != nil {
			return err
		}
		deleted, more = len(rows), len(tasks) == batchSize || len(through) < len(tasks)
		// One by one: the table is usually small, so for a list the server
		// would read all of it and wait for locks of other processes.
		for _, id := range through {
			if err := tx.Where("task_id = ?", id).Delete(&purgedTaskRow{}).Error; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	return deleted, more, nil
}
