package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// A task with a rollout is sent wave by wave. An attempt to do so sends it to all that are
// open, also to those that are opened meanwhile. It may be made by the process that opened
// them, or by any other one if that has died. What it has sent is stored in the rows of the
// endpoints, so that the next attempt continues; it is sent twice at most to those for which
// that was about to be stored, and they recognize it.

// ClaimWaves claims up to limit rollouts of which something is to be sent, longest due
// first, and begins an attempt for each. No other process gets them until lease has passed.
func (s Outbox) ClaimWaves(ctx context.Context, limit int, lease time.Duration) (claimed []ledger.WaveClaim, err error) {
	err = s.transact(ctx, "claim rollouts to send", func(tx *gorm.DB) error {
		claimed = nil
		now := s.Now()
		var rows []rolloutRow
		err := tx.Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}).Select("task_id", "publish_attempts").
			Where("relay_time <= ?", dbTime{now}).Order("relay_time, task_id").Limit(limit).Find(&rows).Error
		if err != nil || len(rows) == 0 {
			return err
		}
		ids := make([]int64, len(rows))
		for i, row := range rows {
			ids[i] = row.TaskID
			claimed = append(claimed, ledger.WaveClaim{TaskID: row.TaskID, Attempt: row.PublishAttempts + 1})
		}
		return tx.Model(&rolloutRow{}).Where("task_id IN ?", ids).Updates(map[string]any{
			"relay_time": dbTime{now.Add(lease)}, "publish_attempts": gorm.Expr("publish_attempts + 1"),
		}).Error
	})
	return claimed, err
}

// WaveTask returns the task of a rollout, as it is sent, or [tasker.NotFound].
func (s Outbox) WaveTask(ctx context.Context, taskID int64) (tasker.Task, error) {
	var row taskRow
	err := s.conn(ctx).Omit("request_hash", "expected").Where("id = ?", taskID).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return tasker.Task{}, tasker.Errorf(tasker.NotFound, "task %d not found: it was deleted", taskID)
	}
	return row.task(), s.fail("read the task", err)
}

// NextWave returns what an attempt has to send next, to at most limit endpoints, and keeps
// the claim on it for lease. If nothing is left, the attempt has ended, and the task is SENT.
// current is false if a later attempt has begun.
func (s Outbox) NextWave(
	ctx context.Context, c ledger.WaveClaim, lease time.Duration, limit int,
) (wave ledger.Wave, current bool, err error) {
	err = s.transact(ctx, "read which endpoints the task is to be sent to", func(tx *gorm.DB) error {
		wave, current = ledger.Wave{}, false
		var task taskRow
		err := forUpdate(tx).Omit("payload", "request_hash", "expected").Where("id = ?", c.TaskID).Take(&task).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		wave.Task = task.task()
		r, found, err := Rollouts(s).lockRollout(tx, &task, never)
		if err != nil || !found || r.row.PublishAttempts != c.Attempt {
			return err
		}
		current = true
		if wave.Endpoints, err = r.unsent(limit); err != nil {
			return err
		}
		if len(wave.Endpoints) > 0 {
			return r.relayAt(&dbTime{s.Now().Add(lease)})
		}
		if err := r.endAttempt(); err != nil {
			return err
		}
		wave.Task = r.task.task()
		return nil
	})
	return wave, current, err
}

// unsent returns endpoints that are to be sent to now.
func (r *rolloutTx) unsent(limit int) (endpoints []string, err error) {
	if !slices.Contains(receivable(), r.task.Status) {
		return nil, nil
	}
	// An endpoint must not become a target of a task that is held: its gate may be open.
	held, err := r.differs()
	if err == nil && !held && r.row.State.MayStart() {
		err = r.launch(r.tx, r.task.ID, r.Now())
	}
	if err != nil {
		return nil, err
	}
	err = r.tx.Model(&rolloutTargetRow{}).Where("task_id = ? AND stage = ?", r.task.ID, stageTarget).
		Order("endpoint").Limit(limit).Pluck("endpoint", &endpoints).Error
	return endpoints, err
}

func (r *rolloutTx) relayAt(at *dbTime) error {
	return r.tx.Model(&rolloutRow{}).Where("task_id = ?", r.task.ID).Update("relay_time", at).Error
}

// endAttempt ends an attempt that has sent all that was to be sent. The next one is due
// when the delay of an endpoint has passed.
func (r *rolloutTx) endAttempt() error {
	var next []dbTime
	if r.row.State.MayStart() && slices.Contains(receivable(), r.task.Status) {
		err := r.tx.Model(&rolloutTargetRow{}).Where("task_id = ? AND stage = ?", r.task.ID, stageOpened).
			Order("open_time").Limit(1).Pluck("open_time", &next).Error
		if err != nil {
			return err
		}
	}
	var at *dbTime
	if len(next) > 0 {
		at = &next[0]
	}
	if err := r.relayAt(at); err != nil || r.task.Status != tasker.Created {
		return err
	}
	var sent []string
	err := r.tx.Model(&rolloutTargetRow{}).Where("task_id = ? AND stage = ?", r.task.ID, stageSent).
		Limit(1).Pluck("endpoint", &sent).Error
	if err != nil || len(sent) == 0 {
		return err
	}
	now := dbTime{r.Now()}
	err = r.tx.Model(&taskRow{}).Where("id = ? AND status IN ?", r.task.ID, tasker.TaskStatusesBefore(tasker.Sent)).
		Updates(Outbox{r.DB}.sentColumns(r.task.Unserved, now, "")).Error
	r.task.Status, r.task.SentTime, r.task.LastModifiedTime = tasker.Sent, &now, now
	return err
}

// SaveWave stores that a task was sent to some endpoints. unserved are those among them
// that had no queue.
func (s Outbox) SaveWave(ctx context.Context, c ledger.WaveClaim, sent, unserved []string) error {
	return s.transact(ctx, "store which endpoints the task was sent to", func(tx *gorm.DB) error {
		if len(unserved) > 0 {
			var task taskRow
			err := forUpdate(tx).Select("id", "unserved").Where("id = ?", c.TaskID).Take(&task).Error
			if err != nil {
				return err
			}
			all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(task.Unserved, unserved))))
			if err := tx.Model(&taskRow{}).Where("id = ?", c.TaskID).Update("unserved", names(all)).Error; err != nil {
				return err
			}
		}
		for part := range slices.Chunk(sent, maxRows) {
			err := tx.Model(&rolloutTargetRow{}).Where("task_id = ? AND endpoint IN ? AND stage = ?", c.TaskID, part, stageTarget).
				Update("stage", stageSent).Error
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// ReleaseWave ends an attempt that could not send the task. The next one is due after a
// while.
func (s Outbox) ReleaseWave(ctx context.Context, c ledger.WaveClaim, after time.Duration) error {
	err := s.withRetry(ctx, func() error {
		return s.conn(ctx).Model(&rolloutRow{}).Where("task_id = ? AND publish_attempts = ?", c.TaskID, c.Attempt).
			Update("relay_time", dbTime{s.Now().Add(after)}).Error
	})
	return s.fail("release the rollout to the relay", err)
}
