package store

import (
	"context"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
)

// Whom a task is for are rows, its targets: one for each endpoint that the task
// lists or, if it lists none, that was registered for its type and seen recently
// when the task was accepted. They are written in the transaction that accepts
// the task, so that no step of one endpoint reads anything of the others.
//
// tasks.targets is their number. It is NULL for a task that an older program
// accepted: see conversion.go. Older programs read the JSON columns expected and
// endpoints, which are still written for them; for a task with targets nothing
// here reads expected.
//
// An endpoint that is no target but got a copy of a task for all joins: its
// target is stored with its result. Older programs store the result alone, so a
// result without a target is possible. Of an endpoint that was removed before it
// finished the target is deleted; an older program only lists it in
// removed_endpoints, which decides.

// targetRow is an endpoint that a task is for.
type targetRow struct {
	TaskID   int64  `gorm:"primaryKey;autoIncrement:false"`
	Endpoint string `gorm:"primaryKey"`
}

// TableName returns the table of targets.
func (targetRow) TableName() string { return "task_targets" }

// maxRows bounds the rows of an INSERT without payloads.
const maxRows = 1000

// targetRegistered stores the endpoints that are registered for the types of
// tasks without listed endpoints, and were seen recently, as their targets.
func (s *DB) targetRegistered(tx *gorm.DB, taskIDs []int64) error {
	err := tx.Exec("INSERT INTO task_targets (task_id, endpoint) SELECT t.id, r.endpoint FROM tasks t"+
		" JOIN endpoint_task_types r ON r.task_type = t.type JOIN endpoints e ON e.name = r.endpoint"+
		" WHERE t.id IN ? AND t.endpoints IS NULL AND e.last_seen >= ?", taskIDs, s.at(s.Now().Add(-s.seenWithin))).Error
	if err != nil {
		return err
	}
	return countTargets(tx, taskIDs)
}

// countTargets stores how many targets tasks have.
func countTargets(tx *gorm.DB, taskIDs []int64) error {
	return tx.Exec("UPDATE tasks SET targets = (SELECT COUNT(*) FROM task_targets g WHERE g.task_id = tasks.id) WHERE id IN ?",
		taskIDs).Error
}

// expectedTargets is the expression for a task's column expected, for older
// programs.
func (d *dialect) expectedTargets() string {
	return "COALESCE((SELECT " + d.jsonArray + "(g.endpoint) FROM task_targets g WHERE g.task_id = tasks.id), '[]')"
}

// targets returns the targets of a task, by name, never nil.
func (s *DB) targets(ctx context.Context, taskID int64) ([]string, error) {
	list := []string{}
	err := s.conn(ctx).Model(&targetRow{}).Where("task_id = ?", taskID).Order("endpoint").Pluck("endpoint", &list).Error
	return list, err
}

// targeted returns which of the results are of targets.
func targeted(db *gorm.DB, keys []tasker.ResultKey) (map[tasker.ResultKey]bool, error) {
	found := make(map[tasker.ResultKey]bool, len(keys))
	if len(keys) == 0 {
		return found, nil
	}
	condition, args := anyOf(keys)
	var rows []targetRow
	err := db.Where(condition, args...).Find(&rows).Error
	for _, r := range rows {
		found[tasker.ResultKey(r)] = true
	}
	return found, err
}

// addTargets stores endpoints that join locked tasks as their targets.
func (s *DB) addTargets(tx *gorm.DB, keys []tasker.ResultKey) error {
	known, err := targeted(tx, keys)
	if err != nil {
		return err
	}
	var rows []targetRow
	joined := map[int64]int{}
	for _, key := range keys {
		if !known[key] {
			known[key] = true
			rows = append(rows, targetRow(key))
			joined[key.TaskID]++
		}
	}
	for part := range slices.Chunk(rows, maxRows) {
		if err := tx.Create(&part).Error; err != nil {
			return err
		}
	}
	for id, n := range joined {
		if err := changeTargets(tx, []int64{id}, n); err != nil {
			return err
		}
	}
	return nil
}

// changeTargets changes the stored number of targets of tasks by n.
func changeTargets(tx *gorm.DB, taskIDs []int64, n int) error {
	if len(taskIDs) == 0 || n == 0 {
		return nil
	}
	return tx.Exec(fmt.Sprintf("UPDATE tasks SET targets = targets + (%d) WHERE id IN ?", n), taskIDs).Error
}

// dropTarget deletes an endpoint from the targets of locked tasks, and from those that
// their rollouts have not come to.
func (s *DB) dropTarget(tx *gorm.DB, endpoint string, taskIDs []int64) error {
	waiting, err := dropRolloutTarget(tx, endpoint, taskIDs)
	if err != nil {
		return err
	}
	if err := changeTargets(tx, waiting, -1); err != nil {
		return err
	}
	var had []int64
	err = tx.Model(&targetRow{}).Where("endpoint = ? AND task_id IN ?", endpoint, taskIDs).Pluck("task_id", &had).Error
	if err != nil || len(had) == 0 {
		return err
	}
	if err := tx.Where("endpoint = ? AND task_id IN ?", endpoint, had).Delete(&targetRow{}).Error; err != nil {
		return err
	}
	// A task for all that is not sent yet has no list; with listed endpoints there
	// is one only once some were removed.
	return tx.Exec("UPDATE tasks SET targets = targets - 1,"+
		" expected = CASE WHEN expected IS NULL AND endpoints IS NULL THEN NULL ELSE "+s.dialect.expectedTargets()+" END"+
		" WHERE id IN ?", had).Error
}
