package store

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

// FindRollout returns the rollout of a task with its plan, and with the endpoints that are
// bad, that were forgiven and that were skipped, at most limit of each. wait is the time in
// which an endpoint should have received a task.
func (s Rollouts) FindRollout(ctx context.Context, task *tasker.Task, wait time.Duration, limit int) (*tasker.Rollout, error) {
	const what = "read the rollout of the task"
	if task.Rollout == nil {
		return nil, nil
	}
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	var rows []rolloutRow
	if err := s.conn(ctx).Where("task_id = ?", task.ID).Limit(1).Find(&rows).Error; err != nil {
		return nil, s.fail(what, err)
	}
	if len(rows) == 0 {
		return task.Rollout, nil // it has not started
	}
	row := &rows[0]
	public, err := publicRollout(row.Record.value, row.Settings.value)
	if err != nil {
		return nil, s.fail(what, err)
	}
	setPlan(&public, row.Plan.value)
	public.Skipped = row.Skipped[:min(limit, len(row.Skipped))]
	list := func(into *[]string, condition string, args ...any) error {
		return s.conn(ctx).Table("rollout_targets g").Joins(rolloutJoin).Where("g.task_id = ?", task.ID).Where(condition, args...).
			Order("g.endpoint").Limit(limit).Pluck("g.endpoint", into).Error
	}
	condition, args := badEndpoint(&row.Settings.value, s.Now(), wait)
	if err := list(&public.Bad, condition, args...); err != nil {
		return nil, s.fail(what, err)
	}
	return &public, s.fail(what, list(&public.Forgiven, "g.forgiven = ?", true))
}

// badEndpoint returns the condition that an endpoint of a rollout counts as bad.
func badEndpoint(settings *rollout.Settings, now time.Time, wait time.Duration) (condition string, args []any) {
	before := since(now, wait)
	condition = "g.forgiven = ? AND r.state IN ? OR g.late = ? AND " + isUnfinished
	args = []any{false, badStates, true, atWork, before}
	if settings.Unreached != rollout.IgnoreUnreached {
		condition += " OR g.forgiven = ? AND " + isUnreached
		args = append(args, false, before)
	}
	return "(" + condition + ")", args
}

// waitStates are the states in which a rollout waits for a person.
var waitStates = []rollout.State{rollout.WaitingApproval, rollout.Halted, rollout.Paused}

// WaitingRollouts counts the rollouts that wait for a person, and returns up to limit of
// their tasks, the latest first, with their names and rollouts only.
func (s Inspection) WaitingRollouts(ctx context.Context, limit int) (total int, tasks []tasker.Task, err error) {
	const what = "read the rollouts that wait"
	var count int64
	if err := s.conn(ctx).Model(&rolloutRow{}).Where("state IN ?", waitStates).Count(&count).Error; err != nil {
		return 0, nil, s.fail(what, err)
	}
	var rows []taskRow
	err = s.conn(ctx).Table("rollouts r").Joins("JOIN tasks t ON t.id = r.task_id").Select("t.id, t.type, t.identifier, t.rollout").
		Where("r.state IN ?", waitStates).Order("r.task_id DESC").Limit(limit).Find(&rows).Error
	for i := range rows {
		tasks = append(tasks, rows[i].task())
	}
	return int(count), tasks, s.fail(what, err)
}
