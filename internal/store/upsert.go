package store

import (
	"fmt"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// upsert returns the end of an INSERT that updates the row if its key exists:
// the columns get the values that would have been inserted.
func (d *dialect) upsert(key, columns []string) string {
	set := make([]string, len(columns))
	for i, column := range columns {
		set[i] = column + " = " + fmt.Sprintf(d.inserted, column)
	}
	on := " ON DUPLICATE KEY UPDATE "
	if d.name == sqliteDialect.name {
		on = " ON CONFLICT (" + strings.Join(key, ", ") + ") DO UPDATE SET "
	}
	return on + strings.Join(set, ", ")
}

// onConflict is the same for gorm, with an expression for each column, in
// order. NEW(c) in it is the value that would have been inserted into column c.
func (d *dialect) onConflict(key []string, set [][2]string) clause.OnConflict {
	var on clause.OnConflict
	for _, column := range key {
		on.Columns = append(on.Columns, clause.Column{Name: column})
	}
	before, after, _ := strings.Cut(d.inserted, "%s")
	for _, s := range set {
		value := s[1]
		for {
			head, rest, found := strings.Cut(value, "NEW(")
			if !found {
				break
			}
			column, tail, _ := strings.Cut(rest, ")")
			value = head + before + column + after + tail
		}
		on.DoUpdates = append(on.DoUpdates, clause.Assignment{Column: clause.Column{Name: s[0]}, Value: gorm.Expr(value)})
	}
	return on
}
