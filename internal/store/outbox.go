package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/text"
)

// Outbox keeps the CREATED tasks until they are sent.
type Outbox struct{ *DB }

// maxRefusal is the size in characters of the column with the reason of a
// refusal.
const maxRefusal = 1024

// ClaimUnsent claims up to limit CREATED tasks whose next attempt to send is
// due, and that have not expired, longest due first, and begins that attempt. No other process gets them
// until lease has passed.
func (s Outbox) ClaimUnsent(ctx context.Context, limit int, lease time.Duration) (claimed []ledger.Unsent, err error) {
	err = s.transact(ctx, "claim unsent tasks", func(tx *gorm.DB) error {
		now := s.Now()
		var rows []taskRow
		find := tx.Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}).
			Where("status = ? AND relay_time <= ?", tasker.Created, dbTime{now}).
			Where(unexpired(""), s.at(now)).
			Order("relay_time, id").Limit(limit).Find(&rows)
		if find.Error != nil || len(rows) == 0 {
			claimed = nil
			return find.Error
		}
		ids := make([]int64, len(rows))
		claimed = make([]ledger.Unsent, len(rows))
		for i := range rows {
			ids[i], claimed[i] = rows[i].ID, rows[i].unsent()
			claimed[i].Attempt++
		}
		return tx.Model(&taskRow{}).Where("id IN ?", ids).Updates(map[string]any{
			"relay_time": dbTime{now.Add(lease)}, "publish_attempts": gorm.Expr("publish_attempts + 1"),
		}).Error
	})
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

func (r *taskRow) unsent() ledger.Unsent {
	u := ledger.Unsent{Task: r.task(), Attempt: r.PublishAttempts, Refused: r.Refusal != nil}
	if r.SentTo != nil {
		u.SentTo = *r.SentTo
	}
	return u
}

// attempting selects a CREATED task if attempt is still its latest attempt to
// send.
func (s Outbox) attempting(ctx context.Context, taskID int64, attempt int) *gorm.DB {
	return s.conn(ctx).Model(&taskRow{}).
		Where("id = ? AND status = ? AND publish_attempts = ?", taskID, tasker.Created, attempt)
}

// RenewUnsent extends the claim on a task whose attempt to send continues.
func (s Outbox) RenewUnsent(ctx context.Context, taskID int64, attempt int, lease time.Duration) error {
	err := s.withRetry(ctx, func() error {
		return s.attempting(ctx, taskID, attempt).Update("relay_time", dbTime{s.Now().Add(lease)}).Error
	})
	return s.fail("extend the claim on the task", err)
}

// SaveSent stores the SentTo and Unserved of a task, and extends the claim on
// it.
func (s Outbox) SaveSent(ctx context.Context, u ledger.Unsent, lease time.Duration) error {
	err := s.withRetry(ctx, func() error {
		return s.attempting(ctx, u.ID, u.Attempt).Updates(map[string]any{
			"sent_to": u.SentTo, "unserved": names(u.Unserved), "relay_time": dbTime{s.Now().Add(lease)},
		}).Error
	})
	return s.fail("store the progress of sending the task", err)
}

// ReleaseTask ends an attempt to send a task that stays CREATED.
func (s Outbox) ReleaseTask(ctx context.Context, r ledger.Release) error {
	err := s.withRetry(ctx, func() error {
		set := map[string]any{"relay_time": dbTime{s.Now().Add(r.After)}}
		if r.Untried {
			set["publish_attempts"] = r.Attempt - 1
		} else {
			set["refusal"] = refusalText(r.Refusal)
		}
		return s.attempting(ctx, r.TaskID, r.Attempt).Updates(set).Error
	})
	return s.fail("release the task to the relay", err)
}

// refusalText returns the text in the form of its column.
func refusalText(refusal string) *string {
	if refusal == "" {
		return nil
	}
	return new(text.CutValid(refusal, maxRefusal))
}

// RegisteredEndpoints returns the names in among that are registered for a task
// type, or all registered ones if among is nil, in no order.
func (s Outbox) RegisteredEndpoints(ctx context.Context, taskType string, among []string) (registered []string, err error) {
	const what = "read the registered endpoints"
	find := func() *gorm.DB {
		return s.conn(ctx).Model(&endpointTypeRow{}).Where("task_type = ?", taskType)
	}
	if among == nil {
		err := find().Pluck("endpoint", &registered).Error
		return registered, s.fail(what, err)
	}
	const most = 1000 // names per statement
	for part := range slices.Chunk(among, most) {
		var found []string
		if err := find().Where("endpoint IN ?", part).Pluck("endpoint", &found).Error; err != nil {
			return nil, s.fail(what, err)
		}
		registered = append(registered, found...)
	}
	return registered, nil
}

// Received reports whether an endpoint has received a task.
func (s Outbox) Received(ctx context.Context, taskID int64) (bool, error) {
	var found []int64
	err := s.conn(ctx).Model(&resultRow{}).Where("task_id = ?", taskID).Limit(1).Pluck("task_id", &found).Error
	return len(found) > 0, s.fail("look for a result of the task", err)
}

