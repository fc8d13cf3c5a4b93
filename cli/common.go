package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/x/text"
)

// The output formats.
const (
	outputText  = "text"
	outputJSON  = "json"
	outputLines = "jsonl" // one JSON object a line, each with a kind
	outputNames = "names" // bare names, one a line, for other commands
	outputCSV   = "csv"
)

// outputsKey is the annotation of a command with its output formats.
const outputsKey = "outputs"

// withOutputs sets the output formats of a command.
func withOutputs(cmd *cobra.Command, formats ...string) *cobra.Command {
	cmd.Annotations = map[string]string{outputsKey: strings.Join(formats, " ")}
	return cmd
}

// outputs returns the output formats of a command.
func outputs(cmd *cobra.Command) []string {
	if formats := cmd.Annotations[outputsKey]; formats != "" {
		return strings.Fields(formats)
	}
	return []string{outputText, outputJSON}
}

// checkOutput checks the flags that say how the output looks.
func (r *run) checkOutput(cmd *cobra.Command) error {
	if formats := outputs(cmd); !slices.Contains(formats, r.output) {
		last := len(formats) - 1
		return usagef("invalid --output %q: must be %s or %s", r.output, strings.Join(formats[:last], ", "), formats[last])
	}
	if !slices.Contains([]string{colorAuto, colorAlways, colorNever}, r.color) {
		return usagef("invalid --color %q: must be auto, always or never", r.color)
	}
	return nil
}

// variable returns an environment variable, or the fallback if it is unset or
// empty.
func (r *run) variable(name, fallback string) string {
	for _, v := range r.Environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok && value != "" {
			return value
		}
	}
	return fallback
}

// load reads the configuration, without the parts that the command does not use.
func (r *run) load(without config.Part, flags ...config.Flag) (config.Config, error) {
	if r.logLevel != "" {
		flags = append(flags, config.Flag{Name: "--log-level", Key: "log.level", Value: r.logLevel})
	}
	return config.Load(config.Options{Mode: r.mode, Dir: r.dir, Environ: r.Environ, Flags: flags, Without: without, Handlers: r.Handlers})
}

// reloadPeriod is how often the files of the configuration are checked for changes.
const reloadPeriod = 2 * time.Second

// reload turns the process into a daemon, and returns when it reloads its
// configuration. Its log must be that of [run.logger].
func (r *run) reload() app.Reload {
	reload := app.Reload{Period: reloadPeriod, Level: &r.level}
	if r.Daemon != nil {
		reload.Asked = r.Daemon()
	}
	return reload
}

// logger returns the log that the configuration describes, to stderr, with the
// level r.level.
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

// isTerminal reports whether a reader or writer is a terminal.
func isTerminal(stream any) bool {
	if _, paged := stream.(*pager); paged {
		return true
	}
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// print prints the output of a command as JSON or as lines of text, as --output
// says. Control characters are escaped.
func (r *run) print(output any, lines string) error {
	out := text.VisibleLines(lines)
	if r.output == outputJSON {
		encoded, err := json.MarshalIndent(output, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the output: %w", err)
		}
		out = string(text.VisibleJSON(encoded)) + "\n"
	}
	if _, err := io.WriteString(r.Stdout, out); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}
