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
	"io/fs"
	"log/slog"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
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
	local   localClock
	// travels makes the local clock, put right, decide in statements, too, so
	// that tests can travel in time.
	travels bool
	reading atomic.Pointer[reading] // nil until the database's time was asked for
	// connector opens connections to MySQL, outside of the pool.
	connector driver.Connector
	progress  func(what string)
	files     fs.FS  // the migrations
	file      string // of SQLite
}

// dialect is where the two kinds of database differ.
type dialect struct {
	name string // "mysql" or "sqlite", as gorm calls it
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
	s := &Store{log: log, local: newLocalClock(), progress: func(string) {}, files: migrations, name: strings.TrimPrefix(u.Path, "/")}
	for _, option := range options {
		option(s)
	}
	var dialector gorm.Dialector
	switch u.Scheme {
	case "mysql":
		dialector, s.sqlDB, s.connector, err = openMySQL(u, cfg)
		s.dialect = mysqlDialect
	case "sqlite":
		s.file = path.Join(u.Host, u.Path)
		dialector, s.sqlDB, err = openSQLite(u, cfg, s.file)
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
