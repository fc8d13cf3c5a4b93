package store

import (
	"maps"
	"slices"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
)

// The labels of a task are in its row, for reads, and as rows of their own, by which it
// is found. They are written in the transaction that accepts the task and never changed,
// and deleted in the one that deletes it. An older program deletes only the task: see
// purgeStrayLabels.

// labelRow is a label of a task.
type labelRow struct {
	TaskID int64  `gorm:"primaryKey;autoIncrement:false"`
	Name   string `gorm:"primaryKey"`
	Value  string
}

// TableName returns the table of labels.
func (labelRow) TableName() string { return "task_labels" }

// storeLabels stores the labels of new tasks.
func storeLabels(tx *gorm.DB, tasks []*newTask) error {
	var labels []labelRow
	for _, n := range tasks {
		if n.row.Labels == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(n.row.Labels.value)) {
			labels = append(labels, labelRow{TaskID: n.row.ID, Name: name, Value: n.row.Labels.value[name]})
		}
	}
	for part := range slices.Chunk(labels, maxRows) {
		if err := tx.Create(&part).Error; err != nil {
			return err
		}
	}
	return nil
}

// labeled returns the condition, with its arguments, that a row of task_labels has a
// label. Its ID is sorted within those for which the columns of an index are equal.
func labeled(f tasker.LabelFilter) (condition string, args []any) {
	if f.Value == nil {
		return "name = ?", []any{f.Key}
	}
	return "name = ? AND value = ?", []any{f.Key, *f.Value}
}

// deleteLabels deletes the labels of locked tasks, one task at a time: while the table is
// small, the server would read all of it for a list, and wait for locks of other processes.
func deleteLabels(tx *gorm.DB, ids []int64) error {
	var labeled []int64
	if err := tx.Model(&taskRow{}).Where("id IN ? AND labels IS NOT NULL", ids).Order("id").Pluck("id", &labeled).Error; err != nil {
		return err
	}
	for _, id := range labeled {
		if err := tx.Where("task_id = ?", id).Delete(&labelRow{}).Error; err != nil {
			return err
		}
	}
	return nil
}

// purgeStrayLabels deletes up to limit labels of tasks that an older program has
// deleted with all that it knows of, and reports whether there may be more. It looks for
// them before the oldest task that is left.
func purgeStrayLabels(tx *gorm.DB, limit int) (more bool, err error) {
	var labels []labelRow
	err = tx.Select("task_id", "name").Where("task_id < (SELECT MIN(id) FROM tasks)").
		Order("task_id, name").Limit(limit).Find(&labels).Error
	for _, l := range labels {
		if err == nil {
			err = tx.Where("task_id = ? AND name = ?", l.TaskID, l.Name).Delete(&labelRow{}).Error
		}
	}
	return len(labels) == limit, err
}
