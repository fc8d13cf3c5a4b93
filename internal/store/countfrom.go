package store

import (
	"context"
	"fmt"
)

// CountFrom makes id the id of the next task, in a database without newer tasks. It
// is for tests of those who read ids.
func (s Tasks) CountFrom(ctx context.Context, id int64) error {
	statements := []string{
		"DELETE FROM sqlite_sequence WHERE name = 'tasks'",
		fmt.Sprintf("INSERT INTO sqlite_sequence (name, seq) VALUES ('tasks', %d)", id-1),
	}
	if s.dialect.name == mysqlDialect.name {
		statements = []string{fmt.Sprintf("ALTER TABLE tasks AUTO_INCREMENT = %d", id)}
	}
	for _, statement := range statements {
		if err := s.conn(ctx).Exec(statement).Error; err != nil {
			return s.fail("set the id of the next task", err)
		}
	}
	return nil
}
