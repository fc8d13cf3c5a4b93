package store

import (
	"context"
	"io/fs"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
)

// WithMigrations replaces the migrations by those of another release.
func WithMigrations(files fs.FS) Option { return func(o *options) { o.files = files } }

// Exec executes a statement that no method makes.
func Exec(s *Store, statement string, args ...any) error {
	return s.DB.gorm.Exec(statement, args...).Error
}

// Targets returns the targets of a task.
func Targets(ctx context.Context, s *Store, taskID int64) ([]string, error) {
	return s.targets(ctx, taskID)
}

// CountTasks is [Tasks.CountTasks] with other bounds.
func CountTasks(ctx context.Context, s *Store, q tasker.TaskSearch, tasks int, limit time.Duration) (tasker.TaskCounts, error) {
	return s.Tasks.countTasks(ctx, q, countBounds{tasks, limit})
}

// The limits of searches that tests use.
const (
	TextWindow = textWindow
	MaxRanges  = maxRanges
)

// AfterQueries calls f with each statement that reads, after it.
func AfterQueries(s *Store, f func(statement string)) error {
	return s.DB.gorm.Callback().Query().After("gorm:query").Register("test:after", func(db *gorm.DB) { f(db.Statement.SQL.String()) })
}