// OldestProtocol returns the newest version of task messages that all endpoints of
// a type read, of those seen within a time; 0 if there are none.
func (s Outbox) OldestProtocol(ctx context.Context, taskType string, seenWithin time.Duration) (oldest int, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return 0, err
	}
	err = s.conn(ctx).Table("endpoint_task_types r").Joins("JOIN endpoints e ON e.name = r.endpoint").
		Select("COALESCE(MIN(CASE WHEN e.protocol_manager = e.manager THEN e.protocol ELSE 1 END), 0)").
		Where("r.task_type = ? AND e.last_seen >= ?", taskType, s.at(s.Now().Add(-seenWithin))).Scan(&oldest).Error
	return oldest, s.fail("read which messages the endpoints read", err)
}

// MarkSent moves a CREATED task to SENT after the broker has confirmed it for
// every queue, and returns the stored task. unserved are listed endpoints that
// had no queue. If the task is no longer CREATED, somebody else moved it, and
// MarkSent returns it unchanged.
func (s Outbox) MarkSent(ctx context.Context, task tasker.Task, unserved []string) (tasker.Task, error) {
	var now dbTime
	var moved bool
	err := s.withRetry(ctx, func() (err error) {
		now = dbTime{s.Now()}
		if moved, err = s.markSent(s.conn(ctx), task, unserved, now); moved || err != nil {
			return err
		}
		return s.conn(ctx).Transaction(func(tx *gorm.DB) error {
			target, err := s.targetUnsent(tx, task.ID)
			if target && err == nil {
				moved, err = s.markSent(tx, task, unserved, now)
			}
			return err
		})
	})
	if err != nil {
		return task, s.fail("mark the task as sent", err)
	}
	if !moved {
		return Tasks(s).FindTask(ctx, task.Type, task.Identifier)
	}
	return asSent(task, unserved, now), nil
}

// MarkSents is [Outbox.MarkSent] for many tasks with one statement. An error means
// that none is known to be marked.
func (s Outbox) MarkSents(ctx context.Context, sent []ledger.Sent) ([]ledger.Marking, error) {
	together, ids := usual(sent)
	var now dbTime
	moved := false
	if len(ids) > 1 {
		err := s.withRetry(ctx, func() error {
			now = dbTime{s.Now()}
			update := s.conn(ctx).Model(&taskRow{}).
				Where("id IN ? AND status IN ? AND targets IS NOT NULL", ids, tasker.TaskStatusesBefore(tasker.Sent)).
				Updates(s.sentColumns(nil, now, "CASE WHEN endpoints IS NULL THEN "+s.dialect.expectedTargets()+" ELSE expected END"))
			moved = update.RowsAffected == int64(len(ids))
			return update.Error
		})
		if err != nil {
			return nil, s.fail("mark the tasks as sent", err)
		}
	}
	markings := make([]ledger.Marking, len(sent))
	for i, one := range sent {
		if moved && together[i] {
			markings[i].Task = asSent(one.Task, nil, now)
			continue
		}
		// Not all were CREATED, or have targets: this tells which.
		markings[i].Task, markings[i].Err = s.MarkSent(ctx, one.Task, one.Unserved)
	}
	return markings, nil
}

// usual returns which tasks can be marked by one statement, and their ids.
func usual(sent []ledger.Sent) (together []bool, ids []int64) {
	together = make([]bool, len(sent))
	for i, one := range sent {
		if len(one.Unserved) == 0 && !slices.Contains(ids, one.Task.ID) {
			together[i] = true
			ids = append(ids, one.Task.ID)
		}
	}
	return together, ids
}

// asSent returns the task as it is stored when it was marked as sent.
func asSent(task tasker.Task, unserved []string, now dbTime) tasker.Task {
	task.Status, task.SentTime, task.LastModifiedTime, task.Unserved = tasker.Sent, &now.Time, now.Time, unserved
	return task
}

// sentColumns are the columns of a task that is marked as sent. expected is the
// value of the column for older programs; empty leaves it as it is.
func (s Outbox) sentColumns(unserved []string, now dbTime, expected string) map[string]any {
	set := map[string]any{
		"status": tasker.Sent, "sent_time": now, "last_modified_time": now, "relay_time": nil, "unserved": names(unserved),
		"sent_to": nil, "refusal": nil,
	}
	if expected != "" {
		set["expected"] = gorm.Expr(expected)
	}
	return set
}

// markSent is MarkSent for a task that has targets.
func (s Outbox) markSent(db *gorm.DB, task tasker.Task, unserved []string, now dbTime) (moved bool, err error) {
	expected := ""
	if task.Endpoints == nil {
		expected = s.dialect.expectedTargets()
	}
	update := db.Model(&taskRow{}).
		Where("id = ? AND status IN ? AND targets IS NOT NULL", task.ID, tasker.TaskStatusesBefore(tasker.Sent)).
		Updates(s.sentColumns(unserved, now, expected))
	return update.RowsAffected > 0, update.Error
}

// targetUnsent gives a task that an older program accepted, and that is not sent
// yet, its targets: it is for the endpoints that are registered now, if it lists
// none.
func (s Outbox) targetUnsent(tx *gorm.DB, taskID int64) (done bool, err error) {
	var row taskRow
	err = tx.Clauses(clause.Locking{Strength: "UPDATE"}).Select("id", "endpoints").
		Where("id = ? AND status IN ? AND targets IS NULL", taskID, tasker.TaskStatusesBefore(tasker.Sent)).Take(&row).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return false, nil
	case err != nil:
		return false, err
	case row.Endpoints == nil:
		return true, s.targetRegistered(tx, []int64{taskID})
	}
	return true, s.convertLocked(tx, []int64{taskID})
}
