package app

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/store"
)

// InitDatabase makes the database of manager.db.uri exist, where its user may
// do that, and brings its schema to this program's version. It may be
// repeated. With a reset it drops tasker's tables first, and with them all
// tasks and results.
func InitDatabase(ctx context.Context, cfg config.Config, opts InitOptions) error {
	if opts.DryRun {
		return describeDatabase(ctx, cfg, opts)
	}
	created, err := store.CreateDatabase(ctx, cfg.Store)
	if err != nil {
		return err
	}
	s, err := store.Open(cfg.Store, slog.New(slog.DiscardHandler), store.WithProgress(func(what string) { say(opts.Out, "schema: %s", what) }))
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	say(opts.Out, "database %s: %s", s.Name(), made(created, "exists"))
	if opts.Reset {
		if err := s.Reset(ctx); err != nil {
			return err
		}
		say(opts.Out, "tasker's tables: dropped")
	}
	from, to, err := s.Migrate(ctx)
	if err != nil {
		return err
	}
	if from == to {
		say(opts.Out, "schema: is at version %d", to)
	} else {
		say(opts.Out, "schema: migrated from version %d to %d", from, to)
	}
	return nil
}

func describeDatabase(ctx context.Context, cfg config.Config, opts InitOptions) error {
	s, err := store.Open(cfg.Store, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	tables, err := s.Tables(ctx)
	if err != nil {
		return fmt.Errorf("look what would be dropped: %w", err)
	}
	if len(tables) == 0 {
		say(opts.Out, "database %s has no tables of tasker: nothing to drop", s.Name())
	}
	for _, t := range tables {
		say(opts.Out, "would drop table %s of database %s with %d rows", t.Name, s.Name(), t.Rows)
	}
	return nil
}
