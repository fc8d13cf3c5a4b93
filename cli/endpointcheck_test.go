package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/internal/endpointcheck"
)

func TestEndpointCheck(t *testing.T) {
	t.Parallel()
	passed := endpointcheck.Result{Check: "registers", Outcome: endpointcheck.Passed, Expected: "a register", Seen: "one"}
	wrong := endpointcheck.Result{Check: "runs no duplicate", Outcome: endpointcheck.Failed, Expected: "1 run", Seen: "2 runs"}
	skipped := endpointcheck.Result{Check: "adopts after a kill", Outcome: endpointcheck.Skipped, Expected: "errnr -6", Seen: "no command"}
	for _, test := range []struct {
		args    string
		results []endpointcheck.Result
		code    int
		out     string
	}{
		{"", nil, cli.ExitUsage, ""},
		{
			"--rabbitmq amqp://localhost/check -- node x.js {gateway}",
			[]endpointcheck.Result{passed, skipped},
			cli.ExitOK,
			"passed  registers: expected a register; seen: one\nskipped adopts after a kill: expected errnr -6; seen: no command\n",
		},
		{
			"--rabbitmq amqp://localhost/check",
			[]endpointcheck.Result{passed, wrong},
			cli.ExitFailure,
			"passed  registers: expected a register; seen: one\nfailed  runs no duplicate: expected 1 run; seen: 2 runs\n",
		},
		{"--rabbitmq amqp://localhost/check --output json", []endpointcheck.Result{passed, wrong}, cli.ExitFailure, "{"},
	} {
		var out, stderr bytes.Buffer
		code := cli.Execute(t.Context(), cli.Program{
			Args: append([]string{"endpoint-check"}, strings.Fields(test.args)...), Stdout: &out, Stderr: &stderr, Version: "test",
			Actions: cli.Actions{CheckEndpoint: func(_ context.Context, cfg endpointcheck.Config) ([]endpointcheck.Result, error) {
				if want := strings.Fields(test.args + " "); slices.Contains(want, "--") != (len(cfg.Command) == 3) {
					t.Errorf("%s: command %q", test.args, cfg.Command)
				}
				for _, r := range test.results {
					if cfg.Report != nil {
						cfg.Report(r)
					}
				}
				return test.results, nil
			}},
		})
		if code != test.code || !strings.HasPrefix(out.String(), test.out) {
			t.Errorf("%s: exit code %d, want %d\n%s%s", test.args, code, test.code, out.String(), stderr.String())
		}
		var list struct{ Checks []endpointcheck.Result }
		if test.out == "{" {
			if err := json.Unmarshal(out.Bytes(), &list); err != nil || !slices.Equal(list.Checks, test.results) {
				t.Errorf("%v: %s", err, out.String())
			}
		}
	}
}
