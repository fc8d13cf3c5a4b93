package store

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// A place whose endpoint is lost is passed on to another endpoint, if nothing of the task
// runs there, or if the retry policy allows another attempt after one that was interrupted.
// The endpoint is then removed from this task, as if an administrator had removed it, except
// that its place stays open: its result is CANCELED and not counted, and it takes no place
// of the task again. A run that goes on there in spite of that ends without being stored.
//
// Marking a result as lost makes a claim of it (place_claims), so that these are found
// without reading all that is lost.

// claimLost claims the places of an endpoint in tasks that it has lost.
func claimLost(tx *gorm.DB, endpoint string, tasks []int64) error {
	var placed []int64
	err := tx.Model(&taskRow{}).Where("id IN ? AND places IS NOT NULL", tasks).Order("id").Pluck("id", &placed).Error
	if err != nil || len(placed) == 0 {
		return err
	}
	claims := make([]claimRow, len(placed))
	for i, id := range placed {
		claims[i] = claimRow{TaskID: id, Endpoint: endpoint}
	}
	return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&claims).Error
}

// PassOnPlaces passes on up to limit places of endpoints that are lost, and returns their
// tasks. attempts tells how many attempts the retry policy of a type allows, for tasks
// without one of their own: those that an endpoint has lost count. What it does not pass on
// it leaves to the endpoint for good, or until that is lost once more.
func (s Endpoints) PassOnPlaces(ctx context.Context, attempts func(taskType string) int, limit int) (tasks []int64, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	var rows []claimRow
	err = s.conn(ctx).Table("place_claims c").Select("c.task_id, c.endpoint").
		Joins("JOIN task_results r ON r.task_id = c.task_id AND r.endpoint = c.endpoint").Where("r.state = ?", tasker.Lost).
		Order("c.task_id, c.endpoint").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, s.fail("read the places of endpoints that are lost", err)
	}
	return s.eachClaim(ctx, rows, "pass on a place of the task", func(tx *gorm.DB, claim claimRow) (bool, error) {
		return s.passOn(tx, claim, attempts)
	})
}

// passOn passes on one place, or deletes the claim if it must not. The endpoint is locked: a
// manager that takes it comes before, and has the result back, or after, and finds it
// CANCELED.
func (s Endpoints) passOn(tx *gorm.DB, claim claimRow, attempts func(taskType string) int) (passed bool, err error) {
	gone, lastSeen, err := s.lockGone(tx, claim.Endpoint)
	if err != nil || !gone {
		return false, err
	}
	now := s.Now()
	var tasks []taskRow
	err = forUpdate(tx).Select("id", "type", "status", "priority", "endpoints", "places", "start_time", "removed_endpoints", "retry").
		Where("id = ? AND status IN ?", claim.TaskID, receivable()).Where(unexpired(""), s.at(now)).Limit(1).Find(&tasks).Error
	if err != nil {
		return false, err
	}
	var results []resultRow
	err = forUpdate(tx).Where("task_id = ? AND endpoint = ? AND state = ?", claim.TaskID, claim.Endpoint, tasker.Lost).
		Limit(1).Find(&results).Error
	if err != nil {
		return false, err
	}
	if err := tx.Where("task_id = ? AND endpoint = ?", claim.TaskID, claim.Endpoint).Delete(&claimRow{}).Error; err != nil {
		return false, err
	}
	if len(tasks) == 0 || len(results) == 0 {
		return false, nil
	}
	task, result := &tasks[0], &results[0]
	may, err := mayPassOn(tx, task, result, attempts)
	if err != nil || !may {
		return false, err
	}
	if err := s.endLost(tx, result, lastSeen, dbTime{now}); err != nil {
		return false, err
	}
	if err := noteRemoved(tx, task.ID, task.RemovedEndpoints, claim.Endpoint); err != nil {
		return false, err
	}
	if err := tx.Where("task_id = ? AND endpoint = ?", task.ID, claim.Endpoint).Delete(&targetRow{}).Error; err != nil {
		return false, err
	}
	return true, addPlace(tx, task)
}

// lockGone locks an endpoint and reports whether no manager holds it, and when one was seen
// last; zero if it is not registered.
func (s Endpoints) lockGone(tx *gorm.DB, endpoint string) (gone bool, lastSeen time.Time, err error) {
	var rows []endpointRow
	err = forUpdate(tx).Select("name", "lease_until", "last_seen").Where("name = ?", endpoint).Limit(1).Find(&rows).Error
	if err != nil || len(rows) == 0 {
		return err == nil, lastSeen, err
	}
	return !rows[0].LeaseUntil.After(s.Now()), rows[0].LastSeen.Time, nil
}

// mayPassOn reports whether the place of a lost result may be passed on. Where no attempt of
// this round has begun it may. An attempt that waits for a reboot goes on at its endpoint.
func mayPassOn(tx *gorm.DB, task *taskRow, result *resultRow, attempts func(taskType string) int) (bool, error) {
	if result.CancelID != nil || result.SupersededBy != nil || result.AwaitsReboot != nil || result.LostFrom == nil {
		return false, nil
	}
	begun := result.Attempt - result.EarlierAttempts
	if begun == 0 {
		return true, nil
	}
	var earlier int // at the endpoints before it
	err := tx.Raw("SELECT COALESCE(SUM(attempt - earlier_attempts), 0) FROM task_results WHERE task_id = ? AND errnr = ? AND round = ?",
		task.ID, tasker.ErrnrRemoved, result.Round).Scan(&earlier).Error
	allowed := attempts(task.Type)
	if task.Retry != nil {
		allowed = task.Retry.value.MaxAttempts()
	}
	return earlier+begun < allowed, err
}

// endLost ends a lost result whose place is passed on. An attempt that ran was interrupted,
// as its history says.
func (s Endpoints) endLost(tx *gorm.DB, result *resultRow, lastSeen time.Time, now dbTime) error {
	row := tx.Model(&resultRow{}).Where("task_id = ? AND endpoint = ? AND state = ?", result.TaskID, result.Endpoint, tasker.Lost).
		Session(&gorm.Session{})
	seen := seenMessage(result.Endpoint, lastSeen)
	if *result.LostFrom == tasker.Running {
		set := map[string]any{"errnr": tasker.ErrnrInterrupted, "errmsg": seen + " while it ran the task", "last_modified_time": now}
		if err := row.Updates(set).Error; err != nil {
			return err
		}
		ran := ledger.Start{ResultKey: result.key(), Attempt: result.Attempt}
		if err := Attempts(s).keepHistory(tx, []ledger.Start{ran}); err != nil {
			return err
		}
	}
	return row.Updates(removedResult(seen+", and its place was passed on", now)).Error
}
