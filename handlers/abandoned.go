package handlers

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/taskerhq/tasker/handlers/internal/proc"
)

// endAbandonedPrograms ends what is left of programs whose manager was killed,
// so that a task's next attempt does not run beside the last one, and removes
// what was made for them.
func endAbandonedPrograms(ctx context.Context, log *slog.Logger) {
	endAbandoned(ctx, log, payloadPrefix+"*"+payloadExt, payloadVariable, func(payload string) error {
		return errors.Join(os.RemoveAll(payload), os.RemoveAll(workOf(payload)))
	})
}

// endAbandonedServices is the same of the processes of services.
func endAbandonedServices(ctx context.Context, log *slog.Logger) {
	endAbandoned(ctx, log, servicePrefix+"*", serviceVariable, os.RemoveAll)
}

// endAbandoned looks for the records of what was made under such a name in the
// directory for temporary files, and has its path in the variable.
func endAbandoned(ctx context.Context, log *slog.Logger, pattern, variable string, remove func(path string) error) {
	ended, err := proc.KillAbandoned(filepath.Join(os.TempDir(), pattern+recordExt), variable)
	if err != nil {
		log.WarnContext(ctx, "programs of a manager that was killed may still run", "err", err)
	}
	for _, a := range ended {
		if a.Session != 0 {
			log.WarnContext(ctx, "what was left of a program was killed: its manager had been killed before", "session", a.Session)
		}
		if err := remove(strings.TrimSuffix(a.Record, recordExt)); err != nil {
			log.WarnContext(ctx, "what was made for a run was not removed", "err", err)
		}
	}
}
