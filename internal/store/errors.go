package store

import (
	"context"
	"errors"
	"fmt"

	gosqlite "github.com/glebarez/go-sqlite"
	mysqldriver "github.com/go-sql-driver/mysql"
	"gorm.io/gorm"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/taskerhq/tasker"
)

// Error numbers of MySQL and MariaDB.
const (
	erConCount        = 1040
	erDBAccessDenied  = 1044
	erAccessDenied    = 1045
	erBadDB           = 1049
	erServerShutdown  = 1053
	erNoSuchTable     = 1146
	erTooManyUserConn = 1203
	erLockWaitTimeout = 1205
	erLockDeadlock    = 1213
	erReadOnlyOption  = 1290
	erQueryKilled     = 1317
	erConnKilled      = 1927
	erReadOnlyTrans   = 1792
	erReadOnlyMode    = 1836
	erRecordChanged   = 1020 // MariaDB's name for a lost race under snapshot isolation
	erTooManyPrepared = 1461
	erDiskFull        = 1021
	erTableFull       = 1114
)

// fail gives the error of an operation its code, and says what was tried.
// Errors that have a code already, and nil, pass through.
func (s *Store) fail(what string, err error) error {
	var coded *tasker.Error
	switch {
	case err == nil || errors.As(err, &coded):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", what, err)
	}
	code := tasker.Unavailable
	if !passes(err) {
		code = tasker.Internal
	}
	return tasker.WrapError(code, err, "the database could not "+what)
}

// passes tells whether an error is one of reaching the database or of the
// state it is in, which ends by itself or by an operator's hand, and not a
// fault of tasker.
func passes(err error) bool {
	if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		switch e.Number {
		case erConCount, erDBAccessDenied, erAccessDenied, erBadDB, erServerShutdown, erNoSuchTable,
			erTooManyUserConn, erLockWaitTimeout, erLockDeadlock, erReadOnlyOption, erQueryKilled, erConnKilled,
			erReadOnlyTrans, erReadOnlyMode, erRecordChanged, erTooManyPrepared, erDiskFull, erTableFull:
			return true
		}
		return false
	}
	if e, ok := errors.AsType[*gosqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
			sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL:
			return true
		}
		return false
	}
	// What gorm says of the statement is a fault of ours; all else comes from
	// the connection.
	return !errors.Is(err, gorm.ErrDuplicatedKey) && !errors.Is(err, gorm.ErrForeignKeyViolated) &&
		!errors.Is(err, gorm.ErrInvalidData) && !errors.Is(err, gorm.ErrRecordNotFound)
}

// wantsRetry tells whether the database rolled a transaction back and asks for
// it to be tried again.
func wantsRetry(err error) bool {
	if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		return e.Number == erLockDeadlock || e.Number == erLockWaitTimeout || e.Number == erRecordChanged
	}
	if e, ok := errors.AsType[*gosqlite.Error](err); ok {
		return e.Code()&0xff == sqlite3.SQLITE_BUSY || e.Code()&0xff == sqlite3.SQLITE_LOCKED
	}
	return false
}
