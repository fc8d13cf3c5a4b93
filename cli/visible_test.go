package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/doctor"
)

// hostile is what a stranger can have printed: a window's title, a cleared
// screen, the one-byte form of the same, text that runs backwards, and the
// escape that the log's library makes a control character of.
const hostile = "\x1b]0;PWNED\x07\x1b[2J\u009b2J\x7f\u202e \\x1b[31m \xff \ufffd end\r"

// printers are all ways of text of others to a terminal or into a text log:
// each writes s in every place where such text can stand.
var printers = map[string]func(t *testing.T, s string) string{
	"text log": func(t *testing.T, s string) string { return logged(t, s, "--log-level=debug") },
	"JSON log": func(t *testing.T, s string) string { return logged(t, s) },
	"dead-letters list": func(t *testing.T, s string) string {
		return printed(deadLetters(t, hostileLetters(s), "list"))
	},
	"dead-letters list, JSON": func(t *testing.T, s string) string {
		return printed(deadLetters(t, hostileLetters(s), "list", "--output", "json"))
	},
	"dead-letters show": func(t *testing.T, s string) string {
		return printed(deadLetters(t, hostileLetters(s), "show", "1"))
	},
	"dead-letters discard": func(t *testing.T, s string) string {
		return printed(deadLetters(t, hostileLetters(s), "discard", s))
	},
	"doctor": func(t *testing.T, s string) string {
		return diagnosed(t, s)
	},
	"doctor, JSON": func(t *testing.T, s string) string {
		return diagnosed(t, s, "--output", "json")
	},
	"an error": func(t *testing.T, s string) string {
		o := tasker(t, errors.New(s), nil, "api")
		return o.stdout + o.stderr
	},
	"an argument": func(t *testing.T, s string) string {
		o := tasker(t, nil, nil, "manager", "--endpoint", s)
		return o.stdout + o.stderr
	},
	"a command": func(t *testing.T, s string) string {
		o := tasker(t, nil, nil, s)
		return o.stdout + o.stderr
	},
	"the configuration": func(t *testing.T, s string) string {
		o := tasker(t, nil, []string{"TASKER_API_LISTEN=" + s, "TASKER_MANAGER_SPOOL_DIR=" + s}, "config", "show")
		return o.stdout + o.stderr
	},
	"mistakes in the configuration": func(t *testing.T, s string) string {
		o := tasker(t, nil, []string{"TASKER_" + s + "=1", "TASKER_API_PORT=" + s}, "config", "check")
		return o.stdout + o.stderr
	},
	"dev": func(t *testing.T, s string) string {
		var out bytes.Buffer
		cli.Execute(t.Context(), cli.Program{
			Actions: cli.Actions{
				RunDev: func(_ context.Context, _ config.Config, opts app.DevOptions, _ *slog.Logger) error {
					_, err := opts.Out.Write([]byte(s))
					return err
				},
			},
			Args: []string{"dev"}, Stdout: &out, Stderr: &out,
		})
		return out.String()
	},
}

func printed(_ int, stdout, stderr string) string { return stdout + stderr }

// logged returns what the log of an API has of a record whose text is s.
func logged(t *testing.T, s string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	format := "json"
	if len(args) > 0 {
		format = "text"
	}
	cli.Execute(t.Context(), cli.Program{
		Actions: cli.Actions{
			RunAPI: func(ctx context.Context, _ config.Config, _ app.APIOptions, log *slog.Logger) error {
				log.With("with", s).WarnContext(ctx, s, //nolint:sloglint // the message is what is tested
					s, s, "err", errors.New(s), "bytes", []byte(s), "list", []string{s}, slog.Group("g", "in", s), "raw", json.RawMessage(s), "d", time.Second)
				return nil
			},
		},
		Args: append([]string{"api"}, args...), Environ: []string{"TASKER_LOG_FORMAT=" + format}, Stdout: &out, Stderr: &out,
	})
	return out.String()
}

func hostileLetters(s string) *fakeDeadLetters {
	f := fakeLetters(1)
	l := &f.letters[0]
	l.Reason, l.Queue, l.MessageID, l.Body = s, s, s, &s
	return f
}

func diagnosed(t *testing.T, s string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cli.Execute(t.Context(), cli.Program{
		Actions: cli.Actions{
			Doctor: func(context.Context, config.Config, app.DoctorOptions) (doctor.Report, error) {
				return doctor.Report{Checks: []doctor.Check{{Group: "broker", Name: "a", Finding: doctor.Finding{Level: doctor.Problem, Message: s, Advice: s}}}}, nil
			},
		},
		Args: append([]string{"doctor"}, args...), Stdout: &out, Stderr: &out,
	})
	return out.String()
}

func steers(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r))
}

func checkPrinters(t *testing.T, s string) {
	t.Helper()
	for name, show := range printers {
		out := show(t, s)
		if strings.ContainsFunc(out, steers) || !utf8.ValidString(out) {
			t.Errorf("%s: %q", name, out)
		}
	}
}

func TestPrintersShowControlCharacters(t *testing.T) {
	t.Parallel()
	checkPrinters(t, hostile)
	for name, show := range printers {
		if out := show(t, hostile); name != "dev" && out == "" {
			t.Errorf("%s printed nothing", name)
		}
	}
	if out := logged(t, hostile, "--log-level=debug"); strings.Count(out, "PWNED") < 7 || strings.Count(out, "end") < 7 {
		t.Errorf("the log lost text: %s", out)
	}
}

func FuzzPrinters(f *testing.F) {
	f.Add(hostile)
	f.Add(`\x1b[2J \\x1b`)
	f.Fuzz(func(t *testing.T, s string) { checkPrinters(t, s) })
}
