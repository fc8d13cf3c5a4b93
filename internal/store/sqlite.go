package store

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"

	"github.com/glebarez/sqlite"
	"gorm.io/gorm"
)

var sqliteDialect = dialect{
	name:       "sqlite",
	jsonLength: "json_array_length",
	jsonArray:  "json_group_array",
	table:      "json_each(%s)",
	element:    "value",
	greatest:   "max",
	inserted:   "excluded.%s",
}

func openSQLite(u *url.URL, cfg Config, file string) (gorm.Dialector, *sql.DB, error) {
	if file == "" || u.RawQuery != "" {
		return nil, nil, fmt.Errorf("invalid database address: not a plain file: must be %s", uriForms)
	}
	// Nobody else may read tasks and results. SQLite gives its other files the
	// mode of this one, and reports any error itself.
	if f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, ownerOnly); err == nil {
		_ = f.Close()
	}
	// Without _txlock=immediate, two transactions that read first and write
	// later fail as locked.
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

// ownerOnly is the mode of the database files.
const ownerOnly = 0o600

// protectFiles removes the permissions of others from files of earlier
// versions, if it may.
func protectFiles(file string) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(file + suffix); err == nil && info.Mode().Perm()&^ownerOnly != 0 {
			_ = os.Chmod(file+suffix, info.Mode().Perm()&ownerOnly)
		}
	}
}
