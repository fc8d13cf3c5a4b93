package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/doctor"
)

// examined is what a doctor command did.
type examined struct {
	outcome
	opts   app.DoctorOptions
	called bool
}

// examine runs the doctor command on an installation with findings of those
// levels.
func examine(t *testing.T, fail error, environ []string, levels []doctor.Level, args ...string) examined {
	t.Helper()
	var x examined
	var stdout, stderr bytes.Buffer
	x.code = cli.Execute(t.Context(), cli.Program{
		Actions: cli.Actions{
			Doctor: func(_ context.Context, cfg config.Config, opts app.DoctorOptions) (doctor.Report, error) {
				x.called, x.opts, x.cfg = true, opts, cfg
				var r doctor.Report
				for _, level := range levels {
					r.Checks = append(r.Checks, doctor.Check{Group: "broker", Name: "a", Finding: doctor.Finding{Level: level, Message: "m"}})
				}
				return r, fail
			},
		},
		Args: append([]string{"doctor"}, args...), Environ: environ, Stdout: &stdout, Stderr: &stderr, Version: "1.2.3",
	})
	x.stdout, x.stderr = stdout.String(), stderr.String()
	return x
}

func TestDoctorExitCodes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		levels []doctor.Level
		args   []string
		code   int
		last   string
	}{
		"well":              {[]doctor.Level{doctor.OK, doctor.Note}, nil, cli.ExitOK, "no problems, no warnings"},
		"well, strictly":    {[]doctor.Level{doctor.OK, doctor.Note}, []string{"--strict"}, cli.ExitOK, "no problems, no warnings"},
		"warning":           {[]doctor.Level{doctor.Warning}, nil, cli.ExitOK, "no problems, 1 warning"},
		"warning, strictly": {[]doctor.Level{doctor.Warning}, []string{"--strict"}, cli.ExitFailure, "no problems, 1 warning"},
		"problem":           {[]doctor.Level{doctor.Problem, doctor.OK}, nil, cli.ExitFailure, "1 problem, no warnings"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := examine(t, nil, nil, test.levels, test.args...)
			// stderr does not repeat the report.
			if x.code != test.code || !strings.HasSuffix(x.stdout, "\n"+test.last+"\n") || x.stderr != "" {
				t.Errorf("exit code %d, want %d\nstdout %s\nstderr %s", x.code, test.code, x.stdout, x.stderr)
			}
			if strings.Contains(x.stdout, "\x1b") {
				t.Error("colours, and no terminal")
			}
		})
	}
}

func TestDoctorJSON(t *testing.T) {
	t.Parallel()
	x := examine(t, nil, nil, []doctor.Level{doctor.Problem, doctor.Warning}, "--output", "json")
	var got struct {
		Checks             []map[string]string
		Problems, Warnings int
	}
	if err := json.Unmarshal([]byte(x.stdout), &got); err != nil {
		t.Fatalf("%v: %s", err, x.stdout)
	}
	if x.code != cli.ExitFailure || got.Problems != 1 || got.Warnings != 1 || len(got.Checks) != 2 ||
		got.Checks[0]["group"] != "broker" || got.Checks[0]["level"] != "problem" || got.Checks[0]["duration"] != "0s" {
		t.Errorf("exit code %d, %+v", x.code, got)
	}
}

func TestDoctorBrokenOff(t *testing.T) {
	t.Parallel()
	if x := examine(t, errors.New("broken off"), nil, nil); x.code != cli.ExitFailure || x.stderr != "tasker: broken off\n" || x.stdout != "" {
		t.Errorf("%+v", x)
	}
}

// TestDoctorWithoutTheAPIsSecrets: a machine that runs managers need not have
// them, and is examined all the same.
func TestDoctorWithoutTheAPIsSecrets(t *testing.T) {
	t.Parallel()
	x := examine(t, nil, []string{"TASKER_API_TOKEN_FILE=/nowhere"}, nil)
	if x.code != cli.ExitOK || x.opts.ConfigError == nil || !strings.Contains(x.opts.ConfigError.Error(), "/nowhere") || x.cfg.Store.URI == "" {
		t.Errorf("%+v", x)
	}
	if x = examine(t, nil, nil, nil); x.opts.ConfigError != nil {
		t.Errorf("of a configuration without mistakes: %v", x.opts.ConfigError)
	}
	x = examine(t, nil, []string{"TASKER_API_TOKEN_FILE=/nowhere", "TASKER_LOG_LEVEL=loud"}, nil)
	if x.code != cli.ExitUsage || x.called || !strings.Contains(x.stderr, "log.level") || !strings.Contains(x.stderr, "/nowhere") {
		t.Errorf("of one that nobody can use: %+v", x)
	}
}

// TestDoctorOfNothing is the whole program without any service.
func TestDoctorOfNothing(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tasker.db")
	var stdout, stderr bytes.Buffer
	code := cli.Execute(t.Context(), cli.Program{
		Actions: cli.Actions{Doctor: app.Doctor}, Args: []string{"doctor"}, Stdout: &stdout, Stderr: &stderr,
		Environ: []string{"TASKER_MANAGER_DB_URI=sqlite://" + file, "TASKER_MANAGER_MESSAGE_QUEUE_URI=amqp://u:hunter2@127.0.0.1:1/", "TASKER_RABBITMQ_PASSWORD="},
	})
	for _, want := range []string{
		"  problem  connection: file " + file, "  problem  connection: cannot connect to RabbitMQ at amqp://u@127.0.0.1:1/: dial tcp",
		"\n2 problems, no warnings\n",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q not found in\n%s", want, stdout.String())
		}
	}
	if code != cli.ExitFailure || stderr.Len() > 0 || strings.Contains(stdout.String(), "hunter2") {
		t.Errorf("exit code %d, stderr %s", code, stderr.String())
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the doctor made the database")
	}
}
