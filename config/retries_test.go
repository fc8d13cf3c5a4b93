package config_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
)

func loadRetry(t *testing.T, retry string) (config.Config, error) {
	t.Helper()
	return loadTypes(t, t.TempDir(), "\n  - {name: sleep, retry: "+retry+"}", nil)
}

// Each form of a policy is read, and what is shown of it reads as the same policy.
func TestRetryForms(t *testing.T) {
	t.Parallel()
	const s, m = time.Second, time.Minute
	long := make([]time.Duration, 999)
	for i := range long {
		long[i] = 10 * s
	}
	for retry, test := range map[string]struct {
		want  tasker.RetryPolicy
		shown string
	}{
		`[60, 1.5, "2m"]`:         {tasker.RetryPolicy{Delays: []time.Duration{m, 1500 * time.Millisecond, 2 * m}}, "retry: [1m, 1.5s, 2m]"},
		`"60 600 3600"`:           {tasker.RetryPolicy{Delays: []time.Duration{m, 10 * m, time.Hour}}, "retry: [1m, 10m, 1h]"},
		`60`:                      {tasker.RetryPolicy{Delays: []time.Duration{m}}, "retry: [1m]"},
		`{intervals: [60s, 10m]}`: {tasker.RetryPolicy{Delays: []time.Duration{m, 10 * m}}, "retry: [1m, 10m]"},
		`{attempts: 1}`:           {tasker.RetryPolicy{}, ""},
		`[]`:                      {tasker.RetryPolicy{}, ""},
		`~`:                       {tasker.RetryPolicy{}, ""},
		`{attempts: 3, policy: constant, interval: 10s}`:   {tasker.RetryPolicy{Delays: long[:2]}, "retry: [10s, 10s]"},
		`{attempts: 1000, policy: constant, interval: 10}`: {tasker.RetryPolicy{Delays: long}, "attempts: 1000\n      interval: 10s\n      policy: constant\n"},
		`{attempts: 5, policy: fibonacci, interval: 10s}`:  {tasker.RetryPolicy{Delays: []time.Duration{10 * s, 10 * s, 20 * s, 30 * s}}, "retry: [10s, 10s, 20s, 30s]"},
		`{attempts: 5, policy: exponential, interval: 10s, max_interval: 1m}`: {
			tasker.RetryPolicy{Delays: []time.Duration{10 * s, 20 * s, 40 * s, m}, Jitter: true},
			"attempts: 5\n      interval: 10s\n      max_interval: 1m\n      policy: exponential\n",
		},
	} {
		c, err := loadRetry(t, retry)
		if err != nil || !reflect.DeepEqual(c.TaskTypes[0].Retry, test.want) {
			t.Errorf("%s: got %v, want %v", retry, err, test.want)
			continue
		}
		shown, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(shown), test.shown) || test.shown == "" && strings.Contains(string(shown), "retry") {
			t.Errorf("%s: shown as\n%.400s", retry, shown)
		}
		if again := mustLoad(t, string(shown)); !reflect.DeepEqual(again.TaskTypes[0].Retry, test.want) {
			t.Errorf("%s: what is shown reads as %v", retry, again.TaskTypes[0].Retry)
		}
	}
}

// Each mistake is named, all of one policy at once.
func TestRetryErrors(t *testing.T) {
	t.Parallel()
	const key = "invalid task_types[0].retry: "
	for retry, want := range map[string][]string{
		`true`:          {key + `must be a list of intervals such as [60, "10m"], text such as "60 600", or an object, got true`},
		`[x, -1]`:       {key + `interval 1: must be seconds, or a duration such as "1m30s", got "x"`, key + "interval 2: must be 0s-87600h, got -1"},
		`"60 x"`:        {key + `interval 2: must be seconds, or a duration such as "1m30s", got "x"`},
		`{attempts: 5}`: {key + "missing policy: must be one of constant, fibonacci, exponential", key + "missing interval: must be seconds"},
		`{attempts: 05, policy: constant, interval: 1}`:                     {key + "attempts: ambiguous number 05, octal or decimal: remove the leading 0"},
		`{attempts: 0x5, policy: constant, interval: 1}`:                    {key + "attempts: must be a whole number 1-1000, got 0x5"},
		`{attempts: 5, policy: exponentia, interval: 1}`:                    {key + `policy "exponentia": did you mean "exponential"?`},
		`{attempts: 0, policy: fibonacci, interval: 0}`:                     {key + "attempts: must be a whole number 1-1000, got 0", key + "interval: must be 1ms-87600h, got 0"},
		`{attempts: 5, policy: fibonacci, interval: 10, max_intervall: 60}`: {key + `unknown key "max_intervall": did you mean "max_interval"?`},
		`{attempts: 5, policy: exponential, interval: 10, max_interval: 1}`: {key + "max_interval: must be at least the interval, 10s, got 1"},
		`{attempts: 5, policy: constant, interval: 10, max_interval: 20}`:   {key + "max_interval: not allowed with the policy constant: remove it"},
		`{intervals: [1], attempts: 2}`:                                     {key + "attempts: not allowed with intervals: remove one of them"},
		`{attempts: 2, attempts: 3, policy: constant, interval: 1}`:         {key + "cannot be read"},
	} {
		_, err := loadRetry(t, retry)
		if err == nil {
			t.Errorf("%s: no error", retry)
			continue
		}
		for _, text := range want {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: got\n%v\nwant\n%s", retry, err, text)
			}
		}
		if n := strings.Count(err.Error(), key); n != len(want) {
			t.Errorf("%s: %d mistakes, want %d:\n%v", retry, n, len(want), err)
		}
	}
}
