package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// WaitingWork returns up to limit results of an endpoint and type that wait for
// a free slot (RECEIVED), in the order in which they start, without those to which a
// hold applies.
func (s Attempts) WaitingWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error) {
	args := append([]any{tasker.Received, taskType}, s.unheldArgs()...)
	return s.work(ctx, endpoint, limit, "r.state = ? AND t.type = ? AND "+unheld, args...)
}

// DueWork returns up to limit results of an endpoint and type whose next
// attempt is due (RETRYING), in the order in which they start, without those to which
// a hold applies.
func (s Attempts) DueWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	// A retry stored in the future is due: the database's clock was set back.
	now := s.Now()
	args := append([]any{tasker.Retrying, s.at(now), s.at(now.Add(clockError)), taskType}, s.unheldArgs()...)
	const due = "r.state = ? AND (r.retry_time <= ? OR r.last_modified_time > ?) AND t.type = ? AND "
	return s.work(ctx, endpoint, limit, due+unheld, args...)
}

// InterruptedWork returns up to limit results of an endpoint that are RUNNING,
// or LOST from there, under another manager that ended or lost the endpoint
// during the run. If AwaitsReboot is set, the run ended to continue after a
// reboot: see [Attempts.ResumeAttempts]; those to which a hold applies are left out. If
// Canceled is set, it was told to stop. It returns none if manager does not hold the
// endpoint.
func (s Attempts) InterruptedWork(ctx context.Context, manager, endpoint string, limit int) ([]ledger.Work, error) {
	args := []any{[]tasker.ResultState{tasker.Running, tasker.Lost}, tasker.Running, manager, manager}
	return s.work(ctx, endpoint, limit, "r.state IN ? AND COALESCE(r.lost_from, r.state) = ? AND r.manager <> ?"+
		" AND EXISTS (SELECT 1 FROM endpoints e WHERE e.name = r.endpoint AND e.manager = ?)"+
		" AND (r.awaits_reboot IS NULL OR r.cancel_id IS NOT NULL OR "+unheld+")", append(args, s.unheldArgs()...)...)
}

// UnfinishedWork returns which kinds of unfinished results an endpoint of a manager
// has. Its cost does not depend on their number.
func (s Attempts) UnfinishedWork(ctx context.Context, manager, endpoint string) (ledger.Unfinished, error) {
	const some = "EXISTS (SELECT 1 FROM task_results WHERE endpoint = ? AND state "
	var u ledger.Unfinished
	err := s.conn(ctx).Raw("SELECT "+some+"= ?) AS lost, "+some+"= ? AND manager <> ?) AS interrupted, "+some+"IN ?) AS waiting, "+
		some+"= ? AND manager = ? AND cancel_id IS NOT NULL) AS canceled",
		endpoint, tasker.Lost, endpoint, tasker.Running, manager, endpoint, waiting, endpoint, tasker.Running, manager).Scan(&u).Error
	return u, s.fail("look for the endpoint's unfinished results", err)
}

// CanceledWork returns up to limit results of an endpoint that a manager runs and
// that were told to stop, each with the reason in Canceled.
func (s Attempts) CanceledWork(ctx context.Context, manager, endpoint string, limit int) ([]ledger.Work, error) {
	return s.work(ctx, endpoint, limit, "r.state = ? AND r.manager = ? AND r.cancel_id IS NOT NULL", tasker.Running, manager)
}

