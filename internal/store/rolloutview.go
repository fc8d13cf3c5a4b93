package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

// The conditions on an endpoint of a rollout (g) and its result (r), which is NULL if
// there is none. They say what [rollout.Counts.Add] says.
const (
	rolloutJoin = "LEFT JOIN task_results r ON r.task_id = g.task_id AND r.endpoint = g.endpoint"
	// isUnreached has the time since when an endpoint must have been open.
	isUnreached = "(r.state IS NULL AND g.stage > 0 AND g.open_time <= ?)"
	// isUnfinished has the states that are unfinished and not LOST, and that time. An
	// endpoint whose wave is not open is none.
	isUnfinished = "(r.state IN ? OR r.state IS NULL AND g.stage > 0 AND (g.open_time IS NULL OR g.open_time > ?))"
)

// badStates are the states of results that count as bad.
var badStates = []tasker.ResultState{tasker.ResultFailed, tasker.TimedOut, tasker.Rejected, tasker.Expired, tasker.Lost}

// atWork are the states in which a result may still turn out well or badly.
var atWork = []tasker.ResultState{tasker.Received, tasker.Running, tasker.Retrying}

// since returns the time since when an endpoint must have been open to be unreached now.
func since(now time.Time, wait time.Duration) dbTime { return dbTime{now.Add(-wait)} }

// view counts the endpoints of a rollout. Its record must have been read before.
func (s *DB) view(db *gorm.DB, row *rolloutRow, now time.Time, wait time.Duration) (v rollout.View, err error) {
	plan := &row.Plan.value
	wave := "g.wave"
	v = rollout.View{Now: now, Waves: make([]rollout.Counts, len(plan.Waves))}
	if plan.Window > 0 {
		wave = "1"
		v.Waves = make([]rollout.Counts, 1)
	}
	before := since(now, wait)
	var rows []struct {
		Wave     int
		State    tasker.ResultState
		Opened   bool
		Overdue  bool
		Late     bool
		Forgiven bool
		N        int
	}
	err = db.Raw("SELECT w.wave, w.state, w.opened, w.overdue, w.late, w.forgiven, COUNT(*) AS n FROM (SELECT "+wave+" AS wave,"+
		" COALESCE(r.state, '') AS state, CASE WHEN g.stage > 0 THEN 1 ELSE 0 END AS opened,"+
		" CASE WHEN g.open_time <= ? THEN 1 ELSE 0 END AS overdue, g.late AS late, g.forgiven AS forgiven"+
		" FROM rollout_targets g "+rolloutJoin+" WHERE g.task_id = ?) w"+
		" GROUP BY w.wave, w.state, w.opened, w.overdue, w.late, w.forgiven", before, row.TaskID).Scan(&rows).Error
	if err != nil {
		return v, err
	}
	for _, r := range rows {
		t := rollout.Target{State: r.State, Opened: r.Opened, Overdue: r.Overdue, Late: r.Late, Forgiven: r.Forgiven}
		for range r.N {
			v.Waves[r.Wave-1].Add(t)
		}
	}
	var next []dbTime
	err = db.Table("rollout_targets g").Joins(rolloutJoin).
		Where("g.task_id = ? AND g.stage > 0 AND g.open_time > ? AND r.state IS NULL", row.TaskID, before).
		Order("g.open_time").Limit(1).Pluck("g.open_time", &next).Error
	if len(next) > 0 {
		v.ReceiveBy = next[0].Add(wait)
	}
	return v, err
}

// unreached returns how many endpoints of a view are unreached.
func unreached(v rollout.View) (n int) {
	for _, c := range v.Waves {
		n += c.Unreached
	}
	return n
}

// overdueRollouts returns which tasks with a rollout lack an endpoint although its time
// to receive them has passed.
func (s *DB) overdueRollouts(db *gorm.DB, taskIDs []int64, wait time.Duration) (map[int64]bool, error) {
	overdue := map[int64]bool{}
	if len(taskIDs) == 0 {
		return overdue, nil
	}
	var found []int64
	err := db.Table("rollout_targets g").Joins(rolloutJoin).Distinct("g.task_id").
		Where("g.task_id IN ? AND "+isUnreached, taskIDs, since(s.Now(), wait)).Pluck("g.task_id", &found).Error
	for _, id := range found {
		overdue[id] = true
	}
	return overdue, err
}

// unopened counts the endpoints of a task that are no targets before their wave opens.
func (s *DB) unopened(ctx context.Context, task *tasker.Task) (int, error) {
	if task.Rollout == nil || task.Status.Final() {
		return 0, nil
	}
	var n int64
	err := s.conn(ctx).Model(&rolloutTargetRow{}).
		Where("task_id = ? AND stage IN ?", task.ID, []int{stageWaits, stageOpened}).Count(&n).Error
	return int(n), err
}
