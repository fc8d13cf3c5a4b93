package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/taskerhq/tasker"
)

//go:embed migrations/*/*.sql
var migrations embed.FS

// Schema makes and checks the tables.
type Schema struct {
	*DB
	// connector opens connections to MySQL outside of the pool.
	connector driver.Connector
	progress  func(what string)
	files     fs.FS  // the migrations
	file      string // for SQLite
}

// tables are the tables that Reset drops, dependents first.
var tables = []string{
	"endpoint_task_types", "endpoints", "endpoint_removals", "log_chunks", "attempts", "task_results", "task_targets",
	"purged_tasks", "cancels", "rounds", "holds", "rollout_targets", "rollouts", "place_claims", "place_candidates", "task_places",
	"task_labels", "tasks", "dead_letters", "endpoint_tokens",
	"schedule_slots", "schedules", "topic_tasks", "topics",
	"revisions", "turns", rangeTable, versionTable, lockTable,
}

// provider returns a provider of the migrations for db.
func (s Schema) provider(db *sql.DB, options ...goose.ProviderOption) (*goose.Provider, error) {
	files, err := s.migrationFiles()
	if err != nil {
		return nil, err
	}
	dialect := goose.DialectSQLite3
	if s.dialect.name == mysqlDialect.name {
		dialect = goose.DialectMySQL
	}
	p, err := goose.NewProvider(dialect, db, files, append(options, goose.WithDisableGlobalRegistry(true))...)
	if err != nil {
		return nil, fmt.Errorf("embedded migrations: %w", err)
	}
	return p, nil
}

// Migrate brings the schema to the version of this program, and returns the
// versions before and after. Several processes may call it at once: one
// migrates, the others wait. After an interruption, call it again. The error is
// a [tasker.Conflict] if the database has a table with one of tasker's names
// that tasker did not make.
func (s Schema) Migrate(ctx context.Context) (from, to int64, err error) {
	const what = "migrate the schema"
	if err := s.checkForeign(ctx); err != nil {
		return 0, 0, s.fail(what, err)
	}
	if err := s.prime(ctx); err != nil {
		return 0, 0, s.fail(what, err)
	}
	// Before the first change, so that programs that cannot use the new schema
	// do not start meanwhile.
	if err := s.raiseOldest(ctx); err != nil {
		return 0, 0, s.fail(what, err)
	}
	if s.dialect.name == sqliteDialect.name {
		protectFiles(s.file)
	}
	db, options := s.sql, []goose.ProviderOption(nil)
	if s.dialect.name == mysqlDialect.name {
		// DDL statements do not roll back.
		db = sql.OpenDB(repeatableConnector{s.connector})
		defer func() { _ = db.Close() }()
		locker, err := s.migrationLock(ctx)
		if err != nil {
			return 0, 0, err
		}
		options = append(options, goose.WithLocker(locker))
	}
	p, err := s.provider(db, options...)
	if err != nil {
		return 0, 0, err
	}
	applied, err := p.Up(ctx)
	if err != nil {
		return 0, 0, s.fail(what, err)
	}
	if to, err = p.GetDBVersion(ctx); err != nil {
		return 0, 0, s.fail("read the version of the schema", err)
	}
	// Versions are consecutive. A version read before would not count what
	// another process migrated meanwhile.
	return to - int64(len(applied)), to, nil
}

