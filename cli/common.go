package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/x/text"
)

// The forms of output.
const (
	outputText = "text"
	outputJSON = "json"
)

// variable gives an environment variable, or the fallback where it is not set
// or empty.
func (r *run) variable(name, fallback string) string {
	for _, v := range r.Environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok && value != "" {
			return value
		}
	}
	return fallback
}

// load reads the configuration, without the parts that the command does not
// use.
func (r *run) load(without config.Part, flags ...config.Flag) (config.Config, error) {
	if r.logLevel != "" {
		flags = append(flags, config.Flag{Name: "--log-level", Key: "log.level", Value: r.logLevel})
	}
	return config.Load(config.Options{Mode: r.mode, Dir: r.dir, Environ: r.Environ, Flags: flags, Without: without, Handlers: r.Handlers})
}

// lookPeriod is the time between two looks at the files of the configuration.
const lookPeriod = 2 * time.Second

// reload makes the process a daemon, and says when it reads its configuration
// again. Its log must be that of [run.logger].
func (r *run) reload() app.Reload {
	reload := app.Reload{Period: lookPeriod, Level: &r.level}
	if r.Daemon != nil {
		reload.Asked = r.Daemon()
	}
	return reload
}

// logger makes the log that the configuration describes, on stderr. Its level
// is r.level from then on.
func (r *run) logger(cfg config.Log) *slog.Logger {
	r.level.Set(cfg.Level)
	terminal := isTerminal(r.Stderr)
	switch {
	case cfg.Format == outputText, cfg.Format == "auto" && terminal:
		color := terminal && r.variable("NO_COLOR", "") == ""
		return slog.New(newTextLog(r.Stderr, &r.level, color))
	default:
		return slog.New(newJSONLog(r.Stderr, &r.level))
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// tell writes an answer: as JSON where that was asked for, else as lines of
// text. Either way control characters in it are visible.
func (r *run) tell(answer any, lines string) error {
	answered := text.VisibleLines(lines)
	if r.output == outputJSON {
		encoded, err := json.MarshalIndent(answer, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		answered = string(text.VisibleJSON(encoded)) + "\n"
	}
	if _, err := io.WriteString(r.Stdout, answered); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
