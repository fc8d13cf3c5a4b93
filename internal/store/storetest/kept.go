package storetest

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/taskerhq/tasker/internal/testservices"
)

// keptDatabases are databases of the test server which the tests of a process are through with.
// They have all tables and no rows but those of the migrations: most of what a small test
// costs is to make and to drop its tables, each of which the server writes to disk.
type keptDatabases struct {
	mu     sync.Mutex
	free   []*database
	tables map[string]bool // the names of those that have their tables
}

type database struct {
	config *mysql.Config
	uri    string
	drop   func() error
}

var kept = keptDatabases{tables: map[string]bool{}}

// MySQL returns the address of a database on the test server that [Migrate] is to be called
// for. Of what earlier tests did to it nothing is left but the numbers with which its ids go
// on. The package calls [DropKept] at its end.
func MySQL(t testing.TB) string {
	t.Helper()
	d := kept.take()
	if d == nil {
		uri, drop := testservices.LastingMySQL(t)
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal("invalid database address")
		}
		config := mysql.NewConfig()
		config.User, config.Net, config.Addr, config.DBName = u.User.Username(), "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
		config.Passwd, _ = u.User.Password()
		d = &database{config, uri, drop}
	}
	t.Cleanup(func() {
		if !t.Failed() && d.empty() == nil {
			kept.keep(d)
		} else if err := d.drop(); err != nil {
			t.Error(err)
		}
	})
	return d.uri
}

// DropKept drops the databases that no test uses any more.
func DropKept() error {
	var errs []error
	for d := kept.take(); d != nil; d = kept.take() {
		errs = append(errs, d.drop())
	}
	return errors.Join(errs...)
}

func (k *keptDatabases) take() (d *database) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if last := len(k.free) - 1; last >= 0 {
		d, k.free = k.free[last], k.free[:last]
	}
	return d
}

func (k *keptDatabases) keep(d *database) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.free = append(k.free, d)
}

// migrated notes that a database has its tables, and reports whether it had them before.
func (k *keptDatabases) migrated(name string) (before bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before, k.tables[name] = k.tables[name], true
	return before
}

// empty makes a database what it was after its migration.
func (d *database) empty() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	connector, err := mysql.NewConnector(d.config)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, s := range mysqlDump.emptied() {
		if _, err := tx.ExecContext(ctx, s.text, s.args...); err != nil {
			return err
		}
	}
	return tx.Commit()
}
