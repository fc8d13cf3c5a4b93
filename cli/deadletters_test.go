package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	domain "github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

// fakeDeadLetters are letters in memory, by id.
type fakeDeadLetters struct {
	letters []app.DeadLetter
	away    bool    // no letter can be requeued, since the broker is away
	refused []int64 // these cannot be requeued
	tried   int
	closed  bool
}

func (f *fakeDeadLetters) List(_ context.Context, before int64, limit int) ([]app.DeadLetter, error) {
	var list []app.DeadLetter
	for _, l := range slices.Backward(f.letters) {
		if (before == 0 || l.ID < before) && len(list) < limit {
			list = append(list, l)
		}
	}
	return list, nil
}

func (f *fakeDeadLetters) Find(_ context.Context, id int64) (app.DeadLetter, error) {
	for _, l := range f.letters {
		if l.ID == id {
			return l, nil
		}
	}
	return app.DeadLetter{}, domain.Errorf(domain.NotFound, "dead letter %d not found", id)
}

func (f *fakeDeadLetters) Requeue(ctx context.Context, id int64) error {
	f.tried++
	if f.away {
		return domain.Errorf(domain.Unavailable, "the broker is away")
	}
	if slices.Contains(f.refused, id) {
		return domain.Errorf(domain.Conflict, "dead letter %d cannot be requeued: no queue", id)
	}
	return f.Discard(ctx, id)
}

func (f *fakeDeadLetters) Discard(ctx context.Context, id int64) error {
	_, err := f.Find(ctx, id)
	f.letters = slices.DeleteFunc(f.letters, func(l app.DeadLetter) bool { return l.ID == id })
	return err
}

func (f *fakeDeadLetters) Close(context.Context) { f.closed = true }

// fakeLetters makes letters with ids from 1 on.
func fakeLetters(n int) *fakeDeadLetters {
	f := &fakeDeadLetters{}
	for i := range n {
		text := fmt.Sprintf("body %d", i+1)
		f.letters = append(f.letters, app.DeadLetter{
			ID: int64(i + 1), Reason: "rubbish", Queue: "tasker.worker.console1", MessageID: "m", Size: 6, Body: &text,
			Time: time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC),
		})
	}
	return f
}

// deadLetters runs a command of them.
func deadLetters(t *testing.T, f *fakeDeadLetters, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Execute(t.Context(), cli.Program{
		Actions: cli.Actions{
			OpenDeadLetters: func(context.Context, config.Config, *slog.Logger) (cli.DeadLetters, error) { return f, nil },
		},
		Args: append([]string{"dead-letters"}, args...), Stdout: &out, Stderr: &errs,
	})
	return code, out.String(), errs.String()
}

func TestDeadLetterList(t *testing.T) {
	t.Parallel()
	f := fakeLetters(3)
	f.letters[0].Reason, f.letters[0].Queue = "\x1b[31m"+strings.Repeat("r", 500)+"\nx", ""
	code, out, _ := deadLetters(t, f, "list")
	want := "ID  TIME                  BYTES  FROM                    REASON\n" +
		"3   2026-05-06T01:14:24Z  6      tasker.worker.console1  rubbish\n" +
		"2   2026-05-06T01:14:24Z  6      tasker.worker.console1  rubbish\n" +
		`1   2026-05-06T01:14:24Z  6      -                       \u001b[31m` + strings.Repeat("r", 90) + "...\n"
	if code != 0 || out != want || !f.closed {
		t.Errorf("exit code %d, closed: %t\n%swant\n%s", code, f.closed, out, want)
	}
	if _, out, _ = deadLetters(t, f, "list", "--limit=2"); !strings.HasSuffix(out, "\nmore: --before 2\n") {
		t.Errorf("the first page: %s", out)
	}
	if _, out, _ = deadLetters(t, f, "list", "--before=2"); strings.Count(out, "\n") != 2 || !strings.Contains(out, "\n1 ") {
		t.Errorf("the last page: %s", out)
	}
	if code, out, _ = deadLetters(t, &fakeDeadLetters{}, "list"); code != 0 || out != "no dead letters\n" {
		t.Errorf("none: exit code %d, %s", code, out)
	}
	var page struct {
		DeadLetters []app.DeadLetter `json:"dead_letters"`
		Next        *int64
	}
	_, out, _ = deadLetters(t, f, "list", "--limit=1", "--output=json")
	if err := json.Unmarshal([]byte(out), &page); err != nil || len(page.DeadLetters) != 1 || *page.DeadLetters[0].Body != "body 3" || *page.Next != 3 {
		t.Errorf("JSON: %v, %s", err, out)
	}
	if _, out, _ = deadLetters(t, &fakeDeadLetters{}, "list", "--output=json"); !strings.Contains(out, `"dead_letters": []`) {
		t.Errorf("none as JSON: %s", out)
	}
}

