package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/rollout"
)

// rolloutName is who holds or cancels what a halted rollout does.
const rolloutName = "rollout"

const (
	// lookPause is the longest pause between two looks at a rollout that goes on, and
	// idlePause that at one which waits for a person. pausePerTarget makes the pause of a
	// large one longer, since a look counts all of its endpoints.
	lookPause, idlePause = time.Second, 10 * time.Second
	pausePerTarget       = 100 * time.Microsecond
)

func forUpdate(tx *gorm.DB) *gorm.DB { return tx.Clauses(clause.Locking{Strength: "UPDATE"}) }

// DueRollouts returns up to limit tasks whose rollouts are to be looked at, those due
// longest first.
func (s Rollouts) DueRollouts(ctx context.Context, limit int) (tasks []int64, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	err = s.conn(ctx).Model(&rolloutRow{}).Where("next_look <= ?", s.at(s.Now())).
		Order("next_look, task_id").Limit(limit).Pluck("task_id", &tasks).Error
	return tasks, s.fail("read the rollouts that are due", err)
}

// OpenRollouts returns up to limit of those among some tasks, or among all if taskIDs is
// nil, that have a rollout which has not ended.
func (s Rollouts) OpenRollouts(ctx context.Context, taskIDs []int64, limit int) (tasks []int64, err error) {
	find := s.conn(ctx).Model(&rolloutRow{}).Where("next_look IS NOT NULL").Limit(limit)
	if taskIDs != nil {
		find = find.Where("task_id IN ?", taskIDs)
	}
	err = find.Pluck("task_id", &tasks).Error
	return tasks, s.fail("read which rollouts go on", err)
}

// Advance looks at the rollout of a task and does what is to be done now: one decision at
// most, since [ledger.Advance] says whether it has to be called again. wait is the time
// in which an endpoint should have received a task. It looks without locks, and several
// processes may do so at once: what one of them has decided, the others find done.
func (s Rollouts) Advance(ctx context.Context, taskID int64, wait time.Duration) (out ledger.Advance, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return out, err
	}
	idle, err := s.idle(ctx, taskID, wait, &out)
	if idle || err != nil {
		return out, s.fail("look at the rollout", err)
	}
	ended := endedTasks{}
	err = s.transact(ctx, "advance the rollout", func(tx *gorm.DB) error {
		clear(ended)
		out = ledger.Advance{TaskID: taskID}
		var task taskRow
		err := forUpdate(tx).Omit("payload", "request_hash", "expected").Where("id = ?", taskID).Take(&task).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return tx.Where("task_id = ?", taskID).Delete(&rolloutRow{}).Error
		}
		if err != nil {
			return err
		}
		r, found, err := s.lockRollout(tx, &task, wait)
		if err != nil || !found {
			return err
		}
		r.ended = ended
		if out.Changed, err = r.step(); err != nil {
			return err
		}
		if out.Changed {
			if err := r.show(); err != nil {
				return err
			}
		}
		changed := out.Changed
		out = r.advance()
		out.Changed = changed
		return nil
	})
	if err == nil {
		s.report(ended)
	}
	return out, err
}

// idle reports whether there is nothing to do, and says when to look again.
func (s Rollouts) idle(ctx context.Context, taskID int64, wait time.Duration, out *ledger.Advance) (bool, error) {
	r := rolloutTx{DB: s.DB, tx: s.conn(ctx), wait: wait}
	if err := r.tx.Where("task_id = ?", taskID).Limit(1).Find(&r.row).Error; err != nil || r.row.TaskID == 0 {
		return true, err
	}
	if r.row.State.Final() {
		return true, s.withRetry(ctx, func() error { return r.sleep(time.Time{}, s.Now()) })
	}
	err := r.tx.Select("id", "type", "identifier", "status", "rollout").Where("id = ?", taskID).Limit(1).Find(&r.task).Error
	if err != nil || r.task.ID == 0 || r.over() {
		return false, err
	}
	if differs, err := r.differs(); differs || err != nil {
		return false, err
	}
	now := s.Now()
	v, err := s.view(r.tx, &r.row, now, wait)
	if err != nil {
		return false, err
	}
	d := rollout.Decide(r.row.Plan.value, r.row.Settings.value, r.row.Record.value, v)
	*out = r.advance()
	out.Behind = r.task.Status == tasker.Sent && unreached(v) > 0
	if d.Action != rollout.Wait {
		return false, nil
	}
	return true, s.withRetry(ctx, func() error { return r.sleep(d.Until, now) })
}

