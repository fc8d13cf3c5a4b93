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
	erLockWaitTimeout = 1205
	erLockDeadlock    = 1213
	erRecordChanged   = 1020 // MariaDB's name for a lost race under snapshot isolation
	erPacketTooLarge  = 1153
	erOutOfRange      = 1264
	erTruncatedValue  = 1366
	erDataTooLong     = 1406
	erReadOnlyOption  = 1290 // the server runs with --read-only
	erReadOnlyTx      = 1792 // the transaction is read-only
	erReadOnlyMode    = 1836 // the server is in read-only mode
)

// states are the error numbers that are about the state of a server or about
// its configuration, and not about a statement.
var states = map[uint16]bool{
	1021:              true, // disk full
	1026:              true, // cannot write a file
	1030:              true, // error from the storage engine
	1036:              true, // the table is read-only
	1037:              true, // out of memory
	1038:              true, // out of memory to sort
	1040:              true, // too many connections
	1041:              true, // out of memory
	1044:              true, // access to the database denied
	1045:              true, // access denied
	1047:              true, // Galera: the node has no quorum, or is joining
	1049:              true, // unknown database
	1053:              true, // the server is shutting down
	1114:              true, // a table is full: so is the disk
	1129:              true, // the host is blocked after many failed connections
	1130:              true, // the host is not allowed to connect
	1135:              true, // cannot create a thread
	1142:              true, // no privilege for the table
	1143:              true, // no privilege for the column
	1146:              true, // no such table: the schema is being made
	1158:              true, // error reading a packet
	1159:              true, // timeout reading a packet
	1160:              true, // error writing a packet
	1161:              true, // timeout writing a packet
	1180:              true, // the commit failed
	1203:              true, // too many connections of this user
	1206:              true, // too many locks
	1223:              true, // the tables are locked for a backup
	1226:              true, // the user has reached a limit
	1227:              true, // missing privilege
	erReadOnlyOption:  true,
	1317:              true, // the statement was killed
	1461:              true, // too many prepared statements
	1534:              true, // cannot write the binary log
	1598:              true, // the same
	1637:              true, // too many transactions
	1661:              true, // the binary log's format does not suit tasker's statements: see 1665
	1662:              true,
	1663:              true,
	1664:              true,
	1665:              true, // binlog_format is STATEMENT, which InnoDB refuses in READ COMMITTED sessions
	1666:              true,
	1785:              true, // enforce_gtid_consistency: a table is not InnoDB
	1820:              true, // the user's password must be changed
	1862:              true, // the user's password has expired
	1874:              true, // InnoDB is read-only
	1881:              true, // InnoDB is recovering, and takes no writes
	erReadOnlyTx:      true,
	erReadOnlyMode:    true,
	1927:              true, // MariaDB: the connection was killed
	1969:              true, // MariaDB: the statement exceeded the server's time limit
	3024:              true, // MySQL: the same
	3032:              true, // MySQL: offline_mode
	3098:              true, // group replication does not support the table
	3100:              true, // group replication: the commit failed
	3101:              true, // group replication: the transaction lost a race
	3159:              true, // the server requires TLS
	3169:              true, // MySQL: the session was killed
	3118:              true, // MySQL: the account is locked
	4031:              true, // MySQL: the connection was idle for too long
	4151:              true, // MariaDB: the account is locked
	erRecordChanged:   true,
	erLockWaitTimeout: true,
	erLockDeadlock:    true,
}

// fail wraps the error of an operation with its code. It returns errors that
// have a code already, and nil, unchanged.
func (s *DB) fail(what string, err error) error {
	var coded *tasker.Error
	switch {
	case err == nil || errors.As(err, &coded):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", what, err)
	}
	code := tasker.Unavailable
	switch {
	case tooLarge(err):
		code = tasker.TooLarge
		what += ": a value is larger than it accepts"
	case unfit(err):
		code = tasker.Invalid
	case !passes(err):
		code = tasker.Internal
	}
	return tasker.WrapError(code, err, "database: cannot "+what)
}

// tooLarge reports whether the database refused a value for its size.
func tooLarge(err error) bool {
	if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		return e.Number == erPacketTooLarge || e.Number == erDataTooLong
	}
	if e, ok := errors.AsType[*gosqlite.Error](err); ok {
		return e.Code()&0xff == sqlite3.SQLITE_TOOBIG
	}
	return errors.Is(err, mysqldriver.ErrPktTooLarge)
}

// unfit reports whether the database refused a value for its content.
func unfit(err error) bool {
	e, ok := errors.AsType[*mysqldriver.MySQLError](err)
	return ok && (e.Number == erTruncatedValue || e.Number == erOutOfRange)
}

// passes reports whether an error is about reaching the database or about the
// state it is in, which ends by itself or by an operator's hand, and is not a
// bug in tasker.
func passes(err error) bool {
	if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		return states[e.Number]
	}
	if e, ok := errors.AsType[*gosqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
			sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL:
			return true
		case sqlite3.SQLITE_INTERRUPT:
			// The driver interrupts a connection when a statement's context
			// ends. If the statement ends at the same moment, the interruption
			// hits the next one on that connection.
			return true
		}
		return false
	}
	// gorm's own errors about a statement are bugs here; all others come from
	// the connection.
	return !errors.Is(err, gorm.ErrDuplicatedKey) && !errors.Is(err, gorm.ErrForeignKeyViolated) &&
		!errors.Is(err, gorm.ErrInvalidData) && !errors.Is(err, gorm.ErrRecordNotFound)
}

// refusesWrites reports whether the server is read-only, like a primary that
// was replaced.
func refusesWrites(err error) bool {
	e, ok := errors.AsType[*mysqldriver.MySQLError](err)
	return ok && (e.Number == erReadOnlyOption || e.Number == erReadOnlyTx || e.Number == erReadOnlyMode)
}

// Answered reports whether err is the database's answer to a statement. Any
// other error is a lost connection or a timeout.
func (*DB) Answered(err error) bool {
	if _, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		return true
	}
	_, ok := errors.AsType[*gosqlite.Error](err)
	return ok
}

// wantsRetry reports whether the database rolled the transaction back and it
// should be retried.
func wantsRetry(err error) bool {
	if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		return e.Number == erLockDeadlock || e.Number == erLockWaitTimeout || e.Number == erRecordChanged
	}
	if e, ok := errors.AsType[*gosqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT:
			return true
		}
	}
	return false
}
