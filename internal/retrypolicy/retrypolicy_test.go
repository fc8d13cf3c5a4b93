package retrypolicy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/retrypolicy"
)

func half() float64 { return 0.5 }

func TestDecode(t *testing.T) {
	t.Parallel()
	const s, m, h = time.Second, time.Minute, time.Hour
	for text, want := range map[string][]time.Duration{
		// As the configuration has it, and machinery.
		`"60 600 3600"`:         {m, 10 * m, h},
		`[60, 600, 3600]`:       {m, 10 * m, h},
		`[1, 1.5, "2m", "0.1"]`: {s, 1500 * time.Millisecond, 2 * m, 100 * time.Millisecond},
		`"1,2\t3s , 1m30s"`:     {s, 2 * s, 3 * s, 90 * s},
		`60`:                    {m},
		`0`:                     {0},
		`1.001`:                 {1001 * time.Millisecond},
		`[]`:                    nil,
		`" "`:                   nil,

		`{"intervals":["60s","10m","1h"]}`:                                                     {m, 10 * m, h},
		`{"intervals":[],"policy":null}`:                                                       nil,
		`{"attempts":1}`:                                                                       nil,
		`{"attempts":1,"policy":"exponential","interval":1}`:                                   nil,
		`{"attempts":4,"policy":"constant","interval":"10s"}`:                                  {10 * s, 10 * s, 10 * s},
		`{"attempts":9,"policy":"fibonacci","interval":2,"max_interval":30}`:                   {2 * s, 2 * s, 4 * s, 6 * s, 10 * s, 16 * s, 26 * s, 30 * s},
		`{"attempts":5,"policy":"exponential","interval":"10s","max_interval":"10m"}`:          {10 * s, 20 * s, 40 * s, 80 * s},
		`{"attempts":6,"policy":"exponential","interval":"10s","max_interval":"1m"}`:           {10 * s, 20 * s, 40 * s, m, m},
		`{"attempts":5,"policy":"exponential","interval":"20m"}`:                               {20 * m, 40 * m, h, h},
		`{"attempts":4,"policy":"fibonacci","interval":"2h"}`:                                  {2 * h, 2 * h, 2 * h},
		`{"attempts":3,"policy":"fibonacci","interval":"87600h","max_interval":"87600h"}`:      {87600 * h, 87600 * h},
		`{"attempts":4,"policy":"exponential","interval":"87599h","max_interval":"315360000"}`: {87599 * h, 87600 * h, 87600 * h},
	} {
		p, err := retrypolicy.Decode([]byte(text))
		if err != nil || !slices.Equal(p.Delays, want) || p.Jitter != (len(want) > 0 && strings.Contains(text, "exponential")) {
			t.Errorf("%s: got %v, %v, want %v", text, p, err, want)
		}
		if len(want) == 0 && p.Delays != nil {
			t.Errorf("%s: got an empty list, want nil: both are the same policy", text)
		}
	}
}

