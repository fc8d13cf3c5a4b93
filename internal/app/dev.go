package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker/local"
	"github.com/taskerhq/tasker/internal/schema"
	"github.com/taskerhq/tasker/internal/store"
)

// DevEndpoints are the endpoints that [RunDev] serves unless it is told others.
func DevEndpoints() []string { return []string{"console1", "console2"} }

// devShutdown bounds how long handlers may run when the development process is
// stopped: somebody waits at a terminal.
const devShutdown = 3 * time.Second

// RunDev runs the API and some endpoints, console1 and console2 by default, for every
// configured task type, in this process, on SQLite and an in-process broker: nothing has to be
// installed. The endpoints work over a gateway, as those of a fleet do. It ends when ctx does. Tasks survive a restart on the same data
// directory: they are in the database, from which endpoints catch up.
func RunDev(ctx context.Context, cfg config.Config, opts DevOptions, log *slog.Logger) (err error) {
	defer logState(ctx, log)()
	if len(opts.Endpoints) == 0 {
		opts.Endpoints = DevEndpoints()
	}
	dir, cleanup, err := dataDir(opts)
	if err != nil {
		return err
	}
	defer func() {
		if e := cleanup(); e != nil && err == nil {
			err = e
		}
	}()
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	file := filepath.Join(dir, devDatabase)
	conf := cfg.Store
	conf.URI, conf.SeenWithin = sqliteURI(file), cfg.Rabbit.QueueExpires
	st, err := store.Open(conf, log)
	if err != nil {
		return err
	}
	s := newServices(st, local.New(log), opts.Version, log)
	defer s.close(ctx)
	if _, _, err := s.store.Schema.Migrate(ctx); err != nil {
		return fmt.Errorf("prepare %s: %w", file, err)
	}
	cfg.Gateway.Listen = "" // its broker is in this process
	cfg.Manager.StateDir, cfg.Manager.SpoolDir = dir, filepath.Join(dir, "spool")
	cfg.Manager.ShutdownTimeout = min(cfg.Manager.ShutdownTimeout, devShutdown)
	registry, err := cfg.Handlers(nil)
	if err != nil {
		return err
	}

	defer func() { _ = os.Remove(filepath.Join(dir, devURL)) }()
	return reloading(ctx, newReloader(opts.Reload, cfg, log), func(ctx context.Context, r *reloader) error {
		return s.runDev(ctx, cfg, r, registry, file, opts)
	})
}

func (s services) runDev(ctx context.Context, cfg config.Config, r *reloader, registry *handlers.Registry, file string,
	opts DevOptions,
) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		serve := ManagerOptions{Endpoints: opts.Endpoints, Version: opts.Version}
		return s.runDevManager(ctx, cfg, r, registry, serve)
	})
	group.Go(func() error {
		// A task for all endpoints that came before them would be for none.
		if err := s.awaitEndpoints(ctx, len(opts.Endpoints)); err != nil || ctx.Err() != nil {
			return err
		}
		return s.runAPI(ctx, cfg, r, opts.Version, func(addr string) {
			base := cfg.API.TLS.Scheme() + "://" + addr
			urlFile := filepath.Join(filepath.Dir(file), devURL)
			if err := os.WriteFile(urlFile, []byte(base+"\n"), 0o600); err != nil {
				s.log.WarnContext(ctx, "write API URL failed: commands with --dev will not find it", "err", err)
			}
			if opts.Out != nil {
				greet(opts.Out, cfg, base, file, opts)
			}
			if opts.Ready != nil {
				opts.Ready(addr)
			}
		})
	})
	return group.Wait()
}

// devDatabase is the database's file in the data directory.
const devDatabase = "tasker.db"

func sqliteURI(file string) string {
	return (&url.URL{Scheme: "sqlite", Path: filepath.ToSlash(file)}).String()
}

