package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// A task that has expired is not run any more by an endpoint that gets to it later:
// each record and each start of a run looks at the time, by the database's clock. A
// run that has begun goes on. So that the task ends, the reconciler records EXPIRED
// for the endpoints that have not received it, or wait with it, in steps; after a
// crash the next call continues. It comes back while the task is open, since runs
// that go on may leave another attempt behind, or an endpoint may be lost.

// Expiry finds the tasks that have expired.
type Expiry struct{ *DB }

// unexpired returns the condition that a task or result has not expired at a time,
// its argument. prefix is that of the columns.
func unexpired(prefix string) string {
	return "(" + prefix + "not_after IS NULL OR " + prefix + "not_after > ?)"
}

// expiredMessage is the errmsg of an EXPIRED result.
func expiredMessage(at *time.Time) string {
	if at == nil {
		return "the task expired before it ran"
	}
	return "the task expired at " + at.UTC().Format(time.RFC3339) + ", before it ran"
}

// expired are the columns of a result that expires.
func expired(at *time.Time, now dbTime) map[string]any {
	return map[string]any{
		"state": tasker.Expired, "errnr": tasker.ErrnrExpired, "errmsg": expiredMessage(at), "retry_time": nil,
		"lost_from": nil, "lost_errnr": nil, "lost_errmsg": nil, "last_modified_time": now,
	}
}