// rolloutTx is a transaction that has locked a task and its rollout.
type rolloutTx struct {
	*DB
	tx   *gorm.DB
	task taskRow
	row  rolloutRow
	wait time.Duration
	// seenBad are the only endpoints that a person forgives; nil means all that are bad.
	seenBad []string
	ended   endedTasks // the tasks that it ends; to be reported after the commit
	out     ledger.Advance
}

// maxSteps bounds the decisions of one transaction; the next look makes the others.
const maxSteps = 100

// steps does all that is to be done now.
func (r *rolloutTx) steps() error {
	for range maxSteps {
		changed, err := r.step()
		if err != nil {
			return err
		}
		if !changed {
			break
		}
	}
	return r.show()
}

// step does what one decision says.
func (r *rolloutTx) step() (changed bool, err error) {
	record := &r.row.Record.value
	now := r.Now()
	if record.State.Final() {
		return false, r.sleep(time.Time{}, now)
	}
	differs, err := r.differs()
	switch {
	case err != nil:
		return false, err
	case differs && record.State == rollout.Halted:
		return true, r.hold(record.Reason)
	case differs && record.State == rollout.Paused:
		next, _, err := record.Resume(rollout.Act{Reason: "the pause has ended", Now: now}, false)
		if err != nil {
			return false, err
		}
		return true, errors.Join(r.save(next), r.sendAgain(now))
	case differs:
		next, err := record.Pause(r.pausedBy(now))
		if err != nil {
			return false, err
		}
		return true, r.save(next)
	}
	v, err := r.view(r.tx, &r.row, now, r.wait)
	if err != nil {
		return false, err
	}
	r.out.Behind = r.task.Status == tasker.Sent && unreached(v) > 0
	d := rollout.Decide(r.row.Plan.value, r.row.Settings.value, *record, v)
	switch {
	case d.Action != rollout.Wait:
		return true, r.apply(d, now)
	case r.over():
		// Its endpoints do not say so: an older program has canceled it, say.
		return true, r.save(record.Cancel(rollout.Act{Now: now}))
	}
	return false, r.sleep(d.Until, now)
}

// over reports whether the task has ended, or is being canceled: then it takes no hold.
func (r *rolloutTx) over() bool { return r.task.Status.Final() || r.task.Status == tasker.Canceling }

// differs reports whether the rollout is HALTED or PAUSED and its task has no hold, or
// the other way round.
func (r *rolloutTx) differs() (bool, error) {
	if r.over() {
		return false, nil
	}
	var holds []int64
	err := r.tx.Table("holds h").Where("h.task_id = ? AND "+active, r.row.TaskID, r.at(r.Now())).Limit(1).Pluck("h.id", &holds).Error
	return (len(holds) > 0) != (r.row.State == rollout.Halted || r.row.State == rollout.Paused), err
}

// pausedBy returns who stored the hold of the task, as an act.
func (r *rolloutTx) pausedBy(now time.Time) rollout.Act {
	a := rollout.Act{Now: now}
	if r.task.Hold != nil {
		a.By, a.Reason = r.task.Hold.value.By, r.task.Hold.value.Reason
	}
	return a
}

// apply does what a decision says.
func (r *rolloutTx) apply(d rollout.Decision, now time.Time) error {
	if d.Late {
		if err := r.markLate(now); err != nil {
			return err
		}
	}
	var err error
	switch d.Action {
	case rollout.Open:
		err = r.open(d.First, d.Last, now)
	case rollout.Halt:
		r.out.Halted = d.Limit
		if err = r.hold(d.Next.Reason); err == nil && d.CancelRunning {
			err = r.cancelBegun(d.Next.Reason)
		}
	case rollout.Finish:
		err = r.unhold()
	}
	if err != nil {
		return err
	}
	return r.save(d.Next)
}

// save stores a record.
func (r *rolloutTx) save(next rollout.Record) error {
	if next == r.row.Record.value {
		return nil
	}
	update := r.tx.Model(&rolloutRow{}).Where("task_id = ? AND version = ?", r.row.TaskID, next.Version-1).Updates(map[string]any{
		"version": next.Version, "state": next.State, "record": document[rollout.Record]{next}, "next_look": dbTime{r.Now()},
	})
	if update.Error == nil && update.RowsAffected != 1 {
		return fmt.Errorf("rollout of task %d is not at version %d", r.row.TaskID, next.Version-1)
	}
	r.row.Version, r.row.State, r.row.Record = next.Version, next.State, document[rollout.Record]{next}
	return update.Error
}

// show stores the copy of the state in the task.
func (r *rolloutTx) show() error {
	public, err := publicRollout(r.row.Record.value, r.row.Settings.value)
	if err != nil {
		return err
	}
	r.task.Rollout = &document[tasker.Rollout]{public}
	return r.tx.Model(&taskRow{}).Where("id = ?", r.task.ID).Update("rollout", r.task.Rollout).Error
}

