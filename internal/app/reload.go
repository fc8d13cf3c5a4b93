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

// Reload says when a running role reads its configuration again. The zero
// value means never.
//
// A configuration with a mistake changes nothing. Of one without, the task
// types and the level of the log come into force at once; what else differs is
// logged, and needs a restart. Flags and the environment stay those of the
// start.
type Reload struct {
	// Asked gives a value each time that somebody asks for it, as by SIGHUP.
	Asked <-chan os.Signal
	// Period is the time between two looks at the files; 0 means none. They
	// are read again once they have changed, and stay the same for a period:
	// who writes them has ended by then.
	Period time.Duration
	// Level, if set, is that of the log, and follows the configuration.
	Level *slog.LevelVar
	// Done, if set, is called after each reload, with why it changed nothing.
	Done func(err error)
}

// change prepares what puts a configuration in force that follows another one.
// An error, for a configuration that a role cannot use, changes nothing.
type change func(before, next config.Config) (apply func(ctx context.Context) error, err error)

// reloader reads the configuration again for all roles of a process. A nil one
// never does.
type reloader struct {
	opts  Reload
	start config.Config // in force where a restart is needed
	log   *slog.Logger

	mu      sync.Mutex
	current config.Config
	changes []change
	changed bool // current is not start
}

func newReloader(opts Reload, cfg config.Config, log *slog.Logger) *reloader {
	return &reloader{opts: opts, start: cfg, current: cfg, log: log}
}

// join adds a role, which has started with the first configuration, and brings
// it up to date.
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

// run reloads when it is asked to, and when the files have changed, until ctx
// ends.
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

// watch looks at files: as they were when they were read, and when they were
// looked at last.
type watch struct {
	loaded, last config.Files
}

// changed tells whether they have changed since they were read, and not since
// the last look: who writes them has ended.
func (w *watch) changed() bool {
	now := w.last.Look()
	settled := now.Same(w.last)
	w.last = now
	return settled && !now.Same(w.loaded)
}

// reload reads the configuration, puts it in force, and gives the files that
// it comes from.
func (r *reloader) reload(ctx context.Context) config.Files {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.current.Again()
	files := next.Files()
	if wrong, ok := errors.AsType[*config.Error](err); ok {
		files = wrong.Files
		r.log.ErrorContext(ctx, "the configuration has mistakes: the one before stays in force",
			"file", r.current.File, "problems", strings.Join(wrong.Problems, " | "))
	} else if err == nil {
		if err = r.put(ctx, next); err != nil {
			r.log.ErrorContext(ctx, "the configuration cannot be put in force", "file", next.File, "err", err)
		}
	} else {
		files = r.current.Files()
		r.log.ErrorContext(ctx, "the configuration cannot be read: the one before stays in force", "file", r.current.File, "err", err)
	}
	if r.opts.Done != nil {
		r.opts.Done(err)
	}
	return files
}

// put puts a valid configuration in force: in all roles, or, where one cannot
// use it, in none.
func (r *reloader) put(ctx context.Context, next config.Config) error {
	applies := make([]func(context.Context) error, len(r.changes))
	for i, c := range r.changes {
		var err error
		if applies[i], err = c(r.current, next); err != nil {
			return err
		}
	}
	for _, apply := range applies {
		if err := apply(ctx); err != nil {
			return fmt.Errorf("it may be in force in part: %w", err)
		}
	}
	if r.opts.Level != nil {
		r.opts.Level.Set(next.Log.Level)
	}
	r.tell(ctx, next)
	r.current, r.changed = next, true
	return nil
}

// tell logs what is in force from now on, and what is not.
func (r *reloader) tell(ctx context.Context, next config.Config) {
	d := r.current.Diff(next)
	args := []any{"file", next.File}
	if d.Level {
		args = append(args, "log_level", next.Log.Level)
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
		r.log.InfoContext(ctx, "the configuration was read again", args...)
	} else {
		r.log.InfoContext(ctx, "the configuration was read again, and nothing in it takes effect at once", args...)
	}
	if keys := r.start.Diff(next).Restart; len(keys) > 0 {
		r.log.WarnContext(ctx, "what was changed takes effect after a restart", "keys", strings.Join(keys, ", "))
	}
}