// The last of a thousand attempts has the longest delay, and none follows it.
func TestManyAttempts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		`{"attempts":1000,"policy":"constant","interval":1}`:                                       time.Second,
		`{"attempts":1000,"policy":"fibonacci","interval":1}`:                                      time.Hour,
		`{"attempts":1000,"policy":"exponential","interval":1}`:                                    time.Hour / 2,
		`{"attempts":1000,"policy":"fibonacci","interval":"1ms","max_interval":"87600h"}`:          retrypolicy.MaxInterval,
		`{"attempts":1000,"policy":"exponential","interval":"87600h","max_interval":"87600h"}`:     retrypolicy.MaxInterval / 2,
		`{"attempts":1000,"policy":"exponential","interval":"1h","max_interval":315360000}`:        retrypolicy.MaxInterval / 2,
		`"` + strings.Repeat("1 ", 998) + `87600h"`:                                                retrypolicy.MaxInterval,
		`{"intervals":[` + strings.Repeat("1,", 998) + `"87600h"]}`:                                retrypolicy.MaxInterval,
		`{"attempts":1000,"policy":"fibonacci","interval":"5000000m","max_interval":"300000000s"}`: 300_000_000 * time.Second,
	} {
		p, err := retrypolicy.Decode([]byte(text))
		if err != nil || p.MaxAttempts() != 1000 {
			t.Fatalf("%.60s: got %d attempts, %v", text, p.MaxAttempts(), err)
		}
		if got, ok := p.Next(999, half); got != want || !ok {
			t.Errorf("%.60s: got %v, %t, want %v", text, got, ok, want)
		}
		if got, ok := p.Next(1000, half); got != 0 || ok {
			t.Errorf("%.60s: after the last got %v, %t", text, got, ok)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	const must = `must be seconds, or a duration such as "1m30s", got `
	for text, want := range map[string]string{
		`null`:                                 `: must be a list of intervals such as [60, "10m"], text such as "60 600", or an object, got null`,
		`true`:                                 `: must be a list of intervals such as [60, "10m"], text such as "60 600", or an object, got true`,
		`"60 x 010"`:                           ": invalid interval 2: " + must + `"x"; : invalid interval 3: ambiguous number 010, octal or decimal: remove the leading 0`,
		`[60, "", -1]`:                         `/1: invalid interval 2: ` + must + `""; /2: invalid interval 3: must be 0s-87600h, got -1`,
		`[[1]]`:                                "/0: invalid interval 1: " + must + "a list",
		`[1e300]`:                              "/0: invalid interval 1: " + must + "1e300",
		`["nan"]`:                              "/0: invalid interval 1: " + must + `"nan"`,
		`315360001`:                            `: invalid interval: must be 0s-87600h, got 315360001`,
		`["87600h1ns"]`:                        `/0: invalid interval 1: must be 0s-87600h, got "87600h1ns"`,
		many("[1", 1000):                       `: too many intervals: 1000, the limit is 999`,
		`"` + strings.Repeat("1 ", 1000) + `"`: `: too many intervals: 1000, the limit is 999`,

		`{}`: `/attempts: missing attempts: must be a whole number 1-1000; /policy: missing policy: must be one of constant, fibonacci, exponential; ` +
			`/interval: missing interval: must be seconds, or a duration such as "1m30s"`,
		`{"intervals":60}`:                   `/intervals: invalid intervals: must be a list such as [60, "10m"], got 60`,
		`{"intervals":[1,"x"]}`:              `/intervals/1: invalid interval 2: ` + must + `"x"`,
		many(`{"intervals":[1`, 1000) + "}":  `/intervals: too many intervals: 1000, the limit is 999`,
		`{"intervals":[1],"attempts":2}`:     `/attempts: invalid attempts: not allowed with intervals: remove one of them`,
		`{"intervals":[1],"max_intervl":2}`:  `/max_intervl: unknown key "max_intervl": did you mean "max_interval"?`,
		`{"intervals":[1],"~/":2}`:           `/~0~1: unknown key "~/": must be one of attempts, policy, interval, max_interval, intervals`,
		`{"attempts":1,"attempts":1}`:        `/attempts: duplicate key "attempts": remove one`,
		`{"attempts":1,"interval":1}`:        `/policy: missing policy: must be one of constant, fibonacci, exponential`,
		rule("0", `"constant"`, "1", ""):     `/attempts: invalid attempts: must be a whole number 1-1000, got 0`,
		rule("1001", `"constant"`, "1", ""):  `/attempts: invalid attempts: must be a whole number 1-1000, got 1001`,
		rule("2.0", `"constant"`, "1", ""):   `/attempts: invalid attempts: must be a whole number 1-1000, got 2.0`,
		rule(`"2"`, `"constant"`, "1", ""):   `/attempts: invalid attempts: must be a whole number 1-1000, got "2"`,
		rule("2", `"exponentia"`, "1", ""):   `/policy: invalid policy "exponentia": did you mean "exponential"?`,
		rule("2", `"xyz"`, "1", ""):          `/policy: invalid policy "xyz": must be one of constant, fibonacci, exponential`,
		rule("2", `1`, "1", ""):              `/policy: invalid policy 1: must be one of constant, fibonacci, exponential`,
		rule("2", `"fibonacci"`, "0", ""):    `/interval: invalid interval: must be 1ms-87600h, got 0`,
		rule("2", `"fibonacci"`, "{}", "3"):  `/interval: invalid interval: ` + must + `an object`,
		rule("2", `"fibonacci"`, "1", "0"):   `/max_interval: invalid max_interval: must be 1ms-87600h, got 0`,
		rule("2", `"fibonacci"`, "2", "1.9"): `/max_interval: invalid max_interval: must be at least the interval, 2s, got 1.9`,
		rule("2", `"constant"`, "2", "3"):    `/max_interval: invalid max_interval: not allowed with the policy constant: remove it`,
	} {
		p, err := retrypolicy.Decode([]byte(text))
		if got := list(t, err); got != want || p.Delays != nil {
			t.Errorf("%.80s: got %v\n%s\nwant\n%s", text, p, got, want)
		}
	}
	if _, err := retrypolicy.Decode([]byte(`{"attempts":`)); tasker.CodeOf(err) != tasker.Malformed {
		t.Errorf("not JSON: got %v", err)
	}
}

// TestRuleOf: the rule that a policy follows reads as the same policy.
func TestRuleOf(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		rule("2", `"constant"`, `"1ms"`, ""), rule("1000", `"constant"`, "7", ""),
		rule("2", `"fibonacci"`, "2", "30"), rule("9", `"fibonacci"`, "2", "30"), rule("9", `"fibonacci"`, "2", ""), rule("9", `"fibonacci"`, "2", "2"),
		rule("2", `"exponential"`, "10", ""), rule("5", `"exponential"`, "10", "600"), rule("1000", `"exponential"`, "10", "600"),
		`[1, 1, 2, 3]`, `[4]`,
	} {
		p, err := retrypolicy.Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		r, ok := retrypolicy.RuleOf(p)
		longest := ""
		if r.MaxInterval > 0 {
			longest = strconv.Quote(r.MaxInterval.String())
		}
		again, err := retrypolicy.Decode([]byte(rule(strconv.Itoa(r.Attempts), strconv.Quote(r.Policy), strconv.Quote(r.Interval.String()), longest)))
		if !ok || err != nil || !reflect.DeepEqual(again, p) {
			t.Errorf("%s: got %+v, %t, which is %v, %v", text, r, ok, again, err)
		}
	}
	for _, delays := range [][]time.Duration{nil, {0}, {0, 0}, {1, 2, 4}, {time.Second, 2 * time.Second, 4 * time.Second}, {3, 2}} {
		if r, ok := retrypolicy.RuleOf(tasker.RetryPolicy{Delays: delays}); ok {
			t.Errorf("%v: got %+v", delays, r)
		}
	}
	if r, ok := retrypolicy.RuleOf(tasker.RetryPolicy{Delays: []time.Duration{time.Second, time.Minute}, Jitter: true}); ok {
		t.Errorf("jitter without a rule: got %+v", r)
	}
}