// OfDev returns the configuration for commands that examine the data of "tasker
// dev", whether or not it runs: its database, and no RabbitMQ. A directory without a
// database is an error.
func OfDev(cfg config.Config, dataDir string) (config.Config, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return cfg, fmt.Errorf("find the data directory %s: %w", dataDir, err)
	}
	file := filepath.Join(dir, devDatabase)
	if _, err := os.Stat(file); err != nil {
		return cfg, tasker.Errorf(tasker.Invalid,
			"database of tasker dev not found in %s: name its directory with --data, or start it first",
			dir)
	}
	cfg.Store.URI = sqliteURI(file)
	cfg.Rabbit.URIs = nil
	return cfg, nil
}

// ownBroker reports whether a configuration comes from [OfDev].
func ownBroker(cfg config.Config) bool { return len(cfg.Rabbit.URIs) == 0 }

// awaitEndpoints waits until n endpoints are registered, now or by an earlier
// process.
func (s services) awaitEndpoints(ctx context.Context, n int) error {
	for {
		list, err := s.store.Endpoints.ListEndpoints(ctx, tasker.EndpointQuery{Limit: n})
		switch {
		case ctx.Err() != nil: // asked to stop while it waited
			return nil
		case err != nil || len(list) == n:
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// dataDir creates the data directory, and returns a function that removes an
// ephemeral one.
func dataDir(opts DevOptions) (dir string, cleanup func() error, err error) {
	if opts.Ephemeral {
		if dir, err = os.MkdirTemp("", "tasker-dev-"); err != nil {
			return "", nil, fmt.Errorf("create a temporary data directory: %w", err)
		}
		return dir, func() error { return os.RemoveAll(dir) }, nil
	}
	if dir, err = filepath.Abs(opts.DataDir); err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", nil, fmt.Errorf("create the data directory %s: %w", opts.DataDir, err)
	}
	return dir, func() error { return nil }, nil
}

func greet(out io.Writer, cfg config.Config, base, file string, opts DevOptions) {
	kept := "kept; --ephemeral keeps none"
	if opts.Ephemeral {
		kept = "removed at the end"
	}
	dashboard := ""
	if cfg.API.UI {
		dashboard = "  dashboard      " + base + "/ui/\n"
	}
	_, _ = fmt.Fprintf(out, `%[10]s %[1]s for development: the API and two endpoints in one process,
on SQLite and an in-process broker. For production, on MySQL and RabbitMQ: %[10]s api, %[10]s manager.

%[9]s  API            %[2]s   (contract: /openapi.yaml, state: /readyz)
  task types     %[3]v
  endpoints      %[4]v
  configuration  %[5]s
  data           %[6]s (%[7]s)

Try it, in another terminal:

%[8]s
Stop it with Ctrl-C.
`, opts.Version, base, cfg.TaskTypeNames(), opts.Endpoints, cfg.File, file, kept, firstSteps(cfg.TaskTypes, base), dashboard,
		cmp.Or(opts.Program, "tasker"))
}

// firstSteps returns commands that work with the configured task types: a POST of the
// first one with a known payload, or where to find out what it must be.
func firstSteps(types []tasker.TaskType, base string) string {
	for _, t := range types {
		payload := t.Example
		switch {
		case len(payload) > 0:
		case len(t.Schema) == 0:
			payload = json.RawMessage(`{"foo":"bar"}`)
		default:
			if s, err := schema.Compile(t.Schema); err == nil {
				payload = s.Example()
			}
		}
		if len(payload) == 0 || len(t.Labels) > 0 {
			continue
		}
		quoted := strings.ReplaceAll(string(payload), "'", `'\''`)
		return fmt.Sprintf(`  curl -X POST -H 'content-type: application/json' \
    -d '{"identifier":"first","payload":%[1]s}' %[2]s/%[3]s
  curl %[2]s/%[3]s/first
`, quoted, base, t.Name)
	}
	return fmt.Sprintf("  curl %s/v1/task-types/%s     # describes its payload\n", base, types[0].Name)
}
