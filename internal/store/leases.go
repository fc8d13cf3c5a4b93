package store

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
)

// Leases are held by one process at a time.
type Leases struct{ *DB }

// leaseRow is a lease. Table and columns have the names that leases had first.
type leaseRow struct {
	Name   string `gorm:"primaryKey;column:job"`
	Holder string
	Until  dbTime `gorm:"column:turn_until"`
}

// TableName returns the table of leases.
func (leaseRow) TableName() string { return "turns" }

// TakeLease takes a lease for holder, or renews it, for length from now. held is
// false if another holder's lease runs. One that runs for much longer than length
// was taken before the database's clock was set back, and does not count.
func (s Leases) TakeLease(ctx context.Context, name, holder string, length time.Duration) (held bool, err error) {
	err = s.withRetry(ctx, func() error {
		now := s.Now()
		row := leaseRow{Name: name, Holder: holder, Until: dbTime{now.Add(length)}}
		update := s.conn(ctx).Model(&leaseRow{}).
			Where("job = ? AND (holder = ? OR turn_until <= ? OR turn_until > ?)", name, holder, s.at(now), s.at(now.Add(2*length))).
			Updates(map[string]any{"holder": holder, "turn_until": s.at(row.Until.Time)})
		held = update.RowsAffected == 1
		if update.Error != nil || held {
			return update.Error
		}
		// It runs, or nobody has ever held it.
		var known int64
		err := s.conn(ctx).Model(&leaseRow{}).Where("job = ?", name).Count(&known).Error
		if err != nil || known > 0 {
			return err
		}
		err = s.conn(ctx).Create(&row).Error
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			return nil // somebody else was first
		}
		held = err == nil
		return err
	})
	return held, s.fail("take lease "+name, err)
}

// ReleaseLease ends a lease of holder, so that others need not wait.
func (s Leases) ReleaseLease(ctx context.Context, name, holder string) error {
	err := s.withRetry(ctx, func() error {
		return s.conn(ctx).Model(&leaseRow{}).Where("job = ? AND holder = ?", name, holder).
			Update("turn_until", s.at(s.Now())).Error
	})
	return s.fail("release lease "+name, err)
}
