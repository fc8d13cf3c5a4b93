package store

import (
	"context"
	"log/slog"
	"time"

	"gorm.io/gorm/logger"
)

// gormLogger logs statements at debug level if verbose. It does not log errors:
// they are returned.
type gormLogger struct {
	log     *slog.Logger
	verbose bool
}

var _ logger.Interface = (*gormLogger)(nil)

func newGormLogger(log *slog.Logger, verbose bool) *gormLogger { return &gormLogger{log, verbose} }

func (l *gormLogger) LogMode(logger.LogLevel) logger.Interface { return l }

func (l *gormLogger) Info(context.Context, string, ...any)  {}
func (l *gormLogger) Warn(context.Context, string, ...any)  {}
func (l *gormLogger) Error(context.Context, string, ...any) {}

func (l *gormLogger) Trace(ctx context.Context, begin time.Time, statement func() (string, int64), err error) {
	if !l.verbose {
		return
	}
	sql, rows := statement()
	l.log.DebugContext(ctx, "statement", "sql", sql, "rows", rows, "duration", time.Since(begin), "err", err)
}
