package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
)

// localClock is the time as this machine knows it.
type localClock struct {
	// wall is the machine's clock, which an operator or NTP may step.
	wall func() time.Time
	// elapsed is monotonic.
	elapsed func() time.Duration
}

func newLocalClock() localClock {
	start := time.Now()
	return localClock{wall: time.Now, elapsed: func() time.Duration { return time.Since(start) }}
}

// reading is a reading of the database's clock.
type reading struct {
	elapsed time.Duration
	time    time.Time
}

// WithClock replaces the local clock, for tests that travel in time: statements
// use this clock, corrected by the last measurement, instead of the database's.
func WithClock(now func() time.Time) Option {
	return func(o *options) {
		start := now()
		o.local = localClock{wall: now, elapsed: func() time.Duration { return now().Sub(start) }}
		o.travels = true
	}
}

// WithLocalClock replaces the machine's clock and its monotonic clock.
func WithLocalClock(wall func() time.Time, elapsed func() time.Duration) Option {
	return func(o *options) { o.local = localClock{wall, elapsed} }
}

// Now returns the database's time, in UTC with microseconds: the last reading
// of [DB.SyncClock] plus the time elapsed since. So it does not matter whether
// the machines' clocks agree, or are stepped. Every time that is stored, or
// compared with a stored one, is this one or the database's own in the
// statement (see [DB.at]).
func (s *DB) Now() time.Time {
	now := s.local.wall()
	if last := s.reading.Load(); last != nil {
		now = last.time.Add(s.local.elapsed() - last.elapsed)
	}
	return now.UTC().Truncate(time.Microsecond)
}

// at returns a time by [DB.Now] for a statement that deletes something or takes
// it away from its owner, and so must not depend on the accuracy of Now: the
// database computes it from its own clock.
func (s *DB) at(t time.Time) any {
	if s.dialect.clock == "" || s.travels {
		return dbTime{t}
	}
	return gorm.Expr("UTC_TIMESTAMP(6) - INTERVAL ? MICROSECOND", s.Now().Sub(t).Microseconds())
}

const (
	// clockTries is the most readings taken in one measurement; the best one
	// counts.
	clockTries = 3
	// clockLimit bounds a periodic measurement.
	clockLimit = 15 * time.Second
	// clockGood is a round trip short enough to stop measuring: the error is at
	// most half of it.
	clockGood = 50 * time.Millisecond
	// clockWorst is a round trip too long to replace an earlier measurement.
	clockWorst = time.Second
	// clockError is more than the difference between the clocks of any two
	// processes that have measured.
	clockError = 5 * time.Second
)

// SyncClock reads the database's clock. A reading is off by up to half of its
// round trip; one that took too long, over a link that hung or in a process
// that was stopped, does not replace an earlier one.
func (s *DB) SyncClock(ctx context.Context) error {
	if s.dialect.clock == "" {
		return nil
	}
	var best time.Duration
	var next reading
	for try := range clockTries {
		found, took, err := s.askClock(ctx)
		if err != nil {
			return err
		}
		if try == 0 || took < best {
			best, next = took, found
		}
		if best <= clockGood {
			break
		}
	}
	if best > clockWorst && s.reading.Load() != nil {
		return tasker.Errorf(tasker.Unavailable, "database took %v to return its time: keeping the previous measurement", best)
	}
	s.reading.Store(&next)
	return nil
}

// askClock takes one reading and returns its round trip.
func (s *DB) askClock(ctx context.Context) (found reading, took time.Duration, err error) {
	var now dbTime
	before := s.local.elapsed()
	if err := s.sql.QueryRowContext(ctx, s.dialect.clock).Scan(&now); err != nil {
		return reading{}, 0, s.fail("read the clock", err)
	}
	took = s.local.elapsed() - before
	return reading{elapsed: before + took/2, time: now.Time}, took, nil
}

// KeepClock runs SyncClock every period until ctx ends. A failed measurement
// keeps the previous one.
func (s *DB) KeepClock(ctx context.Context, period time.Duration) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, clockLimit)
		err := s.SyncClock(limited)
		cancel()
		if err != nil && ctx.Err() == nil {
			s.log.DebugContext(ctx, "cannot read the database's clock", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// clockKnown reads the database's clock unless that was done before. Reads that
// compare times, or whose callers do, begin with it.
func (s *DB) clockKnown(ctx context.Context) error {
	if s.reading.Load() != nil {
		return nil
	}
	return s.SyncClock(ctx)
}
