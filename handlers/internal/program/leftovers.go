package program

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/taskerhq/tasker/handlers/internal/proc"
)

// RecordExt ends the path of the record that [proc.Spec] keeps of a running
// program; what precedes it is the path of what was made for the run.
const RecordExt = ".run"

// EndLeftovers ends programs whose manager was killed, so that the next attempt of
// a task does not run beside the last one, and calls remove for what was made
// for them. pattern matches that in the directory for temporary files, and
// variable has its path in the environment of the programs.
func EndLeftovers(ctx context.Context, log *slog.Logger, pattern, variable string, remove func(path string) error) {
	ended, err := proc.KillAbandoned(filepath.Join(os.TempDir(), pattern+RecordExt), variable)
	if err != nil {
		log.WarnContext(ctx, "programs of a killed manager may still run", "err", err)
	}
	for _, a := range ended {
		if a.Session != 0 {
			log.WarnContext(ctx, "killed what a program of a killed manager left running", "session", a.Session)
		}
		if err := remove(strings.TrimSuffix(a.Record, RecordExt)); err != nil {
			log.WarnContext(ctx, "cannot remove the files of a run", "err", err)
		}
	}
}
