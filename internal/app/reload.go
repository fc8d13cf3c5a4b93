package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker/config"
)

// Reload says when a running role reloads its configuration. The zero value means
// never.
//
// An invalid configuration changes nothing. Of a valid one, the task types, the log
// level, the API's token and its access file, and the manager's allowed signers take
// effect at once; other changes are logged, and need a restart. Flags and the environment
// stay those of the start.
type Reload struct {
	// Asked receives a value for each request to reload, such as a SIGHUP.
	Asked <-chan os.Signal
	// Period is how often the files are checked; 0 means never. They are reloaded
	// once they have changed, and then stayed the same for a period: by then they
	// are completely written.
	Period time.Duration
	// Level, if set, is the log level, which follows the configuration.
	Level *slog.LevelVar
	// Done, if set, is called after each reload, with the error of a failed one.
	Done func(err error)
}

// change prepares the change from one configuration to another, and returns a function
// that applies it. An error, for a configuration that a role cannot use, changes
// nothing.
type change func(before, next config.Config) (apply func(ctx context.Context) error, err error)

// reloader reloads the configuration for all roles of a process. A nil one never
// does.
type reloader struct {
	opts  Reload
	start config.Config // in effect for what needs a restart
	log   *slog.Logger

	mu      sync.Mutex
	current config.Config
	changes []change
	changed bool // current differs from start
}

func newReloader(opts Reload, cfg config.Config, log *slog.Logger) *reloader {
	return &reloader{opts: opts, start: cfg, current: cfg, log: log}
}

// join adds a role that has started with the first configuration, and applies the
// current one.
func (r *reloader) join(ctx context.Context, c change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, c)
	if !r.changed {
		return nil
	}
	apply, err := c(r.start, r.current)
	if err != nil {
		return err
	}
	return apply(ctx)
}

// run reloads on request, and when the files have changed, until ctx ends.
func (r *reloader) run(ctx context.Context) {
	var looks <-chan time.Time
	if r.opts.Period > 0 {
		ticker := time.NewTicker(r.opts.Period)
		defer ticker.Stop()
		looks = ticker.C
	}
	w := watch{r.current.Files(), r.current.Files()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.opts.Asked:
		case <-looks:
			if !w.changed() {
				continue
			}
		}
		loaded := r.reload(ctx)
		w = watch{loaded, loaded}
	}
}

// watch detects changes of files: it has their states when they were loaded and when
// they were last checked.
type watch struct {
	loaded, last config.Files
}

// changed reports whether they have changed since they were loaded, and not since the
// last check: then they are completely written.
func (w *watch) changed() bool {
	now := w.last.Look()
	settled := now.Same(w.last)
	w.last = now
	return settled && !now.Same(w.loaded)
}

// reload reads the configuration, applies it, and returns the files that it comes
// from.
func (r *reloader) reload(ctx context.Context) config.Files {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.current.Again()
	files := next.Files()
	if wrong, ok := errors.AsType[*config.Error](err); ok {
		files = wrong.Files
		r.log.ErrorContext(ctx, "invalid configuration: keeping the previous one",
			"file", r.current.File, "problems", strings.Join(wrong.Problems, " | "))
	} else if err == nil {
		if err = r.apply(ctx, next); err != nil {
			r.log.ErrorContext(ctx, "apply configuration failed", "file", next.File, "err", err)
		}
	} else {
		files = r.current.Files()
		r.log.ErrorContext(ctx, "read configuration failed: keeping the previous one", "file", r.current.File, "err", err)
	}
	if r.opts.Done != nil {
		r.opts.Done(err)
	}
	return files
}

// apply applies a valid configuration: to all roles, or, if one cannot use it, to
// none.
func (r *reloader) apply(ctx context.Context, next config.Config) error {
	applies := make([]func(context.Context) error, len(r.changes))
	for i, c := range r.changes {
		var err error
		if applies[i], err = c(r.current, next); err != nil {
			return err
		}
	}
	for _, apply := range applies {
		if err := apply(ctx); err != nil {
			return fmt.Errorf("configuration may be partly applied: %w", err)
		}
	}
	if r.opts.Level != nil {
		r.opts.Level.Set(next.Log.Level)
	}
	r.logChanges(ctx, next)
	r.current, r.changed = next, true
	return nil
}

// logChanges logs what takes effect now, and what does not.
func (r *reloader) logChanges(ctx context.Context, next config.Config) {
	d := r.current.Diff(next)
	args := []any{"file", next.File}
	if d.Level {
		args = append(args, "log_level", next.Log.Level)
	}
	if d.Access {
		args = append(args, "access_file", next.AccessFile)
	}
	if d.Signers {
		args = append(args, "allowed_signers", "changed")
	}
	for _, names := range []struct {
		what  string
		names []string
	}{{"added", d.Added}, {"changed", d.Changed}, {"removed", d.Removed}} {
		if len(names.names) > 0 {
			args = append(args, names.what, names.names)
		}
	}
	if len(args) > 2 {
		r.log.InfoContext(ctx, "configuration reloaded", args...)
	} else {
		r.log.InfoContext(ctx, "configuration reloaded: no change takes effect without a restart", args...)
	}
	if keys := r.start.Diff(next).Restart; len(keys) > 0 {
		r.log.WarnContext(ctx, "configuration changes need a restart", "keys", strings.Join(keys, ", "))
	}
}
