package store

import (
	"context"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/rollout"
	"github.com/taskerhq/tasker/internal/x/text"
)

// act does what a person wants, and what follows from it at once.
func (s Rollouts) act(
	ctx context.Context, what string, act tasker.RolloutAct, wait time.Duration,
	do func(r *rolloutTx, a rollout.Act) error,
) (out ledger.Advance, err error) {
	ended := endedTasks{}
	err = s.transact(ctx, what, func(tx *gorm.DB) error {
		clear(ended)
		out = ledger.Advance{}
		task, err := s.lockTask(tx, act.Type, act.Identifier)
		if err != nil {
			return err
		}
		r, found, err := s.lockRollout(tx, &task, wait)
		switch {
		case err != nil:
			return err
		case task.Rollout == nil:
			return tasker.Errorf(tasker.Conflict, "task %q of type %q has no rollout", act.Identifier, act.Type)
		case !found:
			return tasker.Errorf(tasker.Conflict, "task %q of type %q has not started: its rollout begins then", act.Identifier, act.Type)
		}
		r.ended = ended
		version := r.row.Version
		if err := r.expects(act.Expect); err != nil {
			return err
		}
		a := rollout.Act{By: text.CutValid(act.By, maxPrincipal), Reason: act.Reason, Now: s.Now()}
		if err := do(r, a); err != nil {
			return err
		}
		changed := r.row.Version != version
		if changed {
			if err := r.steps(); err != nil {
				return err
			}
		}
		out = r.advance()
		out.Changed = changed
		return nil
	})
	if err == nil {
		s.report(ended)
	}
	return out, err
}

// expects returns a [tasker.Conflict] error that says how the rollout is, unless it is as a
// person saw it. If the endpoints that are bad were part of that, only they can be forgiven:
// others may become bad until they are.
func (r *rolloutTx) expects(e *tasker.RolloutExpect) error {
	if e == nil {
		return nil
	}
	record := &r.row.Record.value
	same := (e.State == nil || *e.State == string(record.State) || *e.State == "" && record.State.Final()) &&
		(e.Since == nil || e.Since.Equal(record.Since)) && (e.Wave == nil || *e.Wave == record.Opened)
	if same && e.BadDigest == nil {
		return nil
	}
	bad, err := badNames(r.tx, &r.row, r.Now(), r.wait)
	if err != nil {
		return err
	}
	if same && *e.BadDigest == tasker.EndpointsDigest(bad) {
		r.seenBad = append([]string{}, bad...)
		return nil
	}
	by := ""
	if record.By != "" {
		by = " by " + record.By
	}
	return tasker.Errorf(tasker.Conflict, "rollout changed meanwhile: %s, since %s%s, bad endpoints: %d: nothing was done; look again",
		r.describe(), record.Since.UTC().Format(time.RFC3339), by, len(bad))
}

// Approve approves the waves of a rollout up to one, or the one that waits, and opens it
// if it does. wait is the time in which an endpoint should have received a task. The error
// is [tasker.NotFound]; [tasker.Conflict] if the task has no rollout, or this has ended, waits
// for no approval or is not as the act expects it; or [tasker.Invalid] with the field if there
// is no such wave.
func (s Rollouts) Approve(ctx context.Context, act tasker.RolloutAct, wait time.Duration) (ledger.Advance, error) {
	return s.act(ctx, "approve the wave", act, wait, func(r *rolloutTx, a rollout.Act) error {
		record, plan := &r.row.Record.value, r.row.Plan.value
		wave := act.Wave
		switch {
		case plan.Window > 0:
			return tasker.Errorf(tasker.Conflict, "rollout has no waves to approve: %s", r.describe())
		case wave == 0 && record.State != rollout.WaitingApproval && !record.State.Final():
			return tasker.Errorf(tasker.Conflict, "rollout waits for no approval: %s: to approve a later wave, name it", r.describe())
		case wave == 0:
			wave = min(record.Opened+1, len(plan.Waves))
		case wave < 0 || wave > len(plan.Waves):
			return tasker.FieldErrorf("/wave", "invalid wave %d: the rollout has %d waves", wave, len(plan.Waves))
		}
		next, err := record.Approve(plan, wave, a)
		if err != nil {
			return err
		}
		return r.save(next)
	})
}

// ResumeRollout continues a rollout that is HALTED or PAUSED, and ends the hold of its
// task. If it was HALTED, the endpoints that are bad are forgiven. With act.All it is
// promoted. wait is as for Approve. Changed is false if there was nothing to do. The error
// is [tasker.NotFound], or [tasker.Conflict] if the task has no rollout, or this has ended,
// waits for an approval or is not as the act expects it.
func (s Rollouts) ResumeRollout(ctx context.Context, act tasker.RolloutAct, wait time.Duration) (ledger.Advance, error) {
	return s.act(ctx, "resume the rollout", act, wait, func(r *rolloutTx, a rollout.Act) error {
		record := r.row.Record.value
		next, forgives, err := record.Resume(a, act.All)
		if err != nil {
			return err
		}
		if forgives {
			if err := r.forgive(a.Now); err != nil {
				return err
			}
		}
		if !record.State.MayStart() {
			if err := r.unhold(); err != nil {
				return err
			}
		}
		if next == record {
			return nil
		}
		if err := r.save(next); err != nil {
			return err
		}
		return r.sendAgain(a.Now)
	})
}

