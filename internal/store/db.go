package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// DB is the database that all parts of a [Store] share: connections, retries,
// the clock, and the codes of errors.
type DB struct {
	gorm    *gorm.DB
	sql     *sql.DB
	dialect dialect
	name    string
	log     *slog.Logger
	local   localClock
	// travels makes statements use the local clock, corrected, as well, so that
	// tests can travel in time.
	travels bool
	reading atomic.Pointer[reading]                                    // nil until the database's clock was read
	ended   func(taskType string, status tasker.TaskStatus, tasks int) // see OnEnded
	// seenWithin is [Config].SeenWithin.
	seenWithin time.Duration
	conversion conversion
}

// dialect has the differences between the two kinds of database.
type dialect struct {
	name string // "mysql" or "sqlite", as gorm calls it
	// jsonLength is the function that counts the elements of a JSON array, and
	// jsonArray the aggregate that makes one.
	jsonLength, jsonArray string
	// table is the form of a table of the elements of a JSON array of names, and
	// element its column.
	table, element string
	// greatest is the function that returns the greatest of its arguments.
	greatest string
	// share is the end of a SELECT that locks what it reads against changes.
	share string
	// inserted is the value that an INSERT would have given a column, in the
	// clause for a row that exists already.
	inserted string
	// byID follows the name of a table that is read by the primary key, whatever else the
	// optimizer would prefer.
	byID string
	// clock is the statement that reads the time; empty if the local clock is
	// the database's.
	clock string
}

// orderedJoin returns the word for a join that reads its tables in the order in which
// they are written.
func (d *dialect) orderedJoin() string {
	if d.name == sqliteDialect.name {
		return " CROSS JOIN "
	}
	return " STRAIGHT_JOIN "
}

// asName returns a text in the form of the columns with names, so that their
// indexes serve a comparison with it.
func (d *dialect) asName(text string) string {
	if d.name == sqliteDialect.name {
		return text
	}
	return "CONVERT(" + text + " USING ascii) COLLATE ascii_bin"
}

// elements returns the table of the elements of a JSON array of names.
func (d *dialect) elements(array string) string { return fmt.Sprintf(d.table, array) }

// conn returns a handle for statements outside of a transaction.
func (s *DB) conn(ctx context.Context) *gorm.DB { return s.gorm.WithContext(ctx) }

// Ping returns an error if the database does not answer.
func (s *DB) Ping(ctx context.Context) error {
	return s.fail("answer", s.sql.PingContext(ctx))
}

// CheckWrites returns an error if the database answers but takes no writes: it
// is read-only, or the format of its binary log or the user's privileges do not
// allow them. It changes no row and locks none.
func (s *DB) CheckWrites(ctx context.Context) error {
	return s.fail("take writes", s.conn(ctx).Exec("UPDATE tasks SET relay_time = relay_time WHERE id = 0").Error)
}

// Pool returns the pool of connections, to observe it: nothing else may use it.
func (s *DB) Pool() *sql.DB { return s.sql }

// Name returns the database's name at the server, or the path of the SQLite file
// without the first slash.
func (s *DB) Name() string { return s.name }

// transact runs fn in a transaction; see [DB.withRetry]. fn must set its results
// anew in each try.
func (s *DB) transact(ctx context.Context, what string, fn func(tx *gorm.DB) error) error {
	return s.fail(what, s.withRetry(ctx, func() error { return s.conn(ctx).Transaction(fn) }))
}

// withRetry runs fn up to five times, retrying only deadlocks, lock timeouts and
// the like, and writes refused by a read-only server: new connections may lead
// to the one that replaced it.
//
// Every write comes through here, so that none has a time that was not corrected
// by the database's clock.
func (s *DB) withRetry(ctx context.Context, fn func() error) error {
	if err := s.clockKnown(ctx); err != nil {
		return err
	}
	const tries = 5
	for try := 1; ; try++ {
		err := fn()
		if err == nil || try == tries || !wantsRetry(err) && !refusesWrites(err) {
			return err
		}
		if clock.Sleep(ctx, time.Duration(try)*10*time.Millisecond) != nil {
			return err
		}
	}
}
