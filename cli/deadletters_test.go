package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	domain "github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/client"
)

// fakeDeadLetters is an API with letters in memory, by id.
type fakeDeadLetters struct {
	letters []client.DeadLetter
	down    bool    // no letter can be requeued, since the broker is down
	refused []int64 // these cannot be requeued
	tried   int
}

// ServeHTTP serves the routes of dead letters.
func (f *fakeDeadLetters) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, "/v1/dead-letters"), "/"), "/")
	id, _ := strconv.ParseInt(path[0], 10, 64)
	at := slices.IndexFunc(f.letters, func(l client.DeadLetter) bool { return l.ID == id })
	switch {
	case path[0] == "":
		f.list(w, r)
	case len(path) == 2 && f.down:
		f.tried++
		problem(w, http.StatusServiceUnavailable, domain.Unavailable, "broker down")
	case at < 0:
		problem(w, http.StatusNotFound, domain.NotFound, fmt.Sprintf("dead letter %d not found", id))
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(f.letters[at])
	case len(path) == 2 && slices.Contains(f.refused, id):
		problem(w, http.StatusConflict, domain.Conflict, fmt.Sprintf("dead letter %d cannot be requeued: no queue", id))
	default:
		f.letters = slices.Delete(f.letters, at, at+1)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (f *fakeDeadLetters) list(w http.ResponseWriter, r *http.Request) {
	before, _ := strconv.ParseInt(r.URL.Query().Get("cursor"), 10, 64)
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	page := client.DeadLetterPage{DeadLetters: []client.DeadLetter{}}
	for _, l := range slices.Backward(f.letters) {
		if before != 0 && l.ID >= before {
			continue
		}
		if len(page.DeadLetters) == limit {
			next := strconv.FormatInt(page.DeadLetters[limit-1].ID, 10)
			page.Next = &next
			break
		}
		page.DeadLetters = append(page.DeadLetters, l)
	}
	_ = json.NewEncoder(w).Encode(page)
}

func problem(w http.ResponseWriter, status int, code domain.Code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(client.Problem{Code: code, Detail: detail})
}

// fakeLetters makes letters with ids from 1 on.
func fakeLetters(n int) *fakeDeadLetters {
	f := &fakeDeadLetters{}
	for i := range n {
		text := fmt.Sprintf("body %d", i+1)
		f.letters = append(f.letters, client.DeadLetter{
			ID: int64(i + 1), Reason: "rubbish", Queue: "tasker.worker.console1", MessageID: "m", Size: 6, Body: &text,
			Time: time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC),
		})
	}
	return f
}

// deadLetters runs one of their commands.
func deadLetters(t *testing.T, f *fakeDeadLetters, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	server := httptest.NewServer(f)
	defer server.Close()
	var out, errs bytes.Buffer
	code = cli.Execute(t.Context(), cli.Program{
		Args: append([]string{"dead-letters", "--api", server.URL}, args...), Stdout: &out, Stderr: &errs,
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
	if code != 0 || out != want {
		t.Errorf("exit code %d\n%swant\n%s", code, out, want)
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
		DeadLetters []client.DeadLetter `json:"dead_letters"`
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
	text := "a\tb\n\x1b[31m\n"
	f.letters[0].Body = &text
	f.letters[1].Body, f.letters[1].BodyBase64, f.letters[1].MessageID = nil, []byte{0xff, 0xfe}, ""
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
		DeadLetters []client.DeadLetter `json:"dead_letters"`
	}
	code, out, _ = deadLetters(t, f, "show", "2", "9", "--output=json")
	if err := json.Unmarshal([]byte(out), &shown); err != nil || code != cli.ExitFailure || len(shown.DeadLetters) != 1 || string(shown.DeadLetters[0].BodyBase64) != "\xff\xfe" {
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
	// While the broker is down, not every letter waits for it.
	f = fakeLetters(3)
	f.down = true
	code, _, stderr := deadLetters(t, f, "requeue", "--all", "--yes")
	if code != cli.ExitFailure || f.tried != 1 || stderr != "tasker: broker down\n2 more were not tried\n" {
		t.Errorf("without the broker: exit code %d, %d tries, %s", code, f.tried, stderr)
	}
}

func TestDeadLetterWrongUse(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"lst":             `unknown command "lst"; did you mean list?`,
		"list 7":          "unexpected argument",
		"list --limit=0":  "invalid --limit 0",
		"list --before=x": "invalid argument",
		"show":            "missing dead letter: give at least one id",
		"show x":          `invalid id "x"`,
		"show 1 2 --body": "--body writes the bytes of one letter",
		"requeue":         "missing dead letter: give at least one id, or --all",
		"requeue 0":       `invalid id "0"`,
		"discard 1 --all": "--all and ids exclude each other",
		"discard 1 --yes": "--yes confirms --all",
		"discard --yes":   "missing dead letter",
	} {
		f := fakeLetters(3)
		code, out, stderr := deadLetters(t, f, strings.Fields(args)...)
		if code != cli.ExitUsage || out != "" || !strings.Contains(stderr, want) || len(f.letters) != 3 {
			t.Errorf("%s: exit code %d, stderr %s", args, code, stderr)
		}
	}
}
