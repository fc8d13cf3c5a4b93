package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/store"
)

// InitDatabase makes the database of manager.db.uri exist, where its user may
// do that, and brings its schema to this program's version. It may be
// repeated. With a reset it drops tasker's tables first, and with them all
// tasks and results; it refuses where daemons work with them, unless forced.
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
		if err := refuseLiving(ctx, s, opts); err != nil {
			return err
		}
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

// refuseLiving names the daemons that work with the database. Without force it
// returns an error where there are any: a reset takes their endpoints and what
// they run away from them.
func refuseLiving(ctx context.Context, s *store.Store, opts InitOptions) error {
	living, err := describeLiving(ctx, s)
	if err != nil || len(living) == 0 {
		return err
	}
	if opts.Force {
		say(opts.Out, "in use, and reset all the same: %s", strings.Join(living, "; "))
		return nil
	}
	return tasker.Errorf(tasker.Conflict, "nothing was dropped: the database is in use by %s: stop them first (one that was killed counts until its lease has passed), or add --force",
		strings.Join(living, "; "))
}

// describeLiving says which daemons work with the database.
func describeLiving(ctx context.Context, s *store.Store) ([]string, error) {
	managers, api, err := s.Living(ctx)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, m := range managers {
		list = append(list, fmt.Sprintf("the manager on %s (pid %d) of %s", m.Host, m.PID, strings.Join(m.Endpoints, ", ")))
	}
	if api {
		list = append(list, "an API, whose reconciler runs")
	}
	return list, nil
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
	living, err := describeLiving(ctx, s)
	if err != nil {
		return err
	}
	for _, daemon := range living {
		say(opts.Out, "in use by %s", daemon)
	}
	if len(tables) == 0 {
		say(opts.Out, "database %s has no tables of tasker: nothing to drop", s.Name())
	}
	for _, t := range tables {
		say(opts.Out, "would drop table %s of database %s with %d rows", t.Name, s.Name(), t.Rows)
	}
	return nil
}