// expireWaiting moves the waiting results among some to EXPIRED whose tasks have
// expired.
func (s Attempts) expireWaiting(ctx context.Context, starts []ledger.Start) error {
	condition, args := anyAt(starts, 0)
	var rows []resultRow
	err := s.conn(ctx).Select("task_id", "endpoint", "not_after").Where(condition, args...).
		Where("state IN ? AND not_after <= ?", waiting, s.at(s.Now())).Find(&rows).Error
	if err != nil {
		return err
	}
	for _, row := range rows {
		err := s.withRetry(ctx, func() error {
			now := dbTime{s.Now()}
			return s.conn(ctx).Model(&resultRow{}).
				Where("task_id = ? AND endpoint = ? AND state IN ? AND not_after <= ?", row.TaskID, row.Endpoint, waiting, s.at(now.Time)).
				Updates(expired(timePointer(row.NotAfter), now)).Error
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	// expireStep bounds the results that one transaction makes EXPIRED.
	expireStep = 500
	// expireAgain is how often an expired task is looked at while it is open.
	expireAgain = time.Minute
)

// ExpireTasks ends what can be ended of up to limit tasks that have expired, the
// earliest first, and returns them: their statuses are to be aggregated. Fewer than
// limit means that no more are due.
func (s Expiry) ExpireTasks(ctx context.Context, limit int) (tasks []int64, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	err = s.conn(ctx).Model(&taskRow{}).Where("expire_time <= ?", s.at(s.Now())).
		Order("expire_time, id").Limit(limit).Pluck("id", &tasks).Error
	if err != nil {
		return nil, s.fail("read the expired tasks", err)
	}
	for i, id := range tasks {
		if err := s.expireResults(ctx, id); err != nil {
			return tasks[:i], err
		}
		if err := s.expireTask(ctx, id); err != nil {
			return tasks[:i], err
		}
	}
	return tasks, nil
}

// expireResults records EXPIRED for the endpoints that have not received a task, or
// wait with it.
func (s Expiry) expireResults(ctx context.Context, id int64) error {
	for {
		var n int64
		err := s.withRetry(ctx, func() error {
			return s.conn(ctx).Transaction(func(tx *gorm.DB) error {
				row, err := s.lockExpired(tx, id)
				if n = 0; err != nil || row == nil || row.Status == tasker.Scheduled {
					return err
				}
				n, err = s.expireStep(tx, row)
				return err
			})
		})
		if err != nil {
			// An endpoint has recorded the task meanwhile.
			if errors.Is(err, gorm.ErrDuplicatedKey) {
				continue
			}
			return s.fail("record which endpoints did not run an expired task", err)
		}
		if n == 0 {
			return nil
		}
	}
}

// lockExpired locks an expired task that has not ended; nil if there is none.
func (s Expiry) lockExpired(tx *gorm.DB, id int64) (*taskRow, error) {
	var row taskRow
	err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).
		Select("id", "type", "status", "targets", "places", "rollout", "not_after", "start_time").
		Where("id = ? AND expire_time <= ? AND status NOT IN ?", id, s.at(s.Now()), ended()).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, nil
	}
	return &row, err
}

func (s Expiry) expireStep(tx *gorm.DB, row *taskRow) (n int64, err error) {
	if row.Rollout != nil {
		if err := releaseTargets(tx, row.ID, nil); err != nil {
			return 0, err
		}
	}
	now := dbTime{s.Now()}
	at := timePointer(row.NotAfter)
	var missing []string
	if err := withoutResult(tx, []int64{row.ID}).Order("g.endpoint").Limit(expireStep).Pluck("g.endpoint", &missing).Error; err != nil {
		return 0, err
	}
	if len(missing) > 0 {
		rows := make([]resultRow, len(missing))
		for i, name := range missing {
			rows[i] = resultRow{
				TaskID: row.ID, Endpoint: name, State: tasker.Expired, Errnr: tasker.ErrnrExpired, Errmsg: expiredMessage(at),
				NotAfter: row.NotAfter, StartTime: now, LastModifiedTime: now,
			}
		}
		return int64(len(rows)), tx.Create(&rows).Error
	}
	var wait []string
	const waits = "(state IN ? OR state = ? AND lost_from IN ?)"
	err = tx.Model(&resultRow{}).Where("task_id = ? AND "+waits, row.ID, waiting, tasker.Lost, waiting).
		Order("endpoint").Limit(expireStep).Pluck("endpoint", &wait).Error
	if err != nil || len(wait) == 0 {
		return 0, err
	}
	update := tx.Model(&resultRow{}).
		Where("task_id = ? AND endpoint IN ? AND "+waits, row.ID, wait, waiting, tasker.Lost, waiting).
		Updates(expired(at, now))
	return int64(len(wait)), update.Error
}

// expireTask ends an expired task that no endpoint has received, and says when it is
// looked at again.
func (s Expiry) expireTask(ctx context.Context, id int64) error {
	counted := endedTasks{}
	err := s.transact(ctx, "store that the task has expired", func(tx *gorm.DB) error {
		clear(counted)
		row, err := s.lockExpired(tx, id)
		if err != nil {
			return err
		}
		now := dbTime{s.Now()}
		if row == nil {
			return tx.Model(&taskRow{}).Where("id = ? AND expire_time <= ?", id, s.at(now.Time)).Update("expire_time", nil).Error
		}
		set, err := expiredTask(tx, row, now)
		if err != nil {
			return err
		}
		if set["status"] == tasker.Failed {
			counted.add(row.Type, tasker.Failed)
			if err := tx.Where("task_id = ?", row.ID).Delete(&placeRow{}).Error; err != nil {
				return err
			}
		}
		return tx.Model(&taskRow{}).Where("id = ? AND status = ?", row.ID, row.Status).Updates(set).Error
	})
	if err == nil {
		s.report(counted)
	}
	return err
}

// expiredPlaces returns why a locked task ends that has expired with places which nobody has
// taken: "" while an endpoint that has one has not finished.
func expiredPlaces(tx *gorm.DB, row *taskRow) (why string, err error) {
	untaken, err := untakenPlaces(tx, row.ID)
	if err != nil || untaken == 0 {
		return "", err
	}
	var unfinished []int64
	err = tx.Model(&resultRow{}).Where("task_id = ? AND state IN ?", row.ID, tasker.UnfinishedResultStates()).
		Limit(1).Pluck("task_id", &unfinished).Error
	if err != nil || len(unfinished) > 0 {
		return "", err
	}
	return fmt.Sprintf("the task expired before %d of %d places were taken", untaken, *row.Places), nil
}

// expiredTask returns the columns to set of a locked task whose endpoints that did
// not run it have EXPIRED results.
func expiredTask(tx *gorm.DB, row *taskRow, now dbTime) (map[string]any, error) {
	var received, ran []int64
	err := tx.Model(&resultRow{}).Where("task_id = ?", row.ID).Limit(1).Pluck("task_id", &received).Error
	if err == nil {
		err = tx.Model(&resultRow{}).Where("task_id = ? AND state <> ?", row.ID, tasker.Expired).Limit(1).Pluck("task_id", &ran).Error
	}
	why := ""
	if err == nil && row.Places != nil {
		why, err = expiredPlaces(tx, row)
	}
	switch {
	case err != nil:
		return nil, err
	case row.Status == tasker.Scheduled:
		why = "the task expired before it was started"
	case row.Status == tasker.Created && len(ran) == 0:
		why = "the task expired before it was sent"
	case len(received) == 0:
		why = "the task expired before any endpoint received it"
	}
	set := map[string]any{"expire_time": dbTime{now.Add(expireAgain)}}
	switch {
	case why != "":
		set["status"], set["errmsg"], set["relay_time"], set["last_modified_time"], set["expire_time"] = tasker.Failed, why, nil, now, nil
	case row.Status == tasker.Created:
		// An endpoint has received it: the confirm was lost.
		set["status"], set["relay_time"], set["sent_time"], set["last_modified_time"] = tasker.Sent, nil, now, now
	}
	return set, nil
}
