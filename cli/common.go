package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"

	"github.com/taskerhq/tasker/config"
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

// logger makes the log that the configuration describes, on stderr.
func (r *run) logger(cfg config.Log) *slog.Logger {
	terminal := isTerminal(r.Stderr)
	switch {
	case cfg.Format == outputText, cfg.Format == "auto" && terminal:
		color := terminal && r.variable("NO_COLOR", "") == ""
		return slog.New(tint.NewTextHandler(r.Stderr, &tint.Options{Level: cfg.Level, TimeFormat: time.StampMilli, NoColor: !color}))
	default:
		return slog.New(slog.NewJSONHandler(r.Stderr, &slog.HandlerOptions{Level: cfg.Level, ReplaceAttr: readableDuration}))
	}
}

// readableDuration writes durations as "1.5s" instead of nanoseconds.
func readableDuration(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// tell writes an answer: as JSON where that was asked for, else as text.
func (r *run) tell(answer any, text string) error {
	if r.output == outputJSON {
		encoded, err := json.MarshalIndent(answer, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		text = string(encoded) + "\n"
	}
	if _, err := io.WriteString(r.Stdout, text); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
