package store

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
)

// An endpoint may have any number of unfinished results, so they are marked and
// restored in steps, each a transaction of its own: none locks many rows for
// long, and after a crash the next call continues.
const (
	// lostStep limits the results of one step, lostCall those of one call.
	lostStep = 500
	lostCall = 20 * lostStep
)

// ReturnFromLost restores the LOST results of endpoints to their previous
// states, since the endpoints are back, and returns how many. After an error,
// call it again to continue. Results marked before version 5 of the schema have
// lost their errnr and errmsg.
func (s Endpoints) ReturnFromLost(ctx context.Context, endpoints []string) (returned int, err error) {
	for _, endpoint := range endpoints {
		for after := (resultRow{StartOrder: math.MinInt64}); ; {
			var rows []resultRow
			err := s.conn(ctx).Select("start_order", "task_id").
				Where("endpoint = ? AND state = ? AND lost_from IS NOT NULL", endpoint, tasker.Lost).
				Where("(start_order > ? OR start_order = ? AND task_id > ?)", after.StartOrder, after.StartOrder, after.TaskID).
				Order("start_order, task_id").Limit(lostStep).Find(&rows).Error
			if err != nil {
				return returned, s.fail("read the lost results", err)
			}
			if len(rows) == 0 {
				break
			}
			tasks := make([]int64, len(rows))
			for i, r := range rows {
				tasks[i] = r.TaskID
			}
			n, err := s.returnFromLost(ctx, endpoint, tasks)
			if err != nil {
				return returned, s.fail("restore the lost results", err)
			}
			returned, after = returned+n, rows[len(rows)-1]
		}
	}
	return returned, nil
}

func (s Endpoints) returnFromLost(ctx context.Context, endpoint string, tasks []int64) (returned int, err error) {
	err = s.withRetry(ctx, func() error {
		update := s.conn(ctx).Exec("UPDATE task_results SET state = lost_from, lost_from = NULL,"+
			" errnr = COALESCE(lost_errnr, 0), errmsg = COALESCE(lost_errmsg, ''),"+
			" lost_errnr = NULL, lost_errmsg = NULL, last_modified_time = ?"+
			" WHERE endpoint = ? AND task_id IN ? AND state = ? AND lost_from IS NOT NULL",
			dbTime{s.Now()}, endpoint, tasks, tasker.Lost)
		returned = int(update.RowsAffected)
		return update.Error
	})
	return returned, err
}

// MarkLost moves the unfinished results of up to limit endpoints not seen since
// a time, whose leases have ended, to LOST, and returns their tasks: a few thousand at most, the next
// call continues. These have changed even if it returns an error.
//
// If an endpoint was seen in the future, the database's clock was set back: its
// silence starts over.
func (s Endpoints) MarkLost(ctx context.Context, notSeenSince time.Time, limit int) (tasks []int64, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	if err := s.correctSeen(ctx, limit); err != nil {
		return nil, err
	}
	unfinished := slices.DeleteFunc(tasker.UnfinishedResultStates(), func(state tasker.ResultState) bool { return state == tasker.Lost })
	var gone []string
	err = s.conn(ctx).Model(&endpointRow{}).Where("last_seen < ? AND lease_until <= ?", s.at(notSeenSince), s.at(s.Now())).
		Where("EXISTS (SELECT 1 FROM task_results r WHERE r.endpoint = endpoints.name AND r.state IN ?)", unfinished).
		Order("last_seen").Limit(limit).Pluck("name", &gone).Error
	if err != nil {
		return nil, s.fail("read the silent endpoints", err)
	}
	for _, name := range gone {
		for _, state := range unfinished {
			for len(tasks) < lostCall {
				var step []int64
				if step, err = s.markLost(ctx, name, notSeenSince, state); err != nil {
					break
				}
				if tasks = append(tasks, step...); len(step) < lostStep {
					break
				}
			}
		}
	}
	slices.Sort(tasks)
	return slices.Compact(tasks), err
}

// correctSeen starts the silence of endpoints seen in the future over.
func (s Endpoints) correctSeen(ctx context.Context, limit int) error {
	var ahead []string
	err := s.conn(ctx).Model(&endpointRow{}).Where("last_seen > ?", s.at(s.Now().Add(clockError))).
		Order("last_seen").Limit(limit).Pluck("name", &ahead).Error
	if err != nil {
		return s.fail("read the endpoints seen in the future", err)
	}
	for _, name := range ahead {
		err := s.transact(ctx, "correct the time an endpoint was seen", func(tx *gorm.DB) error {
			_, _, err := s.lockEndpoint(tx, name)
			if errors.Is(err, gorm.ErrRecordNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// markLost is one step, for results in one state. It locks the endpoint: a
// heartbeat comes either before, and the endpoint is not lost, or after, and
// its manager finds the results to restore.
func (s Endpoints) markLost(
	ctx context.Context, name string, notSeenSince time.Time, state tasker.ResultState,
) (tasks []int64, err error) {
	err = s.transact(ctx, "mark results as lost", func(tx *gorm.DB) error {
		tasks = nil
		var row endpointRow
		err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).
			Where("name = ? AND last_seen < ? AND lease_until <= ?", name, s.at(notSeenSince), s.at(s.Now())).Take(&row).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		err = tx.Model(&resultRow{}).Where("endpoint = ? AND state = ?", name, state).
			Order("start_order, task_id").Limit(lostStep).Pluck("task_id", &tasks).Error
		if err != nil || len(tasks) == 0 {
			return err
		}
		if err := claimLost(tx, name, tasks); err != nil {
			return err
		}
		message := seenMessage(name, row.LastSeen.Time)
		return tx.Exec("UPDATE task_results SET lost_from = state, lost_errnr = errnr, lost_errmsg = errmsg,"+
			" state = ?, errnr = ?, errmsg = ?, last_modified_time = ?"+
			" WHERE endpoint = ? AND task_id IN ? AND state = ?",
			tasker.Lost, tasker.ErrnrLost, message, dbTime{s.Now()}, name, tasks, state).Error
	})
	return tasks, err
}

// seenMessage says when an endpoint that is silent was seen last.
func seenMessage(endpoint string, at time.Time) string {
	return "endpoint " + endpoint + " was last seen at " + at.Format(time.RFC3339)
}
