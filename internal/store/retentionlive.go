package store

import (
	"slices"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// purgeChunks limits the log chunks that one transaction deletes: they may be
// large, and servers log what is deleted.
const purgeChunks = batchSize

// purgeTargets deletes targets of tasks without results: they are small, so it
// deletes several times limit. through are the tasks that have none left.
func purgeTargets(tx *gorm.DB, tasks []int64, limit int) (through []int64, err error) {
	var targets []targetRow
	return purgePart(tx, tasks, 5*limit, &targets, []string{"task_id", "endpoint"},
		func(r targetRow) int64 { return r.TaskID }, func(part []targetRow) error { return deleteTargets(tx, part) })
}

// purgeRolloutTargets does the same for the endpoints of rollouts.
func purgeRolloutTargets(tx *gorm.DB, tasks []int64, limit int) (through []int64, err error) {
	var targets []rolloutTargetRow
	return purgePart(tx, tasks, 5*limit, &targets, []string{"task_id", "endpoint"},
		func(r rolloutTargetRow) int64 { return r.TaskID }, func(part []rolloutTargetRow) error {
			keys := make([]tasker.ResultKey, len(part))
			for i, r := range part {
				keys[i] = tasker.ResultKey{TaskID: r.TaskID, Endpoint: r.Endpoint}
			}
			condition, args := anyOf(keys)
			return tx.Where(condition, args...).Delete(&rolloutTargetRow{}).Error
		})
}

func deleteTargets(tx *gorm.DB, targets []targetRow) error {
	keys := make([]tasker.ResultKey, len(targets))
	for i, r := range targets {
		keys[i] = tasker.ResultKey(r)
	}
	condition, args := anyOf(keys)
	return tx.Where(condition, args...).Delete(&targetRow{}).Error
}

// purgeStrayTargets deletes up to limit targets of tasks that an older program
// has deleted with all that it knows of, and reports whether there may be more. It
// looks for them before the oldest task that is left.
func purgeStrayTargets(tx *gorm.DB, limit int) (more bool, err error) {
	var targets []targetRow
	err = tx.Where("task_id < (SELECT MIN(id) FROM tasks)").
		Where("NOT EXISTS (SELECT 1 FROM purged_tasks p WHERE p.task_id = task_targets.task_id)").
		Order("task_id").Limit(limit).Find(&targets).Error
	for part := range slices.Chunk(targets, batchSize) {
		if err == nil {
			err = deleteTargets(tx, part)
		}
	}
	return len(targets) == limit, err
}

// purgeLive deletes up to limit attempts, and some of the log chunks, of tasks
// without results. through are the tasks that have none left.
//
// Storing a report locks the result, so without a result nothing is being
// added.
func purgeLive(tx *gorm.DB, tasks []int64, limit int) (through []int64, err error) {
	var attempts []attemptRow
	through, err = purgePart(tx, tasks, limit, &attempts, []string{"task_id", "endpoint", "attempt"},
		func(r attemptRow) int64 { return r.TaskID },
		func(part []attemptRow) error {
			starts := make([]ledger.Start, len(part))
			for i, r := range part {
				starts[i] = ledger.Start{ResultKey: tasker.ResultKey{TaskID: r.TaskID, Endpoint: r.Endpoint}, Attempt: r.Attempt}
			}
			condition, args := anyAt(starts, 0)
			return tx.Where(condition, args...).Delete(&attemptRow{}).Error
		})
	if err != nil {
		return nil, err
	}
	var chunks []logChunkRow
	return purgePart(tx, through, min(limit, purgeChunks), &chunks, []string{"id", "task_id"},
		func(r logChunkRow) int64 { return r.TaskID },
		func(part []logChunkRow) error {
			ids := make([]int64, len(part))
			for i, r := range part {
				ids[i] = r.ID
			}
			return tx.Where("id IN ?", ids).Delete(&logChunkRow{}).Error
		})
}

// purgePart reads up to limit rows of tasks, deletes them in batches, and
// returns the tasks that have no more rows.
func purgePart[R any](
	tx *gorm.DB, tasks []int64, limit int, rows *[]R, columns []string, taskOf func(R) int64, remove func([]R) error,
) (through []int64, err error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	if err := tx.Select(columns).Where("task_id IN ?", tasks).Order("task_id").Limit(limit).Find(rows).Error; err != nil {
		return nil, err
	}
	for part := range slices.Chunk(*rows, batchSize) {
		if err := remove(part); err != nil {
			return nil, err
		}
	}
	if len(*rows) < limit {
		return tasks, nil
	}
	// There may be more rows of the last task and of those after it.
	last := taskOf((*rows)[limit-1])
	return slices.DeleteFunc(slices.Clone(tasks), func(id int64) bool { return id >= last }), nil
}
