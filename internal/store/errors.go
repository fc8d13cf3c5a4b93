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

// states are the error numbers that tell of the state in which a server is, or
// of what it lets tasker do, and not of a statement.
var states = map[uint16]bool{
	1021:              true, // the disk is full
	1026:              true, // a file cannot be written
	1030:              true, // the storage engine reports an error
	1036:              true, // the table is read-only
	1037:              true, // out of memory
	1038:              true, // out of memory to sort
	1040:              true, // too many connections
	1041:              true, // out of memory
	1044:              true, // no access to the database
	1045:              true, // no access
	1047:              true, // Galera: the node has no quorum, or is joining
	1049:              true, // there is no such database
	1053:              true, // the server shuts down
	1114:              true, // a table is full: so is the disk
	1129:              true, // the host is blocked, after many connections that failed
	1130:              true, // the host may not connect
	1135:              true, // no thread can be made
	1142:              true, // no right to do this with the table
	1143:              true, // no right to do this with the column
	1146:              true, // there is no such table: the schema is being made
	1158:              true, // reading a packet failed
	1159:              true, // reading a packet took too long
	1160:              true, // writing a packet failed
	1161:              true, // writing a packet took too long
	1180:              true, // the commit failed
	1203:              true, // too many connections of this user
	1206:              true, // too many locks
	1223:              true, // the tables are locked for a backup
	1226:              true, // the user has used up a limit
	1227:              true, // a right is missing
	erReadOnlyOption:  true,
	1317:              true, // the statement was killed
	1461:              true, // too many prepared statements
	1534:              true, // the binary log cannot be written
	1598:              true, // the same
	1637:              true, // too many transactions
	1661:              true, // the binary log's format does not go with tasker's statements: see 1665
	1662:              true,
	1663:              true,
	1664:              true,
	1665:              true, // binlog_format is STATEMENT, which InnoDB does not do when sessions are READ COMMITTED
	1666:              true,
	1785:              true, // enforce_gtid_consistency: a table is not of InnoDB
	1820:              true, // the user's password has to be changed
	1862:              true, // the user's password has expired
	1874:              true, // InnoDB is read-only
	1881:              true, // InnoDB recovers, and takes no writes
	erReadOnlyTx:      true,
	erReadOnlyMode:    true,
	1927:              true, // MariaDB: the connection was killed
	1969:              true, // MariaDB: the statement took longer than the server lets it
	3024:              true, // MySQL: the same
	3032:              true, // MySQL: offline_mode
	3098:              true, // group replication does not take the table
	3100:              true, // group replication: the commit failed
	3101:              true, // group replication: the transaction lost a race
	3169:              true, // MySQL: the session was killed
	3118:              true, // MySQL: the account is locked
	4031:              true, // MySQL: the connection was idle for too long
	4151:              true, // MariaDB: the account is locked
	erRecordChanged:   true,
	erLockWaitTimeout: true,
	erLockDeadlock:    true,
}

// fail gives the error of an operation its code, and says what was tried.
// Errors that have a code already, and nil, pass through.
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
		what += ": a value is larger than it takes"
	case unfit(err):
		code = tasker.Invalid
	case !passes(err):
		code = tasker.Internal
	}
	return tasker.WrapError(code, err, "the database could not "+what)
}

// tooLarge tells whether the database does not take what is to be stored for
// its size.
func tooLarge(err error) bool {
	if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		return e.Number == erPacketTooLarge || e.Number == erDataTooLong
	}
	if e, ok := errors.AsType[*gosqlite.Error](err); ok {
		return e.Code()&0xff == sqlite3.SQLITE_TOOBIG
	}
	return errors.Is(err, mysqldriver.ErrPktTooLarge)
}

// unfit tells whether the database does not take what is to be stored for its
// content.
func unfit(err error) bool {
	e, ok := errors.AsType[*mysqldriver.MySQLError](err)
	return ok && (e.Number == erTruncatedValue || e.Number == erOutOfRange)
}

// passes tells whether an error is one of reaching the database or of the
// state it is in, which ends by itself or by an operator's hand, and not a
// fault of tasker.
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
			// The driver interrupts a connection when the context of a statement
			// ends. A statement that ends at the same moment leaves the
			// interruption to the next one on that connection, which is not at
			// fault.
			return true
		}
		return false
	}
	// What gorm says of the statement is a fault of ours; all else comes from
	// the connection.
	return !errors.Is(err, gorm.ErrDuplicatedKey) && !errors.Is(err, gorm.ErrForeignKeyViolated) &&
		!errors.Is(err, gorm.ErrInvalidData) && !errors.Is(err, gorm.ErrRecordNotFound)
}

// refusesWrites reports whether the server takes no writes, as one does that was
// replaced as the primary.
func refusesWrites(err error) bool {
	e, ok := errors.AsType[*mysqldriver.MySQLError](err)
	return ok && (e.Number == erReadOnlyOption || e.Number == erReadOnlyTx || e.Number == erReadOnlyMode)
}

// Answered reports whether err is what the database answered to a statement. Any
// other error is the loss of the connection, or of the patience with it.
func (*DB) Answered(err error) bool {
	if _, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		return true
	}
	_, ok := errors.AsType[*gosqlite.Error](err)
	return ok
}

// wantsRetry tells whether the database rolled a transaction back and asks for
// it to be tried again.
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
