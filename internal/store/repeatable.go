package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3/lock"

	"github.com/taskerhq/tasker"
)

const (
	versionTable = "goose_db_version"
	lockTable    = lock.DefaultLockTableName
	// lockPause and lockTries bound how long a migration waits for another one.
	// A dead process's lock expires after 30 s.
	lockPause = time.Second
	lockTries = 300
)

// repeatableConnector opens connections for migrations. MySQL and MariaDB
// commit each DDL statement by itself, so an interrupted migration has done
// some of its statements, and the version does not say which. Both servers have
// atomic DDL: a statement whose effect is there already was done before.
type repeatableConnector struct{ driver.Connector }

func (c repeatableConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return repeatableConn{conn.(mysqlConn)}, nil
}

type repeatableConn struct{ mysqlConn }

func (c repeatableConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.mysqlConn.ExecContext(ctx, query, args)
	if doneBefore(query, err) {
		return driver.RowsAffected(0), nil
	}
	return result, err
}

// doneBeforeErrors are the errors for a statement whose effect is there
// already, by the beginning of the statement.
var doneBeforeErrors = map[string][]uint16{
	"CREATE TABLE ": {1050},             // the table exists
	"CREATE INDEX ": {1061},             // the index exists
	"CREATE UNIQUE": {1061},             // the index exists
	"ALTER TABLE ":  {1060, 1061, 1091}, // the column or index exists, or the one to drop does not
	"DROP TABLE ":   {1051},             // the table does not exist
	"DROP INDEX ":   {1091},             // the index does not exist
}

// doneBefore reports whether err means that the statement was done before.
func doneBefore(statement string, err error) bool {
	e, ok := errors.AsType[*mysqldriver.MySQLError](err)
	if !ok {
		return false
	}
	statement = strings.TrimSpace(statement)
	for prefix, numbers := range doneBeforeErrors {
		if len(statement) >= len(prefix) && strings.EqualFold(statement[:len(prefix)], prefix) {
			return slices.Contains(numbers, e.Number)
		}
	}
	return false
}

// checkForeign returns an error if a database without any migration has a table
// with one of tasker's names.
func (s Schema) checkForeign(ctx context.Context) error {
	begun, err := s.hasTable(ctx, versionTable)
	if err != nil || begun {
		return err
	}
	for _, name := range tables {
		exists, err := s.hasTable(ctx, name)
		if err != nil {
			return err
		}
		if !exists || name == versionTable || name == lockTable || name == rangeTable {
			continue
		}
		// Unless another process began meanwhile.
		if begun, err = s.hasTable(ctx, versionTable); err == nil && !begun {
			return tasker.Errorf(tasker.Conflict, "database %s has a table %s that is not tasker's: "+
				"set manager.db.uri to a database for tasker alone", s.name, name)
		}
		return err
	}
	return nil
}

// prime makes the version table with its first row. The migration library does
// so too, but cannot continue if it is interrupted in between.
func (s Schema) prime(ctx context.Context) error {
	if s.dialect.name != mysqlDialect.name {
		return nil // SQLite does it in one transaction
	}
	for _, statement := range []string{
		"CREATE TABLE IF NOT EXISTS " + versionTable + " (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, version_id BIGINT NOT NULL, " +
			"is_applied BOOLEAN NOT NULL, tstamp DATETIME NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (id)) ENGINE = InnoDB",
		// Several processes may begin at once, and one row is enough.
		"INSERT INTO " + versionTable + " (version_id, is_applied)" +
			" SELECT 0, 1 FROM (SELECT COUNT(*) AS n FROM " + versionTable + ") v WHERE n = 0",
	} {
		if _, err := s.sql.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// migrationLock returns the lock that lets one process migrate at a time.
func (s Schema) migrationLock(ctx context.Context) (lock.Locker, error) {
	told := ""
	locker, err := lock.NewMySQLTableLocker(
		lock.WithTableLockTimeout(lockPause, lockTries),
		lock.WithTableLogger(s.log),
		lock.WithTableRetryPolicy(func(err error) bool {
			if !heldByAnother(err) {
				return wantsRetry(err)
			}
			if holder := s.lockHolder(ctx); holder != told {
				told = holder
				s.progress("waiting for another migration: " + holder)
			}
			return true
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("lock for migrations: %w", err)
	}
	return locker, nil
}

// heldByAnother reports whether an error means that the lock is taken. The
// library has no error for it, so it is any that comes from neither the server
// nor the connection.
func heldByAnother(err error) bool {
	_, ofServer := errors.AsType[*mysqldriver.MySQLError](err)
	_, ofNetwork := errors.AsType[net.Error](err)
	return !ofServer && !ofNetwork && !errors.Is(err, driver.ErrBadConn) && !errors.Is(err, mysqldriver.ErrInvalidConn) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, sql.ErrConnDone)
}

// lockHolder returns which process is migrating.
func (s Schema) lockHolder(ctx context.Context) string {
	var holder sql.NullString
	err := s.sql.QueryRowContext(ctx, "SELECT locked_by FROM "+lockTable+" WHERE locked").Scan(&holder)
	if err != nil || !holder.Valid {
		return "another process"
	}
	return "host-pid-id " + holder.String
}