// work returns the results of an endpoint that a condition on them (r) and
// their tasks (t) selects, by start order and then by task.
func (s Attempts) work(ctx context.Context, endpoint string, limit int, condition string, args ...any) ([]ledger.Work, error) {
	var rows []struct {
		Task      taskRow `gorm:"embedded"`
		Endpoint  string
		State     tasker.ResultState
		Ordinal   int64
		Attempt   int
		RetryTime *dbTime
		Step      int
		Earlier   int
		Awaits    *string
		Canceler  *string
		Reason    string
	}
	// The results come first, so that nothing is sorted: their index has the order.
	err := s.conn(ctx).Table("task_results r").Joins(s.dialect.orderedJoin()+"tasks t ON t.id = r.task_id").
		Joins("LEFT JOIN cancels c ON c.id = r.cancel_id").
		Select("t.id, t.type, t.identifier, t.status, "+smallPayload("t.payload")+", t.payload_sha256, t.retry, t.signature,"+
			" t.signature_proof,"+
			" t.start_time, t.last_modified_time,"+
			" r.endpoint, r.state, r.start_order AS ordinal, r.attempt, r.retry_time, r.step,"+
			" r.earlier_attempts AS earlier, r.awaits_reboot AS awaits,"+
			" c.requested_by AS canceler, COALESCE(c.reason, '') AS reason").
		Where("r.endpoint = ?", endpoint).Where(condition, args...).
		Order("r.start_order, r.task_id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, s.fail("read the endpoint's unfinished results", err)
	}
	work := make([]ledger.Work, len(rows))
	for i := range rows {
		r := &rows[i]
		work[i] = ledger.Work{
			Task: r.Task.work(), Endpoint: r.Endpoint, State: r.State, StartOrder: r.Ordinal, Attempt: r.Attempt,
			RetryTime: timePointer(r.RetryTime), Step: r.Step, Earlier: r.Earlier,
		}
		if r.Awaits != nil {
			work[i].AwaitsReboot = *r.Awaits
		}
		if r.Canceler != nil {
			by := tasker.Cancellation{By: *r.Canceler, Reason: r.Reason}
			work[i].Canceled = by.Errmsg()
		}
	}
	return work, nil
}

// NextRetry returns when the next attempt of an endpoint and type is due to which no
// hold applies; ok is false if there is none.
func (s Attempts) NextRetry(ctx context.Context, endpoint, taskType string) (next time.Time, ok bool, err error) {
	var times []dbTime
	err = s.conn(ctx).Table("task_results r").Joins("JOIN tasks t ON t.id = r.task_id").
		Where("r.endpoint = ? AND r.state = ? AND t.type = ?", endpoint, tasker.Retrying, taskType).Where(unheld, s.unheldArgs()...).
		Order("r.retry_time").Limit(1).Pluck("r.retry_time", &times).Error
	if err != nil || len(times) == 0 {
		return time.Time{}, false, s.fail("read the time of the next retry", err)
	}
	return times[0].Time, true, nil
}

// cancelRetries ends results that were just stored as RETRYING, if they were told to
// stop.
func (s Attempts) cancelRetries(tx *gorm.DB, followed []ledger.Start, now time.Time) error {
	condition, args := anyAt(followed, 0)
	var rows []struct {
		TaskID              int64
		Endpoint            string
		RequestedBy, Reason string
	}
	told := tx.Model(&resultRow{}).Select("task_id", "endpoint", "cancel_id").Where(condition, args...).
		Where("state = ? AND cancel_id IS NOT NULL", tasker.Retrying)
	err := tx.Table("(?) r", told).Joins("JOIN cancels c ON c.id = r.cancel_id").
		Select("r.task_id, r.endpoint, c.requested_by, c.reason").Find(&rows).Error
	for i := 0; err == nil && i < len(rows); i++ {
		by := tasker.Cancellation{By: rows[i].RequestedBy, Reason: rows[i].Reason}
		err = tx.Model(&resultRow{}).
			Where("task_id = ? AND endpoint = ? AND state = ?", rows[i].TaskID, rows[i].Endpoint, tasker.Retrying).
			Updates(map[string]any{
				"state": tasker.ResultCanceled, "errnr": tasker.ErrnrCanceled, "errmsg": by.Errmsg(), "retry_time": nil,
				"last_modified_time": dbTime{now},
			}).Error
	}
	return err
}
