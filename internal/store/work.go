package store

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// WaitingWork returns up to limit results of an endpoint and type that wait for
// a free slot (RECEIVED), oldest task first.
func (s Attempts) WaitingWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error) {
	return s.work(ctx, endpoint, limit, "r.state = ? AND t.type = ?", tasker.Received, taskType)
}

// DueWork returns up to limit results of an endpoint and type whose next
// attempt is due (RETRYING).
func (s Attempts) DueWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	// A retry stored in the future is due: the database's clock was set back.
	now := s.Now()
	return s.work(ctx, endpoint, limit, "r.state = ? AND (r.retry_time <= ? OR r.last_modified_time > ?) AND t.type = ?",
		tasker.Retrying, s.at(now), s.at(now.Add(clockError)), taskType)
}

// InterruptedWork returns up to limit results of an endpoint that are RUNNING,
// or LOST from there, under another manager that ended or lost the endpoint
// during the run. If AwaitsReboot is set, the run ended to continue after a
// reboot: see [Attempts.ResumeAttempts]. It returns none if manager does not hold
// the endpoint.
func (s Attempts) InterruptedWork(ctx context.Context, manager, endpoint string, limit int) ([]ledger.Work, error) {
	return s.work(ctx, endpoint, limit, "r.state IN ? AND COALESCE(r.lost_from, r.state) = ? AND r.manager <> ?"+
		" AND EXISTS (SELECT 1 FROM endpoints e WHERE e.name = r.endpoint AND e.manager = ?)",
		[]tasker.ResultState{tasker.Running, tasker.Lost}, tasker.Running, manager, manager)
}

// UnfinishedWork returns which kinds of unfinished results an endpoint of a manager
// has. Its cost does not depend on their number.
func (s Attempts) UnfinishedWork(ctx context.Context, manager, endpoint string) (ledger.Unfinished, error) {
	const some = "EXISTS (SELECT 1 FROM task_results WHERE endpoint = ? AND state "
	var u ledger.Unfinished
	err := s.conn(ctx).Raw("SELECT "+some+"= ?) AS lost, "+some+"= ? AND manager <> ?) AS interrupted, "+some+"IN ?) AS waiting",
		endpoint, tasker.Lost, endpoint, tasker.Running, manager, endpoint, waiting).Scan(&u).Error
	return u, s.fail("look for the endpoint's unfinished results", err)
}

// work returns the results of an endpoint that a condition on them (r) and
// their tasks (t) selects, oldest task first.
func (s Attempts) work(ctx context.Context, endpoint string, limit int, condition string, args ...any) ([]ledger.Work, error) {
	var rows []struct {
		Task      taskRow `gorm:"embedded"`
		Endpoint  string
		State     tasker.ResultState
		Attempt   int
		RetryTime *dbTime
		Step      int
		Awaits    *string
	}
	err := s.conn(ctx).Table("task_results r").Joins("JOIN tasks t ON t.id = r.task_id").
		Select("t.id, t.type, t.identifier, t.status, "+smallPayload("t.payload")+", t.payload_sha256, t.start_time, t.last_modified_time,"+
			" r.endpoint, r.state, r.attempt, r.retry_time, r.step, r.awaits_reboot AS awaits").
		Where("r.endpoint = ?", endpoint).Where(condition, args...).
		Order("r.task_id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, s.fail("read the endpoint's unfinished results", err)
	}
	work := make([]ledger.Work, len(rows))
	for i := range rows {
		r := &rows[i]
		work[i] = ledger.Work{
			Task: r.Task.work(), Endpoint: r.Endpoint, State: r.State, Attempt: r.Attempt, RetryTime: timePointer(r.RetryTime),
			Step: r.Step,
		}
		if r.Awaits != nil {
			work[i].AwaitsReboot = *r.Awaits
		}
	}
	return work, nil
}

// NextRetry returns when the next attempt of an endpoint and type is due; ok is
// false if there is none.
func (s Attempts) NextRetry(ctx context.Context, endpoint, taskType string) (next time.Time, ok bool, err error) {
	var times []dbTime
	err = s.conn(ctx).Table("task_results r").Joins("JOIN tasks t ON t.id = r.task_id").
		Where("r.endpoint = ? AND r.state = ? AND t.type = ?", endpoint, tasker.Retrying, taskType).
		Order("r.retry_time").Limit(1).Pluck("r.retry_time", &times).Error
	if err != nil || len(times) == 0 {
		return time.Time{}, false, s.fail("read the time of the next retry", err)
	}
	return times[0].Time, true, nil
}
