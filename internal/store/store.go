// Package store keeps tasks, results and endpoints in a database: MySQL and
// MariaDB in production, SQLite for the embedded default, through gorm.
//
// Its methods are use cases, not CRUD. Every change of a state is one guarded
// update along the domain's table of legal moves, so that of two that race one
// wins and the other learns that it lost. Transactions live here only. Errors
// are [tasker.Error]s: Unavailable where the database cannot be reached or
// asks to be tried again, and the codes that the methods name.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
)

// batchSize bounds the rows of one statement; beyond it nothing is gained.
const batchSize = 100

// Store is a database. All methods are safe for concurrent use.
type Store struct {
	db      *gorm.DB
	sqlDB   *sql.DB
	dialect dialect
	name    string
	log     *slog.Logger
	local   func() time.Time
	// connector opens connections to MySQL, outside of the pool.
	connector driver.Connector
	progress  func(what string)
	// offset is the database's clock minus the local one, in nanoseconds.
	offset atomic.Int64
	synced atomic.Bool // whether offset was ever measured
}

// dialect is where the two kinds of database differ.
type dialect struct {
	name string // "mysql" or "sqlite", as gorm calls it
	// jsonArrayOf is the aggregate that makes a JSON array.
	jsonArrayOf string
	// jsonLength counts the elements of a JSON array.
	jsonLength string
	// greatest is the greater of its arguments.
	greatest string
	// selectShare is the form of a SELECT, one of a UNION, that locks what it
	// reads against changes.
	selectShare string
	// inserted is the value that an INSERT would have given to a column, in
	// what it does where the row is there already.
	inserted string
	// clock is the statement that asks for the time; empty where the local
	// clock is the database's.
	clock string
}

// Option changes how a store is opened.
type Option func(*Store)

// WithClock replaces the local clock, for tests.
func WithClock(now func() time.Time) Option { return func(s *Store) { s.local = now } }

// WithProgress is told what takes its time, for people who watch: that a
// migration waits for another one.
func WithProgress(tell func(what string)) Option { return func(s *Store) { s.progress = tell } }

// Open prepares a store for the database that cfg names. It does not connect:
// a database that is away is reported by the methods, and used when it is back.
func Open(cfg Config, log *slog.Logger, options ...Option) (*Store, error) {
	if cfg.MaxOpenConns == 0 {
		cfg.MaxOpenConns = 16
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	u, err := url.Parse(cfg.URI)
	if err != nil {
		// A parse error prints the address, and with it the password.
		return nil, fmt.Errorf("the database address cannot be parsed: it must be %s", uriForms)
	}
	s := &Store{log: log, local: time.Now, progress: func(string) {}, name: strings.TrimPrefix(u.Path, "/")}
	for _, option := range options {
		option(s)
	}
	var dialector gorm.Dialector
	switch u.Scheme {
	case "mysql":
		dialector, s.sqlDB, s.connector, err = openMySQL(u, cfg)
		s.dialect = mysqlDialect
	case "sqlite":
		dialector, s.sqlDB, err = openSQLite(u, cfg)
		s.dialect = sqliteDialect
	default:
		err = fmt.Errorf("the database address has scheme %q: it must be %s", u.Scheme, uriForms)
	}
	if err != nil {
		return nil, err
	}
	s.db, err = gorm.Open(dialector, &gorm.Config{
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		TranslateError:         true,
		Logger:                 newGormLogger(log, cfg.Verbose),
		NowFunc:                s.Now,
	})
	if err != nil {
		// Only SQLite is asked for something here.
		_ = s.sqlDB.Close()
		return nil, fmt.Errorf("open the database file %s: %w", u.Path, err)
	}
	return s, nil
}

const uriForms = "mysql://user:password@host:port/database or sqlite:///path/to/file"

// Close ends all connections.
func (s *Store) Close() error {
	if err := s.sqlDB.Close(); err != nil {
		return fmt.Errorf("close the database: %w", err)
	}
	return nil
}

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	return s.fail("answer", s.sqlDB.PingContext(ctx))
}

// CheckWrites returns an error where the database answers, but takes no
// writes: it is read-only, its binary log's format or the user's rights do not
// let tasker write. It changes no row and locks none.
func (s *Store) CheckWrites(ctx context.Context) error {
	return s.fail("take writes", s.db.WithContext(ctx).Exec("UPDATE tasks SET relay_time = relay_time WHERE id = 0").Error)
}

// Name is the database's name at the server, or the SQLite file's path without
// the first slash.
func (s *Store) Name() string { return s.name }

// Now is the database's clock, in UTC with microseconds: the local clock put
// right by what [Store.SyncClock] measured last. Every time that is stored, or
// compared with a stored one, is this one, so that the clocks of the machines
// do not matter.
func (s *Store) Now() time.Time {
	return s.local().Add(time.Duration(s.offset.Load())).UTC().Truncate(time.Microsecond)
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
)

// SyncClock measures how far the local clock is from the database's. An answer
// that came late, as over a link that hung or to a process that was stopped,
// is off by up to half the time that it took: it changes nothing where an
// earlier one did not.
func (s *Store) SyncClock(ctx context.Context) error {
	if s.dialect.clock == "" {
		return nil
	}
	var best, offset time.Duration
	for try := range clockTries {
		ahead, took, err := s.askClock(ctx)
		if err != nil {
			return err
		}
		if try == 0 || took < best {
			best, offset = took, ahead
		}
		if best <= clockGood {
			break
		}
	}
	if best > clockWorst && s.synced.Load() {
		return tasker.Errorf(tasker.Unavailable, "the database took %v to tell its time: what was measured before holds", best)
	}
	s.offset.Store(int64(offset))
	s.synced.Store(true)
	return nil
}

// askClock asks once, and tells how long the answer took.
func (s *Store) askClock(ctx context.Context) (ahead, took time.Duration, err error) {
	var now dbTime
	before := s.local()
	if err := s.sqlDB.QueryRowContext(ctx, s.dialect.clock).Scan(&now); err != nil {
		return 0, 0, s.fail("ask for the database's time", err)
	}
	took = s.local().Sub(before)
	return now.Sub(before.Add(took / 2)), took, nil
}

// KeepClock runs SyncClock every period until ctx ends. A failed measurement
// keeps the last one.
func (s *Store) KeepClock(ctx context.Context, period time.Duration) {
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
func (s *Store) clockKnown(ctx context.Context) error {
	if s.synced.Load() {
		return nil
	}
	return s.SyncClock(ctx)
}

// transact runs fn in a transaction, and again, with a new one, when the
// database asks for it (a deadlock, a lock that took too long). fn must set
// its results anew each time.
func (s *Store) transact(ctx context.Context, what string, fn func(tx *gorm.DB) error) error {
	return s.fail(what, s.again(ctx, func() error { return s.db.WithContext(ctx).Transaction(fn) }))
}

// again runs fn until it ends otherwise than with a wish of the database to
// try again, at most five times. A server that takes no writes is tried again
// over new connections, which may lead to the one that replaced it.
//
// Every write comes through here, so that none carries a time that was not put
// right by the database's.
func (s *Store) again(ctx context.Context, fn func() error) error {
	if err := s.clockKnown(ctx); err != nil {
		return err
	}
	const tries = 5
	for try := 1; ; try++ {
		err := fn()
		if err == nil || try == tries || !wantsRetry(err) && !refusesWrites(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(try) * 10 * time.Millisecond):
		}
	}
}
