package store

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// rangeTable has one row: the schema version known to the oldest program that
// can use the schema.
const rangeTable = "schema_range"

// oldestLine is how a migration says which programs can use the schema after
// it. Without it, only programs that know the migration can.
var oldestLine = regexp.MustCompile(`(?m)^-- oldest: (\d+)$`)

func (s Schema) migrationFiles() (fs.FS, error) {
	files, err := fs.Sub(s.files, "migrations/"+s.dialect.name)
	if err != nil {
		return nil, fmt.Errorf("embedded migrations: %w", err)
	}
	return files, nil
}

// oldest returns the version of the oldest program that can use this program's
// schema.
func (s Schema) oldest() (oldest int64, err error) {
	files, err := s.migrationFiles()
	if err != nil {
		return 0, err
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("embedded migrations: %w", err)
	}
	for _, name := range names {
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return 0, fmt.Errorf("embedded migrations: %w", err)
		}
		digits, _, _ := strings.Cut(path.Base(name), "_")
		if m := oldestLine.FindSubmatch(content); m != nil {
			digits = string(m[1])
		}
		version, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("migration %s: %w", name, err)
		}
		oldest = max(oldest, version)
	}
	return oldest, nil
}

// raiseOldest records which programs can use this program's schema. It never
// lowers what a newer program recorded.
func (s Schema) raiseOldest(ctx context.Context) error {
	oldest, err := s.oldest()
	if err != nil {
		return err
	}
	for _, statement := range []string{
		"CREATE TABLE IF NOT EXISTS " + rangeTable + " (id INTEGER NOT NULL PRIMARY KEY, oldest BIGINT NOT NULL)",
		fmt.Sprintf("INSERT INTO %s (id, oldest) VALUES (1, %d)", rangeTable, oldest) +
			strings.Replace(s.dialect.upsert([]string{"id"}, []string{"oldest"}),
				"oldest = ", "oldest = "+s.dialect.greatest+"("+rangeTable+".oldest, ", 1) + ")",
	} {
		if _, err := s.sql.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