// CheckSchema returns a [tasker.Conflict], with what to do, if this program
// cannot use the schema: it is too old, or a newer program has changed it such
// that this one cannot use it. Unavailable means that the database could not be
// asked.
func (s Schema) CheckSchema(ctx context.Context) error {
	p, err := s.provider(s.sql)
	if err != nil {
		return err
	}
	if err := s.Ping(ctx); err != nil {
		return err
	}
	want := p.ListSources()[len(p.ListSources())-1].Version
	// Not GetVersions, which would create the table.
	have, err := s.number(ctx, versionTable, "SELECT COALESCE(MAX(version_id), 0) FROM "+versionTable+" WHERE is_applied")
	if err != nil {
		return s.fail("read the version of the schema", err)
	}
	oldest, err := s.number(ctx, rangeTable, "SELECT COALESCE(MAX(oldest), 0) FROM "+rangeTable)
	if err != nil {
		return s.fail("read the version of the schema", err)
	}
	if oldest == 0 {
		oldest = have // an older program, which did not record it
	}
	switch {
	case have < want:
		return tasker.Errorf(tasker.Conflict,
			"database schema has version %d, but this tasker needs %d: run tasker initialize --database", have, want)
	case oldest > want:
		return tasker.Errorf(tasker.Conflict, "database schema has version %d, for programs that know version %d, but this "+
			"tasker knows %d: "+
			"use the tasker that migrated it, or a newer one", have, oldest, want)
	}
	return nil
}

// number returns the number that a query returns, or 0 if its table does not
// exist.
func (s Schema) number(ctx context.Context, table, query string) (n int64, err error) {
	exists, err := s.hasTable(ctx, table)
	if err != nil || !exists {
		return 0, err
	}
	return n, s.sql.QueryRowContext(ctx, query).Scan(&n)
}

func (s *DB) hasTable(ctx context.Context, name string) (bool, error) {
	query := "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?"
	if s.dialect.name == sqliteDialect.name {
		query = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
	}
	var n int
	if err := s.sql.QueryRowContext(ctx, query, name).Scan(&n); err != nil {
		return false, err
	}
	return n > 0, nil
}

// Table is one of tasker's tables and its number of rows.
type Table struct {
	Name string
	Rows int64
}

// Tables returns tasker's tables that exist, with their exact numbers of rows.
func (s Schema) Tables(ctx context.Context) ([]Table, error) {
	var list []Table
	for _, name := range tables {
		exists, err := s.hasTable(ctx, name)
		if err != nil {
			return nil, s.fail("list the tables", err)
		}
		if !exists {
			continue
		}
		t := Table{Name: name}
		if err := s.sql.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+name).Scan(&t.Rows); err != nil {
			return nil, s.fail("count the rows of "+name, err)
		}
		list = append(list, t)
	}
	return list, nil
}

// Reset drops all of tasker's tables, and nothing else.
func (s Schema) Reset(ctx context.Context) error {
	versioned, err := s.hasTable(ctx, versionTable)
	if err != nil {
		return s.fail("list the tables", err)
	}
	if versioned {
		// First, so that an interrupted reset does not leave a schema that
		// seems complete: Migrate makes what is missing.
		if _, err := s.sql.ExecContext(ctx, "DELETE FROM "+versionTable+" WHERE version_id > 0"); err != nil {
			return s.fail("reset the version of the schema", err)
		}
	}
	for _, name := range tables {
		if _, err := s.sql.ExecContext(ctx, "DROP TABLE IF EXISTS "+name); err != nil {
			return s.fail("drop table "+name, err)
		}
	}
	return nil
}

// CreateDatabase creates the MySQL database in cfg unless it exists, and
// reports whether it did; an SQLite file is created when it is opened. The user
// needs the privilege to do so.
func CreateDatabase(ctx context.Context, cfg Config) (created bool, err error) {
	s := &Store{}
	u, err := url.Parse(cfg.URI)
	if err != nil || u.Scheme != "mysql" {
		return false, nil //nolint:nilerr // Open tells what is wrong with an address
	}
	c, err := mysqlConfig(u, cfg)
	if err != nil {
		return false, err
	}
	name := c.DBName
	c.DBName = ""
	connector, err := newConnector(c, cfg.TLS, slog.New(slog.DiscardHandler))
	if err != nil {
		return false, err
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	var n int
	err = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?", name).Scan(&n)
	if err != nil {
		return false, s.fail("list the databases", err)
	}
	if n > 0 {
		return false, nil
	}
	quoted := "`" + strings.ReplaceAll(name, "`", "``") + "`"
	if _, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+quoted+" CHARACTER SET utf8mb4"); err != nil {
		return false, s.fail("create database "+name, err)
	}
	return true, nil
}
