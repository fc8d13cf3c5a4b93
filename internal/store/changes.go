package store

import (
	"context"

	"github.com/taskerhq/tasker"
)

// ChangedTasks gives up to limit tasks in the order in which their statuses
// changed, behind a position, and the position of the last one; the same
// position where there is none. A task is given as it is now: one that changed
// again is found there, and not twice.
//
// A change becomes visible some time after its LastModifiedTime, and not before
// every later one. So whoever follows goes back by some seconds each time, and
// knows again what it has seen.
func (s *Store) ChangedTasks(ctx context.Context, after tasker.ChangePosition, limit int) (tasks []tasker.Task, next tasker.ChangePosition, err error) {
	var rows []taskRow
	when := dbTime{after.LastModifiedTime}
	err = s.db.WithContext(ctx).Omit("payload").Where("last_modified_time >= ? AND (last_modified_time > ? OR id > ?)", when, when, after.ID).
		Order("last_modified_time, id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, after, s.fail("read the tasks that changed", err)
	}
	next = after
	tasks = make([]tasker.Task, len(rows))
	for i := range rows {
		tasks[i] = rows[i].task()
		tasks[i].Payload = nil
		next = tasker.ChangePosition{LastModifiedTime: tasks[i].LastModifiedTime, ID: tasks[i].ID}
	}
	return tasks, next, nil
}