// sleep says when to look at the rollout again: at a time, unless that is zero, or when
// the pause between two looks has passed. One that has ended is not looked at.
func (r *rolloutTx) sleep(until, now time.Time) error {
	var next *dbTime
	if !r.row.State.Final() {
		pause := lookPause
		if !r.row.State.MayStart() || r.row.State == rollout.WaitingApproval {
			pause = idlePause
		}
		pause = max(pause, time.Duration(r.row.Plan.value.N)*pausePerTarget)
		next = &dbTime{now.Add(pause)}
		if !until.IsZero() && until.Before(next.Time) {
			next.Time = until
		}
	}
	return r.tx.Model(&rolloutRow{}).Where("task_id = ? AND version = ?", r.row.TaskID, r.row.Version).Update("next_look", next).Error
}

// open opens waves: their endpoints become targets, now or after their delays.
func (r *rolloutTx) open(first, last int, now time.Time) error {
	waves := r.tx.Model(&rolloutTargetRow{}).
		Where("task_id = ? AND wave BETWEEN ? AND ? AND stage = ?", r.task.ID, first, last, stageWaits)
	settings := &r.row.Settings.value
	if settings.Splay == 0 {
		err := waves.Updates(map[string]any{"stage": stageOpened, "open_time": dbTime{now}}).Error
		if err != nil {
			return err
		}
	} else if err := r.openDelayed(waves, settings, now); err != nil {
		return err
	}
	if err := r.launch(r.tx, r.task.ID, now); err != nil {
		return err
	}
	// Whoever is sending finds them. A time to come may be that of a delay, too.
	if r.row.RelayTime == nil || settings.Splay > 0 {
		return r.claim(now)
	}
	return nil
}

// openDelayed opens endpoints, each at a time of its own.
func (r *rolloutTx) openDelayed(waves *gorm.DB, settings *rollout.Settings, now time.Time) error {
	var list []string
	if err := waves.Order("endpoint").Pluck("endpoint", &list).Error; err != nil {
		return err
	}
	for part := range slices.Chunk(list, batchSize) {
		open, args := "CASE endpoint", []any{stageOpened}
		for _, name := range part {
			open += " WHEN ? THEN ?"
			args = append(args, name, dbTime{now.Add(settings.Delay(name))})
		}
		args = append(args, r.task.ID, part)
		statement := "UPDATE rollout_targets SET stage = ?, open_time = " + open + " END WHERE task_id = ? AND endpoint IN ?"
		err := r.tx.Exec(statement, args...).Error
		if err != nil {
			return err
		}
	}
	return nil
}

// launch makes the endpoints of a locked task targets whose time to begin has come.
func (s *DB) launch(tx *gorm.DB, taskID int64, now time.Time) error {
	err := tx.Exec("INSERT INTO task_targets (task_id, endpoint) SELECT g.task_id, g.endpoint FROM rollout_targets g"+
		" WHERE g.task_id = ? AND g.stage = ? AND g.open_time <= ?"+notTarget, taskID, stageOpened, dbTime{now}).Error
	if err != nil {
		return err
	}
	return tx.Model(&rolloutTargetRow{}).Where("task_id = ? AND stage = ? AND open_time <= ?", taskID, stageOpened, dbTime{now}).
		Update("stage", stageTarget).Error
}

// notTarget is the condition that an endpoint of a rollout (g) is no target.
const notTarget = " AND NOT EXISTS (SELECT 1 FROM task_targets x WHERE x.task_id = g.task_id AND x.endpoint = g.endpoint)"

// claim begins an attempt to send the task, which the caller of the transaction makes.
func (r *rolloutTx) claim(now time.Time) error {
	r.row.PublishAttempts++
	r.row.RelayTime = &dbTime{now.Add(relayGrace)}
	r.out.Send = ledger.WaveClaim{TaskID: r.task.ID, Attempt: r.row.PublishAttempts}
	return r.tx.Model(&rolloutRow{}).Where("task_id = ?", r.task.ID).
		Updates(map[string]any{"publish_attempts": r.row.PublishAttempts, "relay_time": r.row.RelayTime}).Error
}

// sendAgain begins an attempt to send what was kept back while the rollout was held.
func (r *rolloutTx) sendAgain(now time.Time) error {
	var kept []string
	err := r.tx.Model(&rolloutTargetRow{}).Where("task_id = ? AND stage IN ?", r.task.ID, []int{stageOpened, stageTarget}).
		Limit(1).Pluck("endpoint", &kept).Error
	if err != nil || len(kept) == 0 {
		return err
	}
	return r.claim(now)
}
