package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/taskerhq/tasker/internal/store"
)

// Migrate gives an empty database the schema that [store.Schema.Migrate] makes. Only the
// first SQLite file and the first database of the test server are migrated: statements that
// make the same tables and rows, read from them, are several times as fast.
func Migrate(t testing.TB, s *store.Store) {
	t.Helper()
	d := &sqliteDump
	if _, ok := s.Pool().Driver().(*mysql.MySQLDriver); ok {
		d = &mysqlDump
		var name string
		if err := s.Pool().QueryRowContext(t.Context(), "SELECT DATABASE()").Scan(&name); err != nil {
			t.Fatal(err)
		}
		if kept.migrated(name) {
			return
		}
	}
	if err := d.restore(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// statement is a statement and its arguments.
type statement struct {
	text string
	args []any
}

// dump has the statements that make the schema.
type dump struct {
	before, after string // what surrounds them
	tables        string // the query that returns the tables' names
	definitions   func(ctx context.Context, conn *sql.Conn, tables []string) ([]string, error)

	once       sync.Once
	statements []statement
	names      []string // of the tables
	err        error
}

var sqliteDump = dump{
	before: "BEGIN IMMEDIATE",
	after:  "COMMIT",
	tables: "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY rowid",
	definitions: func(ctx context.Context, conn *sql.Conn, _ []string) ([]string, error) {
		return column(ctx, conn, 0, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%'"+
			" ORDER BY type <> 'table', rowid")
	},
}

var mysqlDump = dump{
	before: "SET foreign_key_checks = 0",
	after:  "SET foreign_key_checks = 1",
	tables: "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name",
	definitions: func(ctx context.Context, conn *sql.Conn, tables []string) (list []string, err error) {
		for _, table := range tables {
			created, err := column(ctx, conn, 1, "SHOW CREATE TABLE "+table)
			if err != nil {
				return nil, err
			}
			list = append(list, created...)
		}
		return list, nil
	},
}

func (d *dump) restore(ctx context.Context, s *store.Store) error {
	first := false
	d.once.Do(func() {
		first = true
		if _, _, d.err = s.Schema.Migrate(ctx); d.err == nil {
			d.statements, d.err = d.read(ctx, s.Pool())
		}
	})
	if d.err != nil || first {
		return d.err
	}
	conn, err := s.Pool().Conn(ctx) // the statements are for one session
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for _, statement := range d.statements {
		if _, err := conn.ExecContext(ctx, statement.text, statement.args...); err != nil {
			return fmt.Errorf("%s: %w", statement.text, err)
		}
	}
	return nil
}

// read returns the statements that make what a database contains.
func (d *dump) read(ctx context.Context, db *sql.DB) ([]statement, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	tables, err := column(ctx, conn, 0, d.tables)
	if err != nil {
		return nil, err
	}
	definitions, err := d.definitions(ctx, conn, tables)
	if err != nil {
		return nil, err
	}
	d.names = tables
	list := []statement{{text: d.before}}
	for _, definition := range definitions {
		list = append(list, statement{text: definition})
	}
	for _, table := range tables {
		all, err := rows(ctx, conn, "SELECT * FROM "+table)
		if err != nil {
			return nil, err
		}
		for _, row := range all {
			list = append(list, statement{"INSERT INTO " + table + " VALUES (?" + strings.Repeat(", ?", len(row)-1) + ")", row})
		}
	}
	return append(list, statement{text: d.after}), nil
}

// emptied returns the statements that leave in the tables only what they have from the start.
func (d *dump) emptied() []statement {
	list := []statement{{text: d.before}}
	for _, table := range d.names {
		list = append(list, statement{text: "DELETE FROM " + table})
	}
	for _, s := range d.statements {
		if s.args != nil { // the others define something
			list = append(list, s)
		}
	}
	return append(list, statement{text: d.after})
}

// column returns one column of a query's rows.
func column(ctx context.Context, conn *sql.Conn, n int, query string) (list []string, err error) {
	all, err := rows(ctx, conn, query)
	for _, row := range all {
		list = append(list, fmt.Sprint(row[n]))
	}
	return list, err
}

func rows(ctx context.Context, conn *sql.Conn, query string) (list [][]any, err error) {
	found, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Close() }()
	columns, err := found.Columns()
	if err != nil {
		return nil, err
	}
	for found.Next() {
		row, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			pointers[i] = &row[i]
		}
		if err := found.Scan(pointers...); err != nil {
			return nil, err
		}
		for i, value := range row {
			switch value := value.(type) {
			case []byte:
				row[i] = string(value)
			case time.Time:
				row[i] = value.UTC()
			}
		}
		list = append(list, row)
	}
	return list, found.Err()
}