func TestDeadLetterShow(t *testing.T) {
	t.Parallel()
	f := fakeLetters(2)
	text, encoded := "a\tb\n\x1b[31m\n", "//4="
	f.letters[0].Body = &text
	f.letters[1].Body, f.letters[1].BodyBase64, f.letters[1].MessageID = nil, &encoded, ""
	code, out, stderr := deadLetters(t, f, "show", "1", "7", "2", "1")
	want := `id       1
time     2026-05-06T01:14:24Z
from     tasker.worker.console1
reason   rubbish
message  m
bytes    6
body
a	b
\u001b[31m

id       2
time     2026-05-06T01:14:24Z
from     tasker.worker.console1
reason   rubbish
message  -
bytes    6
body, in base64
//4=
`
	if code != cli.ExitFailure || out != want || stderr != "tasker: dead letter 7 not found\n" {
		t.Errorf("exit code %d, stderr %s\n%s", code, stderr, out)
	}
	if code, out, _ = deadLetters(t, f, "show", "1", "--body"); code != 0 || out != text {
		t.Errorf("text: exit code %d, %q", code, out)
	}
	if code, out, _ = deadLetters(t, f, "show", "2", "--body"); code != 0 || out != "\xff\xfe" {
		t.Errorf("bytes: exit code %d, %q", code, out)
	}
	if code, out, _ = deadLetters(t, f, "show", "9", "--body"); code != cli.ExitFailure || out != "" {
		t.Errorf("none: exit code %d, %q", code, out)
	}
	var shown struct {
		DeadLetters []app.DeadLetter `json:"dead_letters"`
	}
	code, out, _ = deadLetters(t, f, "show", "2", "9", "--output=json")
	if err := json.Unmarshal([]byte(out), &shown); err != nil || code != cli.ExitFailure || len(shown.DeadLetters) != 1 || *shown.DeadLetters[0].BodyBase64 != encoded {
		t.Errorf("JSON: exit code %d, %v, %s", code, err, out)
	}
}

func TestDeadLetterSettle(t *testing.T) {
	t.Parallel()
	for verb, past := range map[string]string{"requeue": "requeued", "discard": "discarded"} {
		f := fakeLetters(450)
		code, out, stderr := deadLetters(t, f, verb, "3", "999", "5", "3")
		if want := fmt.Sprintf("dead letter 3: %[1]s\ndead letter 5: %[1]s\n", past); code != cli.ExitFailure || out != want || stderr != "tasker: dead letter 999 not found\n" {
			t.Errorf("%s: exit code %d, stderr %s\n%s", verb, code, stderr, out)
		}
		code, out, stderr = deadLetters(t, f, verb, "--all")
		if want := "tasker: nothing was " + past + ": add --yes for all 448 dead letters\n"; code != cli.ExitUsage || out != "" || stderr != want || len(f.letters) != 448 {
			t.Errorf("%s --all: exit code %d, stderr %s\n%s", verb, code, stderr, out)
		}
		if code, out, _ = deadLetters(t, f, verb, "--all", "--yes"); code != 0 || strings.Count(out, past) != 448 || !strings.HasPrefix(out, "dead letter 1: ") || len(f.letters) != 0 {
			t.Errorf("%s --all --yes: exit code %d, %d letters left", verb, code, len(f.letters))
		}
		if code, out, _ = deadLetters(t, f, verb, "--all"); code != 0 || out != "no dead letters\n" {
			t.Errorf("%s --all of none: exit code %d, %s", verb, code, out)
		}
	}
	f := fakeLetters(3)
	f.refused = []int64{2}
	var answer struct {
		Requeued []int64
		Failed   []struct {
			ID    int64
			Error string
		}
	}
	code, out, _ := deadLetters(t, f, "requeue", "--all", "--yes", "--output=json")
	err := json.Unmarshal([]byte(out), &answer)
	if err != nil || code != cli.ExitFailure || !slices.Equal(answer.Requeued, []int64{1, 3}) || len(answer.Failed) != 1 || answer.Failed[0].ID != 2 {
		t.Errorf("one of three refused: exit code %d, %v, %s", code, err, out)
	}
	// Where the broker is away, not every letter waits for it.
	f = fakeLetters(3)
	f.away = true
	code, _, stderr := deadLetters(t, f, "requeue", "--all", "--yes")
	if code != cli.ExitFailure || f.tried != 1 || stderr != "tasker: the broker is away\n2 more were not tried\n" {
		t.Errorf("without the broker: exit code %d, %d tries, %s", code, f.tried, stderr)
	}
}

func TestDeadLetterWrongUse(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"lst":             `there is no command "lst"; did you mean list?`,
		"list 7":          "takes no argument",
		"list --limit=0":  "--limit is 0",
		"list --before=x": "invalid argument",
		"show":            "which dead letters? Give their ids",
		"show x":          `"x" is no id of a dead letter`,
		"show 1 2 --body": "--body writes the bytes of one letter",
		"requeue":         "which dead letters? Give their ids, or --all",
		"requeue 0":       `"0" is no id`,
		"discard 1 --all": "--all and ids exclude each other",
		"discard 1 --yes": "--yes agrees to --all",
		"discard --yes":   "which dead letters?",
	} {
		f := fakeLetters(3)
		code, out, stderr := deadLetters(t, f, strings.Fields(args)...)
		if code != cli.ExitUsage || out != "" || !strings.Contains(stderr, want) || len(f.letters) != 3 {
			t.Errorf("%s: exit code %d, stderr %s", args, code, stderr)
		}
	}
}
