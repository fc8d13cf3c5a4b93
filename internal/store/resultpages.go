package store

import (
	"context"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
)

// A task may have ten thousand results. These reads take a page of them, or count
// them in the database.

// ResultPage returns one page of a task's results, by endpoint, and whether more
// follow.
func (s Results) ResultPage(ctx context.Context, q tasker.ResultQuery) (results []tasker.TaskResult, more bool, err error) {
	var found []struct {
		Endpoint string
		Size     int64
	}
	find := s.conn(ctx).Table("task_results").
		Select("endpoint, COALESCE(OCTET_LENGTH(payload), 0) + OCTET_LENGTH(errmsg) AS size").
		Where("task_id = ? AND endpoint > ?", q.TaskID, q.After)
	if q.State != "" {
		find = find.Where("state = ?", q.State)
	}
	if err := find.Order("endpoint").Limit(q.Limit + 1).Find(&found).Error; err != nil {
		return nil, false, s.fail("read the results of the task", err)
	}
	var names []string
	var total int64
	for i, r := range found {
		if total += r.Size; i == q.Limit || q.MaxBytes > 0 && total > q.MaxBytes && i > 0 {
			more = true
			break
		}
		names = append(names, r.Endpoint)
	}
	if len(names) == 0 {
		return nil, false, nil
	}
	results, err = s.ResultsOf(ctx, q.TaskID, names)
	return results, more, err
}

// MissingEndpoints returns one page of the endpoints that a task expects and that
// have not received it, by name, after one of them.
func (s Results) MissingEndpoints(ctx context.Context, taskID int64, after string, limit int) (missing []string, err error) {
	err = s.missing(ctx, taskID).Where("m.endpoint > ?", after).Order("m.endpoint").Limit(limit).Pluck("m.endpoint", &missing).Error
	return missing, s.fail("read the endpoints that have not received the task", err)
}

// missing selects the endpoints (m) that a task expects and that have no result.
// Those of a task that an older program accepted are in a list.
func (s Results) missing(ctx context.Context, taskID int64) *gorm.DB {
	name := s.dialect.asName("j." + s.dialect.element)
	const expected = "(SELECT g.endpoint AS endpoint FROM task_targets g WHERE g.task_id = ? UNION ALL SELECT "
	return s.conn(ctx).Table(expected+name+" FROM tasks t, "+s.dialect.elements("COALESCE(t.expected, t.endpoints)")+
		" j WHERE t.id = ? AND t.targets IS NULL) m", taskID, taskID).
		Where("NOT EXISTS (SELECT 1 FROM task_results r WHERE r.task_id = ? AND r.endpoint = m.endpoint)", taskID)
}

// Summary counts the results of a task, and returns at most limit of its missing
// endpoints: Expected says how many there are.
func (s Results) Summary(ctx context.Context, task tasker.Task, limit int) (tasker.Summary, error) {
	const what = "count the results of the task"
	// First, since the others become missing and are received.
	unopened, err := s.unopened(ctx, &task)
	if err != nil {
		return tasker.Summary{}, s.fail(what, err)
	}
	untaken, closed, err := s.places(ctx, &task)
	if err != nil {
		return tasker.Summary{}, s.fail(what, err)
	}
	counts, err := countResults(s.conn(ctx), []taskRow{{ID: task.ID}})
	if err != nil {
		return tasker.Summary{}, s.fail(what, err)
	}
	summary := counts[task.ID].summary()
	summary.Removed = len(task.RemovedEndpoints)
	missing, err := s.MissingEndpoints(ctx, task.ID, "", limit+1)
	if err != nil {
		return tasker.Summary{}, err
	}
	all := int64(len(missing))
	if len(missing) > limit {
		missing = missing[:limit]
		if err := s.missing(ctx, task.ID).Count(&all).Error; err != nil {
			return tasker.Summary{}, s.fail(what, err)
		}
	}
	summary.Missing = append([]string{}, missing...)
	summary.Unopened = unopened
	summary.Expected = summary.Received + int(all) + unopened
	if task.Deliver > 0 { // one that was taken meanwhile is not counted twice
		summary.Untaken = max(0, min(untaken, int(task.Deliver)-closed-summary.Expected))
		summary.Expected, summary.Closed = summary.Expected+summary.Untaken, closed
	}
	summary.Held, err = s.countHeld(ctx, &task, counts[task.ID][tasker.Received]+counts[task.ID][tasker.Retrying])
	return summary, s.fail(what, err)
}
