package store

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// maxRefusal is the size of the column that keeps why a task was refused, in
// characters.
const maxRefusal = 1024

// ClaimUnsent claims up to limit CREATED tasks whose next attempt to be sent
// is due, those first that are due longest, and begins that attempt. Nobody
// else gets them until the lease has passed.
func (s *Store) ClaimUnsent(ctx context.Context, limit int, lease time.Duration) (claimed []ledger.Unsent, err error) {
	err = s.transact(ctx, "claim unsent tasks", func(tx *gorm.DB) error {
		now := s.Now()
		var rows []taskRow
		find := tx.Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}).
			Where("status = ? AND relay_time <= ?", tasker.Created, dbTime{now}).
			Order("relay_time, id").Limit(limit).Find(&rows)
		if find.Error != nil || len(rows) == 0 {
			claimed = nil
			return find.Error
		}
		ids := make([]int64, len(rows))
		claimed = make([]ledger.Unsent, len(rows))
		for i := range rows {
			ids[i], claimed[i] = rows[i].ID, rows[i].unsent()
			claimed[i].Attempt++
		}
		return tx.Model(&taskRow{}).Where("id IN ?", ids).Updates(map[string]any{
			"relay_time": dbTime{now.Add(lease)}, "publish_attempts": gorm.Expr("publish_attempts + 1"),
		}).Error
	})
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

func (r *taskRow) unsent() ledger.Unsent {
	u := ledger.Unsent{Task: r.task(), Attempt: r.PublishAttempts, Refused: r.Refusal != nil}
	if r.SentTo != nil {
		u.SentTo = *r.SentTo
	}
	return u
}

// attempting selects a CREATED task while an attempt to send it is the last.
func (s *Store) attempting(ctx context.Context, taskID int64, attempt int) *gorm.DB {
	return s.db.WithContext(ctx).Model(&taskRow{}).
		Where("id = ? AND status = ? AND publish_attempts = ?", taskID, tasker.Created, attempt)
}

// RenewUnsent keeps a task from others for the time lease, since the attempt
// to send it goes on.
func (s *Store) RenewUnsent(ctx context.Context, taskID int64, attempt int, lease time.Duration) error {
	err := s.again(ctx, func() error {
		return s.attempting(ctx, taskID, attempt).Update("relay_time", dbTime{s.Now().Add(lease)}).Error
	})
	return s.fail("keep the task from other publishers", err)
}

// SaveSent stores how far a task is sent, its SentTo and Unserved, and keeps
// it from others for the time lease.
func (s *Store) SaveSent(ctx context.Context, u ledger.Unsent, lease time.Duration) error {
	err := s.again(ctx, func() error {
		return s.attempting(ctx, u.ID, u.Attempt).Updates(map[string]any{
			"sent_to": u.SentTo, "unserved": names(u.Unserved), "relay_time": dbTime{s.Now().Add(lease)},
		}).Error
	})
	return s.fail("store how far the task is sent", err)
}

// ReleaseTask ends an attempt to send a task, which stays CREATED.
func (s *Store) ReleaseTask(ctx context.Context, r ledger.Release) error {
	err := s.again(ctx, func() error {
		set := map[string]any{"relay_time": dbTime{s.Now().Add(r.After)}}
		if r.Untried {
			set["publish_attempts"] = r.Attempt - 1
		} else {
			set["refusal"] = refusalText(r.Refusal)
		}
		return s.attempting(ctx, r.TaskID, r.Attempt).Updates(set).Error
	})
	return s.fail("release the task to the relay", err)
}

// refusalText is the text as the column takes it.
func refusalText(text string) *string {
	if text == "" {
		return nil
	}
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	for i := range text {
		if i >= maxRefusal-utf8.UTFMax {
			text = text[:i]
			break
		}
	}
	return &text
}

// RefusedTasks returns how many CREATED tasks the broker refused at their last
// attempt, and up to limit of them, the oldest first.
func (s *Store) RefusedTasks(ctx context.Context, limit int) (total int, tasks []tasker.RefusedTask, err error) {
	const what = "look for tasks that the broker refused"
	var count int64
	find := func() *gorm.DB {
		return s.db.WithContext(ctx).Model(&taskRow{}).Where("status = ? AND refusal IS NOT NULL", tasker.Created)
	}
	if err := find().Count(&count).Error; err != nil || count == 0 {
		return 0, nil, s.fail(what, err)
	}
	var rows []taskRow
	err = find().Select("id", "type", "identifier", "publish_attempts", "refusal", "relay_time").Order("id").Limit(limit).Find(&rows).Error
	if err != nil {
		return 0, nil, s.fail(what, err)
	}
	for _, r := range rows {
		t := tasker.RefusedTask{ID: r.ID, Type: r.Type, Identifier: r.Identifier, Attempts: r.PublishAttempts, Reason: *r.Refusal}
		if r.RelayTime != nil {
			t.NextTime = r.RelayTime.Time
		}
		tasks = append(tasks, t)
	}
	return int(count), tasks, nil
}

// RegisteredEndpoints returns those of the endpoints named that are registered
// for a task type, and all that are where among is nil, in no order.
func (s *Store) RegisteredEndpoints(ctx context.Context, taskType string, among []string) (registered []string, err error) {
	const what = "read the registered endpoints"
	find := func() *gorm.DB {
		return s.db.WithContext(ctx).Model(&endpointTypeRow{}).Where("task_type = ?", taskType)
	}
	if among == nil {
		err := find().Pluck("endpoint", &registered).Error
		return registered, s.fail(what, err)
	}
	const most = 1000 // names in one statement
	for begin := 0; begin < len(among); begin += most {
		var found []string
		part := among[begin:min(begin+most, len(among))]
		if err := find().Where("endpoint IN ?", part).Pluck("endpoint", &found).Error; err != nil {
			return nil, s.fail(what, err)
		}
		registered = append(registered, found...)
	}
	return registered, nil
}