// pauseRollout pauses the rollout of a task that somebody pauses. The error is a
// [tasker.Conflict] if it is HALTED: that ends when somebody resumes it, and not by itself.
func (s Rollouts) pauseRollout(tx *gorm.DB, request tasker.HoldRequest) error {
	if request.Identifier == "" {
		return nil
	}
	task, err := s.lockTask(tx, request.TaskType, request.Identifier)
	if err != nil {
		return err
	}
	r, found, err := s.lockRollout(tx, &task, never)
	if err != nil || !found || r.row.State.Final() || r.over() {
		return err
	}
	if r.row.State == rollout.Halted {
		return tasker.Errorf(tasker.Conflict, "rollout is HALTED: nothing of it starts until somebody resumes or cancels it")
	}
	next, err := r.row.Record.value.Pause(rollout.Act{By: request.By, Reason: request.Reason, Now: s.Now()})
	if err != nil {
		return err
	}
	if err := r.save(next); err != nil {
		return err
	}
	return r.show()
}

// releaseTargets makes endpoints of a rollout targets whose waves are not open, all of them
// if endpoints is nil, without sending them the task: a result is to be stored for each, of
// a task that is canceled or has expired.
func releaseTargets(tx *gorm.DB, taskID int64, endpoints []string) error {
	within, args := "", []any{taskID, stageTarget}
	if endpoints != nil {
		within, args = " AND g.endpoint IN ?", append(args, endpoints)
	}
	err := tx.Exec("INSERT INTO task_targets (task_id, endpoint) SELECT g.task_id, g.endpoint FROM rollout_targets g"+
		" WHERE g.task_id = ? AND g.stage < ?"+within+notTarget, args...).Error
	if err != nil {
		return err
	}
	rows := tx.Model(&rolloutTargetRow{}).Where("task_id = ? AND stage < ?", taskID, stageTarget)
	if endpoints != nil {
		rows = rows.Where("endpoint IN ?", endpoints)
	}
	return rows.Update("stage", stageSent).Error
}

// retryRollout has the endpoints of a round count by their latest attempts in the rollout of
// a locked task; those that have not received it have the whole time again.
func retryRollout(tx *gorm.DB, taskID int64, round roundOutcome, now dbTime) error {
	for part := range slices.Chunk(round.Retried, maxRows) {
		err := tx.Model(&rolloutTargetRow{}).Where("task_id = ? AND endpoint IN ?", taskID, part).
			Updates(map[string]any{"late": false, "forgiven": false}).Error
		if err != nil {
			return err
		}
	}
	for part := range slices.Chunk(round.Missing, maxRows) {
		err := tx.Model(&rolloutTargetRow{}).Where("task_id = ? AND endpoint IN ? AND open_time IS NOT NULL", taskID, part).
			Update("open_time", now).Error
		if err != nil {
			return err
		}
	}
	return nil
}

// cancelRollout ends the rollout of a locked task that somebody cancels as a whole.
func (s Rollouts) cancelRollout(tx *gorm.DB, task *taskRow, by *tasker.Cancellation) error {
	r, found, err := s.lockRollout(tx, task, never)
	if err != nil || !found {
		return err
	}
	if err := r.save(r.row.Record.value.Cancel(rollout.Act{By: by.By, Reason: by.Reason, Now: by.At})); err != nil {
		return err
	}
	return r.show()
}

// dropRolloutTarget takes a removed endpoint out of the rollouts of locked tasks, and
// returns those of which it was no target yet.
func dropRolloutTarget(tx *gorm.DB, endpoint string, taskIDs []int64) (waiting []int64, err error) {
	err = tx.Model(&rolloutTargetRow{}).Where("endpoint = ? AND task_id IN ? AND stage < ?", endpoint, taskIDs, stageTarget).
		Order("task_id").Pluck("task_id", &waiting).Error
	if err != nil {
		return nil, err
	}
	return waiting, tx.Where("endpoint = ? AND task_id IN ?", endpoint, taskIDs).Delete(&rolloutTargetRow{}).Error
}

// waves detaches the endpoint from the tasks whose rollouts have not come to it.
func (d *detachment) waves(ctx context.Context) error {
	for after := int64(0); !d.ended; {
		var ids []int64
		err := d.conn(ctx).Table("rollout_targets g").Joins("JOIN tasks t ON t.id = g.task_id").
			Where("g.endpoint = ? AND g.stage IN ? AND g.task_id > ?", d.removal.Endpoint, []int{stageWaits, stageOpened}, after).
			Where("t.start_time <= ?", dbTime{d.removal.Time}).
			Order("g.task_id").Limit(batchSize).Pluck("g.task_id", &ids).Error
		if err != nil || len(ids) == 0 {
			return err
		}
		after = ids[len(ids)-1]
		if err := d.detach(ctx, ids); err != nil {
			return err
		}
	}
	return nil
}
