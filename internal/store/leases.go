package store

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
)

// Leases lets one process at a time do something.
type Leases struct{ *DB }

type turnRow struct {
	Job       string `gorm:"primaryKey"`
	Holder    string
	TurnUntil dbTime
}

// TableName is the table of the turns.
func (turnRow) TableName() string { return "turns" }

// TakeTurn takes a turn of a job for a holder, or prolongs the one that it
// has, for a time from now; taken is false where somebody else's turn lasts.
// One that lasts much longer than a turn does was taken before the database's
// clock was set back, and does not count.
func (s Leases) TakeTurn(ctx context.Context, job, holder string, length time.Duration) (taken bool, err error) {
	err = s.withRetry(ctx, func() error {
		now := s.Now()
		row := turnRow{Job: job, Holder: holder, TurnUntil: dbTime{now.Add(length)}}
		update := s.conn(ctx).Model(&turnRow{}).
			Where("job = ? AND (holder = ? OR turn_until <= ? OR turn_until > ?)", job, holder, s.at(now), s.at(now.Add(2*length))).
			Updates(map[string]any{"holder": holder, "turn_until": s.at(row.TurnUntil.Time)})
		taken = update.RowsAffected == 1
		if update.Error != nil || taken {
			return update.Error
		}
		// It lasts, or nobody ever had one.
		var known int64
		err := s.conn(ctx).Model(&turnRow{}).Where("job = ?", job).Count(&known).Error
		if err != nil || known > 0 {
			return err
		}
		err = s.conn(ctx).Create(&row).Error
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			return nil // somebody else was first
		}
		taken = err == nil
		return err
	})
	return taken, s.fail("take a turn", err)
}

// EndTurns ends the turns of a holder, so that others need not wait.
func (s Leases) EndTurns(ctx context.Context, holder string, jobs []string) error {
	err := s.withRetry(ctx, func() error {
		return s.conn(ctx).Model(&turnRow{}).Where("job IN ? AND holder = ?", jobs, holder).
			Update("turn_until", s.at(s.Now())).Error
	})
	return s.fail("end the turns", err)
}
