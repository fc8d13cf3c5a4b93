package store

import (
	"context"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

// FindRollout returns the rollout of a task with its plan, and with the endpoints that are
// bad, that were forgiven and that were skipped, at most limit of each. wait is the time in
// which an endpoint should have received a task.
func (s Rollouts) FindRollout(ctx context.Context, task *tasker.Task, wait time.Duration, limit int) (*tasker.Rollout, error) {
	row, err := s.begun(ctx, task)
	if err != nil || row == nil {
		return task.Rollout, err
	}
	return s.describeRow(ctx, row, wait, limit)
}

// CountRollout is FindRollout, together with what has become of the endpoints. There is
// nothing of that before the task has started.
func (s Rollouts) CountRollout(
	ctx context.Context, task *tasker.Task, wait time.Duration, limit int,
) (*tasker.Rollout, tasker.RolloutProgress, error) {
	none := tasker.RolloutProgress{Waves: []tasker.WaveProgress{}}
	row, err := s.begun(ctx, task)
	if err != nil || row == nil {
		return task.Rollout, none, err
	}
	public, err := s.describeRow(ctx, row, wait, limit)
	if err != nil {
		return nil, none, err
	}
	v, err := s.view(s.conn(ctx), row, s.Now(), wait) // after the record: see [rollout.View]
	if err != nil {
		return nil, none, s.fail("count the endpoints of the rollout", err)
	}
	return public, rollout.Progress(row.Plan.value, row.Settings.value, row.Record.value, v), nil
}

// begun returns the row of a task's rollout; nil if it has none, or has not started.
func (s Rollouts) begun(ctx context.Context, task *tasker.Task) (*rolloutRow, error) {
	if task.Rollout == nil {
		return nil, nil
	}
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	var rows []rolloutRow
	err := s.conn(ctx).Where("task_id = ?", task.ID).Limit(1).Find(&rows).Error
	if err != nil || len(rows) == 0 {
		return nil, s.fail("read the rollout of the task", err)
	}
	return &rows[0], nil
}

// describeRow returns a rollout in its form for people.
func (s Rollouts) describeRow(ctx context.Context, row *rolloutRow, wait time.Duration, limit int) (*tasker.Rollout, error) {
	const what = "read the rollout of the task"
	public, err := publicRollout(row.Record.value, row.Settings.value)
	if err != nil {
		return nil, s.fail(what, err)
	}
	setPlan(&public, row.Plan.value)
	public.Skipped = row.Skipped[:min(limit, len(row.Skipped))]
	bad, err := badNames(s.conn(ctx), row, s.Now(), wait)
	if err != nil {
		return nil, s.fail(what, err)
	}
	public.Bad, public.BadDigest = bad[:min(limit, len(bad))], tasker.EndpointsDigest(bad)
	err = s.conn(ctx).Model(&rolloutTargetRow{}).Where("task_id = ? AND forgiven = ?", row.TaskID, true).
		Order("endpoint").Limit(limit).Pluck("endpoint", &public.Forgiven).Error
	return &public, s.fail(what, err)
}

// ListRollouts returns one page of the tasks whose rollouts are in one of some states,
// newest first, without their payloads and Expected, and the ID before which the next page
// begins, 0 if this is the last one.
func (s Rollouts) ListRollouts(ctx context.Context, q tasker.RolloutQuery) (tasks []tasker.Task, next int64, err error) {
	const what = "list the rollouts"
	ranges, values := make([]string, len(q.States)), []any(nil)
	for i, state := range q.States { // each is a range of an index that has the task last
		older := ""
		values = append(values, state)
		if q.Before > 0 {
			older = " AND task_id < ?"
			values = append(values, q.Before)
		}
		values = append(values, q.Limit+1)
		// SQLite wants it within another one.
		ranges[i] = "SELECT id FROM (SELECT task_id AS id FROM rollouts WHERE state = ?" + older + " ORDER BY task_id DESC LIMIT ?) r"
	}
	var ids []int64
	err = s.conn(ctx).Raw(strings.Join(ranges, " UNION ALL ")+" ORDER BY id DESC LIMIT ?", append(values, q.Limit+1)...).Scan(&ids).Error
	if err != nil || len(ids) == 0 {
		return nil, 0, s.fail(what, err)
	}
	if len(ids) > q.Limit {
		ids = ids[:q.Limit]
		next = ids[q.Limit-1]
	}
	var page []sized
	find := s.conn(ctx).Table("tasks").Select("id, "+listSize+" AS size").Where("id IN ?", ids).Order("id DESC")
	if len(q.Types) > 0 { // those of others make the page shorter
		find = find.Where("type IN ?", q.Types)
	}
	if err = find.Find(&page).Error; err != nil {
		return nil, 0, s.fail(what, err)
	}
	if fits := withinBytes(page, q.MaxBytes); len(fits) < len(page) {
		page, next = fits, fits[len(fits)-1].ID
	}
	tasks, err = Tasks(s).tasksOf(ctx, page, false)
	return tasks, next, s.fail(what, err)
}

// badNames returns all endpoints of a rollout that count as bad, sorted.
func badNames(db *gorm.DB, row *rolloutRow, now time.Time, wait time.Duration) (names []string, err error) {
	condition, args := badEndpoint(&row.Settings.value, now, wait)
	err = db.Table("rollout_targets g").Joins(rolloutJoin).Where("g.task_id = ?", row.TaskID).Where(condition, args...).
		Order("g.endpoint").Pluck("g.endpoint", &names).Error
	return names, err
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
