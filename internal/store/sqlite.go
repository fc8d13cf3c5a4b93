package store

import (
	"database/sql"
	"fmt"
	"net/url"
	"path"

	"github.com/glebarez/sqlite"
	"gorm.io/gorm"
)

var sqliteDialect = dialect{
	name:        "sqlite",
	jsonLength:  "json_array_length",
	greatest:    "max",
	selectShare: "SELECT %s",
	inserted:    "excluded.%s",
}

func openSQLite(u *url.URL, cfg Config) (gorm.Dialector, *sql.DB, error) {
	file := path.Join(u.Host, u.Path)
	if file == "" || u.RawQuery != "" {
		return nil, nil, fmt.Errorf("the database address names no plain file: it must be %s", uriForms)
	}
	// Without _txlock=immediate two transactions that read first and write
	// then cannot both go on, and one fails as locked.
	dsn := "file:" + (&url.URL{Path: file}).EscapedPath() +
		"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_pragma=synchronous(NORMAL)" +
		"&_pragma=foreign_keys(1)&_txlock=immediate"
	db, err := sql.Open(sqlite.DriverName, dsn)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", file, err)
	}
	db.SetMaxOpenConns(cfg.MaxOpenConns)
	db.SetMaxIdleConns(cfg.MaxOpenConns)
	return &sqlite.Dialector{Conn: db}, db, nil
}
