package store

import (
	"context"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
)

// Tasks that an older program accepted have lists of endpoints in place of
// targets. They are converted while they are open, in steps: where they are met,
// and by a loop of the reconciler. Those that have ended stay as they are. A task
// without listed endpoints has its list from the time it is sent; until then,
// every endpoint may record it.

// conversion is how far this process has looked for tasks to convert.
type conversion struct {
	turn chan struct{} // held by the one that looks
	// since is where the next look begins, by the time when tasks were sent;
	// last is when the last one began.
	since, last time.Time
}

const (
	// conversionOverlap is how far a look goes back before the previous one. It
	// exceeds the time of a statement that marks a task as sent.
	conversionOverlap = time.Minute
	// conversionPause is the shortest time between two looks.
	conversionPause = time.Second
	// conversionPage is how many open tasks one statement of a look reads, and
	// conversionStep how many one transaction converts.
	conversionPage = 500
	conversionStep = 20
)

// ConvertTasks gives the open tasks that an older program accepted their targets,
// unless this process did so a moment ago. The first call goes through all open
// tasks, later ones through those sent since.
func (s Statuses) ConvertTasks(ctx context.Context) error {
	if err := s.clockKnown(ctx); err != nil {
		return err
	}
	return s.fail("convert the tasks of older versions", s.convertOpen(ctx))
}

func (s *DB) convertOpen(ctx context.Context) error {
	select {
	case s.conversion.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.conversion.turn }()
	c := &s.conversion
	begin := s.Now()
	if begin.Before(c.last) { // the clock was set back
		c.since, c.last = time.Time{}, time.Time{}
	}
	if begin.Sub(c.last) < conversionPause {
		return nil
	}
	for _, status := range open {
		if err := s.convertSince(ctx, status, c.since); err != nil {
			return err
		}
	}
	c.since, c.last = begin.Add(-conversionOverlap), begin
	return nil
}

// convertUnsent converts the CREATED tasks with listed endpoints.
func (s *DB) convertUnsent(ctx context.Context) error {
	for after := int64(0); ; {
		var page []int64
		err := s.conn(ctx).Model(&taskRow{}).
			Where("status = ? AND sent_time IS NULL AND id > ? AND targets IS NULL AND endpoints IS NOT NULL", tasker.Created, after).
			Order("id").Limit(conversionPage).Pluck("id", &page).Error
		if err != nil || len(page) == 0 {
			return err
		}
		if err := s.convert(ctx, page); err != nil {
			return err
		}
		after = page[len(page)-1]
	}
}

// convertSince converts the tasks of a status that were sent since a time.
func (s *DB) convertSince(ctx context.Context, status tasker.TaskStatus, since time.Time) error {
	after := int64(0)
	for {
		var page []struct {
			ID       int64
			SentTime dbTime
			Old      bool
		}
		err := s.conn(ctx).Table("tasks").Select("id, sent_time, targets IS NULL AS old").
			Where("status = ? AND sent_time >= ? AND (sent_time > ? OR id > ?)", status, dbTime{since}, dbTime{since}, after).
			Order("sent_time, id").Limit(conversionPage).Find(&page).Error
		if err != nil {
			return err
		}
		var old []int64
		for _, r := range page {
			if r.Old {
				old = append(old, r.ID)
			}
		}
		if err := s.convert(ctx, old); err != nil {
			return err
		}
		if len(page) < conversionPage {
			return nil
		}
		since, after = page[len(page)-1].SentTime.Time, page[len(page)-1].ID
	}
}

// convert gives tasks that an older program accepted their targets, as far as
// they have lists of endpoints and are not done.
func (s *DB) convert(ctx context.Context, taskIDs []int64) error {
	slices.Sort(taskIDs)
	for step := range slices.Chunk(taskIDs, conversionStep) {
		err := s.withRetry(ctx, func() error {
			return s.conn(ctx).Transaction(func(tx *gorm.DB) error {
				var ids []int64
				err := tx.Model(&taskRow{}).Clauses(clause.Locking{Strength: "UPDATE"}).
					Where("id IN ? AND targets IS NULL AND status IN ?", step, unended()).Order("id").Pluck("id", &ids).Error
				if err != nil {
					return err
				}
				return s.convertLocked(tx, ids)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// convertLocked is convert for locked tasks without targets.
func (s *DB) convertLocked(tx *gorm.DB, taskIDs []int64) error {
	if len(taskIDs) == 0 {
		return nil
	}
	err := tx.Exec("INSERT INTO task_targets (task_id, endpoint) SELECT t.id, j."+s.dialect.element+
		" FROM tasks t, "+s.dialect.elements("COALESCE(t.expected, t.endpoints)")+" j WHERE t.id IN ?", taskIDs).Error
	if err != nil {
		return err
	}
	return tx.Exec("UPDATE tasks SET targets = (SELECT COUNT(*) FROM task_targets g WHERE g.task_id = tasks.id)"+
		" WHERE id IN ? AND COALESCE(expected, endpoints) IS NOT NULL", taskIDs).Error
}

// unended are the statuses of tasks that have started and not ended.
func unended() []tasker.TaskStatus {
	return slices.DeleteFunc(tasker.TaskStatuses(), func(s tasker.TaskStatus) bool { return s == tasker.Scheduled || s.Final() })
}

// receivable are the statuses in which a task may still be received.
func receivable() []tasker.TaskStatus {
	return slices.DeleteFunc(unended(), func(s tasker.TaskStatus) bool { return s == tasker.Canceling })
}
