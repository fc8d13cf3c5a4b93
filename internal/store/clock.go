package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
)

// localClock is what a machine knows of the time.
type localClock struct {
	// wall is the machine's clock, which an operator, or NTP, may step.
	wall func() time.Time
	// elapsed only goes forward, at the speed of the time.
	elapsed func() time.Duration
}

func newLocalClock() localClock {
	start := time.Now()
	return localClock{wall: time.Now, elapsed: func() time.Duration { return time.Since(start) }}
}

// reading is what the database's clock said, and when.
type reading struct {
	elapsed time.Duration
	time    time.Time
}

// WithClock replaces the local clock, for tests that travel in time: what it
// says, put right by the database's at the last measurement, decides in every
// statement.
func WithClock(now func() time.Time) Option {
	return func(o *options) {
		start := now()
		o.local = localClock{wall: now, elapsed: func() time.Duration { return now().Sub(start) }}
		o.travels = true
	}
}

// WithLocalClock replaces what the machine knows of the time: its clock, and
// the time that has passed.
func WithLocalClock(wall func() time.Time, elapsed func() time.Duration) Option {
	return func(o *options) { o.local = localClock{wall, elapsed} }
}

// Now is the database's clock, in UTC with microseconds: what it said at the
// last [DB.SyncClock], and the time that has passed since. So neither the
// clocks of the machines matter nor that they are stepped. Every time that is
// stored, or compared with a stored one, is this one, or the database's own in
// the statement: see [DB.at].
func (s *DB) Now() time.Time {
	now := s.local.wall()
	if last := s.reading.Load(); last != nil {
		now = last.time.Add(s.local.elapsed() - last.elapsed)
	}
	return now.UTC().Truncate(time.Microsecond)
}

// at is a time by [DB.Now] for a statement that must not depend on how well
// the database's clock is known, since it deletes, or takes from somebody what
// is his: the database counts from its own clock.
func (s *DB) at(t time.Time) any {
	if s.dialect.clock == "" || s.travels {
		return dbTime{t}
	}
	return gorm.Expr("UTC_TIMESTAMP(6) - INTERVAL ? MICROSECOND", s.Now().Sub(t).Microseconds())
}

const (
	// clockTries bounds the measurements of which the best one counts.
	clockTries = 3
	// clockLimit bounds a measurement that is made from time to time.
	clockLimit = 15 * time.Second
	// clockGood is an answer's time at which no better one is looked for: half
	// of it is the greatest error.
	clockGood = 50 * time.Millisecond
	// clockWorst is an answer's time from which on it says less than what is
	// known already.
	clockWorst = time.Second
	// clockError is more than the clocks of processes that have measured the
	// database's differ.
	clockError = 5 * time.Second
)

// SyncClock asks for the database's time. An answer that came late, as over a
// link that hung or to a process that was stopped, is off by up to half the time
// that it took: it changes nothing where an earlier one did not.
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
		return tasker.Errorf(tasker.Unavailable, "the database took %v to tell its time: what was measured before holds", best)
	}
	s.reading.Store(&next)
	return nil
}

// askClock asks once, and returns how long the answer took.
func (s *DB) askClock(ctx context.Context) (found reading, took time.Duration, err error) {
	var now dbTime
	before := s.local.elapsed()
	if err := s.sql.QueryRowContext(ctx, s.dialect.clock).Scan(&now); err != nil {
		return reading{}, 0, s.fail("ask for the database's time", err)
	}
	took = s.local.elapsed() - before
	return reading{elapsed: before + took/2, time: now.Time}, took, nil
}

// KeepClock runs SyncClock every period until ctx ends. A failed measurement
// keeps the last one.
func (s *DB) KeepClock(ctx context.Context, period time.Duration) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, clockLimit)
		err := s.SyncClock(limited)
		cancel()
		if err != nil && ctx.Err() == nil {
			s.log.DebugContext(ctx, "the database's clock could not be asked", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// clockKnown asks for the database's time where it never was. Reads that
// compare times, or whose callers do, begin with it.
func (s *DB) clockKnown(ctx context.Context) error {
	if s.reading.Load() != nil {
		return nil
	}
	return s.SyncClock(ctx)
}