// many returns the beginning of a list, continued to so many elements.
func many(begin string, n int) string { return begin + strings.Repeat(",1", n-1) + "]" }

func rule(attempts, policy, interval, longest string) string {
	text := fmt.Sprintf(`{"attempts":%s,"policy":%s,"interval":%s`, attempts, policy, interval)
	if longest != "" {
		text += `,"max_interval":` + longest
	}
	return text + "}"
}

// list returns the fields and messages that are joined in an error.
func list(t *testing.T, err error) string {
	t.Helper()
	errs := []error{err}
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		errs = joined.Unwrap()
	}
	var all []string
	for _, err := range errs {
		e, ok := errors.AsType[*tasker.Error](err)
		if !ok || e.Code != tasker.Invalid {
			t.Errorf("got %v, want errors with the code invalid", err)
			continue
		}
		all = append(all, e.Field+": "+e.Message)
	}
	return strings.Join(all, "; ")
}

// FuzzDecode decodes any text: the result is an error or a policy within bounds.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`"60 600 3600"`, `[60, "10m"]`, `0.5`, `{"intervals":["60s","10m"]}`, rule("1000", `"fibonacci"`, `"1ms"`, `"87600h"`),
		rule("5", `"exponential"`, `"10s"`, `"10m"`), rule("3", `"constant"`, `1`, ""), `{"attempts":1}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := retrypolicy.Decode([]byte(text))
		if err != nil {
			return
		}
		if !json.Valid([]byte(text)) || p.MaxAttempts() > retrypolicy.MaxAttempts {
			t.Errorf("%s: got %d attempts", text, p.MaxAttempts())
		}
		for attempt := 1; attempt <= p.MaxAttempts(); attempt++ {
			delay, ok := p.Next(attempt, half)
			if delay < 0 || delay > retrypolicy.MaxInterval || ok != (attempt < p.MaxAttempts()) {
				t.Errorf("%s: after attempt %d got %v, %t", text, attempt, delay, ok)
			}
		}
	})
}
