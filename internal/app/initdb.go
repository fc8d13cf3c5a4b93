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

// InitDatabase creates the database of manager.db.uri, if its user is allowed to, and
// migrates its schema to this program's version. It can be repeated. A reset first
// drops tasker's tables, and with them all tasks and results; if daemons use them,
// that is an error unless forced.
func InitDatabase(ctx context.Context, cfg config.Config, opts InitOptions) error {
	if opts.DryRun {
		return describeDatabase(ctx, cfg, opts)
	}
	created, err := store.CreateDatabase(ctx, cfg.Store)
	if err != nil {
		return err
	}
	s, err := store.Open(cfg.Store, slog.New(slog.DiscardHandler),
		store.WithProgress(func(what string) { say(opts.Out, "schema: %s", what) }))
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	say(opts.Out, "database %s: %s", s.Name(), made(created, "exists"))
	if opts.Reset {
		if err := refuseLiving(ctx, s, opts); err != nil {
			return err
		}
		if err := s.Schema.Reset(ctx); err != nil {
			return err
		}
		say(opts.Out, "tasker's tables: dropped")
	}
	from, to, err := s.Schema.Migrate(ctx)
	if err != nil {
		return err
	}
	if from == to {
		say(opts.Out, "schema: already at version %d", to)
	} else {
		say(opts.Out, "schema: migrated from version %d to %d", from, to)
	}
	return nil
}

// refuseLiving returns an error if daemons use the database and opts do not force the
// reset: it would delete their endpoints and the tasks that they run.
func refuseLiving(ctx context.Context, s *store.Store, opts InitOptions) error {
	living, err := describeLiving(ctx, s)
	if err != nil || len(living) == 0 {
		return err
	}
	if opts.Force {
		say(opts.Out, "reset although in use by: %s", strings.Join(living, "; "))
		return nil
	}
	return tasker.Errorf(tasker.Conflict,
		"nothing was dropped: database in use by %s: stop them first (a killed one counts until its lease expires), or add --force",
		strings.Join(living, "; "))
}

// describeLiving returns the daemons that use the database.
func describeLiving(ctx context.Context, s *store.Store) ([]string, error) {
	managers, api, err := s.Inspection.Living(ctx)
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
	tables, err := s.Schema.Tables(ctx)
	if err != nil {
		return fmt.Errorf("find what would be dropped: %w", err)
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
