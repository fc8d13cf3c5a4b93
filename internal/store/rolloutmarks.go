package store

import (
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

// markLate marks the unfinished endpoints of the open waves as late.
func (r *rolloutTx) markLate(now time.Time) error {
	record := &r.row.Record.value
	return r.mark("late", nil, "g.wave BETWEEN ? AND ? AND g.stage > 0 AND "+isUnfinished,
		record.Closed+1, record.Opened, atWork, since(now, r.wait))
}

// forgive marks the endpoints that are bad as forgiven, and takes back the other mark. Those
// that are unreached and ignored are not bad: what they do later counts.
func (r *rolloutTx) forgive(now time.Time) error {
	condition, args := "r.state IN ?", []any{badStates}
	if r.row.Settings.value.Unreached != rollout.IgnoreUnreached {
		condition, args = "("+condition+" OR "+isUnreached+")", append(args, since(now, r.wait))
	}
	if err := r.mark("forgiven", r.seenBad, condition, args...); err != nil {
		return err
	}
	return r.tx.Model(&rolloutTargetRow{}).Where("task_id = ? AND late = ?", r.task.ID, true).Update("late", false).Error
}

// mark sets a mark of the endpoints to which a condition applies, and that are among some
// unless these are nil.
func (r *rolloutTx) mark(column string, among []string, condition string, args ...any) error {
	var list []string
	err := r.tx.Table("rollout_targets g").Joins(rolloutJoin).Where("g.task_id = ?", r.task.ID).Where(condition, args...).
		Order("g.endpoint").Pluck("g.endpoint", &list).Error
	if err != nil {
		return err
	}
	if among != nil {
		within := map[string]bool{}
		for _, name := range among {
			within[name] = true
		}
		list = slices.DeleteFunc(list, func(name string) bool { return !within[name] })
	}
	for part := range slices.Chunk(list, maxRows) {
		err := r.tx.Model(&rolloutTargetRow{}).Where("task_id = ? AND endpoint IN ?", r.task.ID, part).Update(column, true).Error
		if err != nil {
			return err
		}
	}
	return nil
}

// hold keeps the attempts of the task from starting, until the rollout is resumed.
func (r *rolloutTx) hold(reason string) error {
	outcome, err := Holds{r.DB}.store(r.tx, tasker.HoldRequest{
		HoldSubject: tasker.HoldSubject{TaskType: r.task.Type, Identifier: r.task.Identifier}, By: rolloutName, Reason: reason,
	})
	if r.over() && tasker.CodeOf(err) == tasker.Conflict {
		return nil // nothing starts
	}
	r.out.Held = outcome.Endpoints
	return err
}

// unhold ends the hold of the task.
func (r *rolloutTx) unhold() error {
	var rows []holdRow
	err := forUpdate(r.tx).Where("task_id = ?", r.task.ID).Limit(1).Find(&rows).Error
	if err != nil || len(rows) == 0 {
		return err
	}
	subject := tasker.HoldSubject{TaskType: r.task.Type, Identifier: r.task.Identifier}
	if r.out.Held, err = concerned(r.tx, r.tx, subject, r.task.ID); err != nil {
		return err
	}
	_, err = Holds{r.DB}.end(r.tx, rows[0])
	return err
}

// cancelBegun cancels the task at the endpoints that have begun with it.
func (r *rolloutTx) cancelBegun(reason string) error {
	var begun []string
	err := r.tx.Model(&resultRow{}).Where("task_id = ? AND COALESCE(lost_from, state) IN ?", r.task.ID,
		[]tasker.ResultState{tasker.Running, tasker.Retrying}).Order("endpoint").Pluck("endpoint", &begun).Error
	if err != nil || len(begun) == 0 {
		return err
	}
	c := cancellation{Cancels: Cancels{r.DB}, tx: r.tx, task: r.task.task(), request: tasker.CancelRequest{
		Type: r.task.Type, Identifier: r.task.Identifier, Endpoints: begun, By: rolloutName, Reason: reason,
	}}
	if err := c.change(r.ended); err != nil {
		return err
	}
	r.out.Canceled = begun
	return nil
}
