package doctor

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

var sample = Report{Checks: []Check{
	{"database", "connection", 1234567 * time.Nanosecond, Finding{OK, "answers", ""}},
	{"database", "server", time.Millisecond, Finding{Warning, "is old", "upgrade it"}},
	{"broker", "connection", time.Second, Finding{Note, "not checked: x", ""}},
	{"database", "clock", 0, Finding{Problem, "is wrong", "set it"}},
}}

func TestText(t *testing.T) {
	t.Parallel()
	const want = `database
  problem  clock: is wrong
           set it
  warning  server: is old
           upgrade it
  ok       connection: answers

broker
  note     connection: not checked: x

1 problem, 1 warning
`
	var b strings.Builder
	if err := sample.WriteText(&b, false); err != nil || b.String() != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, b.String(), want)
	}
	b.Reset()
	if err := sample.WriteText(&b, true); err != nil || !strings.Contains(b.String(), "\x1b[1;31mproblem\x1b[0m  clock") {
		t.Errorf("%v, got\n%s", err, b.String())
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	for want, levels := range map[string][]Level{
		"no problems, no warnings": nil,
		"no problems, 2 warnings":  {Warning, OK, Warning},
		"3 problems, no warnings":  {Problem, Problem, Note, Problem},
	} {
		var r Report
		for _, level := range levels {
			r.Checks = append(r.Checks, Check{Finding: Finding{Level: level}})
		}
		if got := r.summary(false); got != want {
			t.Errorf("%v: %q, want %q", levels, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(sample)
	if err != nil {
		t.Fatal(err)
	}
	const first = `{"checks":[{"group":"database","name":"connection","level":"ok","message":"answers","advice":"","duration":"1.235ms"},`
	if !strings.HasPrefix(string(b), first) || !strings.HasSuffix(string(b), `],"problems":1,"warnings":1}`) {
		t.Errorf("%s", b)
	}
	if b, err = json.Marshal(Report{}); err != nil || string(b) != `{"checks":[],"problems":0,"warnings":0}` {
		t.Errorf("of nothing: %s, %v", b, err)
	}
}
