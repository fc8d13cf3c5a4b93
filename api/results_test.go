package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
)

// logged is a harness with a task whose endpoint console1 runs its second
// attempt, of which there is a log with a gap.
func logged(t *testing.T) *harness {
	t.Helper()
	h := newHarness(t)
	h.post(t, "/worker", strings.Replace(newTask, `"console2"`, `"console2","console3"`, 1)).want(t, http.StatusCreated)
	at, key := h.store.now, tasker.ResultKey{TaskID: 1, Endpoint: "console1"}
	h.store.results = []tasker.TaskResult{
		{ID: 1, TaskID: 1, Endpoint: "console1", State: tasker.Running, Attempt: 2, StartTime: at, LastModifiedTime: at, Progress: &tasker.Progress{Done: 1, Total: 3, Message: "one", Time: at}},
		{ID: 2, TaskID: 1, Endpoint: "console3", State: tasker.Received, StartTime: at, LastModifiedTime: at},
	}
	h.store.attempts = []fakeAttempt{
		{ResultKey: key, Attempt: tasker.Attempt{Attempt: 1, State: tasker.ResultFailed, Errnr: 7, Errmsg: "no", StartTime: &at, EndTime: &at}},
		{ResultKey: key, Attempt: tasker.Attempt{Attempt: 2, State: tasker.Running, StartTime: &at, Log: tasker.LogTotals{Bytes: 99, LeftOut: 512}}},
	}
	h.store.appendLog(1, key, 2, lines(0, 5, at)...)
	h.store.appendLog(2, key, 2, tasker.LogLine{Number: 5, Time: at, LeftOut: 512})
	h.store.appendLog(3, key, 2, lines(517, 520, at)...)
	return h
}

// lines makes the lines of numbers from one up to another.
func lines(from, to int64, at time.Time) (all []tasker.LogLine) {
	for n := from; n < to; n++ {
		all = append(all, tasker.LogLine{Number: n, Time: at, Stream: tasker.StreamStdout, Text: fmt.Sprint("line <", n, ">")})
	}
	return all
}

func TestGetResult(t *testing.T) {
	h := logged(t)
	a := h.get(t, "/worker/"+identifier+"/results/console1")
	a.want(t, http.StatusOK)
	const at = `"2015-05-06T01:14:24.103482Z"`
	want := `{"result":{"id":1,"task_id":1,"endpoint":"console1","status":0,"state":"RUNNING","attempt":2,"errnr":0,"errmsg":null,"payload":null,"start_time":` + at + `,"last_modified_time":` + at +
		`,"progress":{"done":1,"total":3,"message":"one","time":` + at + `}},"attempts":[` +
		`{"attempt":1,"state":"FAILED","errnr":7,"errmsg":"no","start_time":` + at + `,"end_time":` + at + `,"progress":null,"log":{"lines":0,"bytes":0,"left_out":0,"complete":true}},` +
		`{"attempt":2,"state":"RUNNING","errnr":0,"errmsg":"","start_time":` + at + `,"end_time":null,"progress":null,"log":{"lines":520,"bytes":99,"left_out":512,"complete":false}}]}` + "\n"
	if diff := cmp.Diff(want, string(a.body)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if a := h.get(t, "/worker/"+identifier+"/results/console3"); !strings.Contains(string(a.body), `"attempts":[]`) {
		t.Errorf("nothing ran: %s", a.body)
	}
}

// A 404 has the reason.
func TestNoResult(t *testing.T) {
	h := logged(t)
	h.post(t, "/worker", `{"identifier":"all"}`).want(t, http.StatusCreated)
	h.store.update("all", func(t *tasker.Task) { t.Expected = []string{"console1"} })
	h.post(t, "/worker", `{"identifier":"waits"}`).want(t, http.StatusCreated)
	h.store.update("waits", func(t *tasker.Task) { t.Status, t.SentTime = tasker.Created, nil })
	for path, want := range map[string]string{
		"/worker/" + identifier + "/results/console2":    "has not received the task yet",
		"/worker/" + identifier + "/results/console9":    "not for this endpoint",
		"/worker/" + identifier + "/results/-cb":         "not for this endpoint",
		"/worker/all/results/console1":                   "has not received the task yet",
		"/worker/all/results/console2":                   "not registered",
		"/worker/waits/results/console2":                 "not registered",
		"/worker/nosuch/results/console1":                `task "nosuch"`,
		"/nosuch/" + identifier + "/results/console1":    `task type "nosuch" not found`,
		"/worker/" + identifier + "/results/any":         "not for this endpoint",
		"/worker/" + identifier + "/results/console1/":   "slash at the end",
		"/worker/" + identifier + "/results/console1/xy": "/openapi.yaml",
	} {
		for _, suffix := range []string{"", "/log"} {
			a := h.get(t, path+suffix)
			a.want(t, http.StatusNotFound)
			if p := a.problem(t); !strings.Contains(p.Detail, want) && suffix == "" {
				t.Errorf("%s does not contain %q: %s", path, want, p.Detail)
			}
		}
	}
}

type logPage struct {
	Attempt int
	Lines   []tasker.LogLine
	Next    int64
	Totals  tasker.LogTotals
}

func TestGetLog(t *testing.T) {
	h := logged(t)
	path := "/worker/" + identifier + "/results/console1/log"
	for query, want := range map[string]struct {
		attempt, count int
		first, next    int64
	}{
		"":                    {2, 9, 0, 520},
		"?limit=3":            {2, 3, 0, 3},
		"?offset=3":           {2, 6, 3, 520},
		"?offset=3&limit=3":   {2, 3, 3, 517},
		"?offset=5&limit=1":   {2, 1, 5, 517},
		"?offset=100&limit=1": {2, 1, 100, 517}, // in the gap
		"?offset=518":         {2, 2, 518, 520},
		"?offset=520":         {2, 0, 0, 520},
		"?offset=100000":      {2, 0, 0, 100000},
		"?attempt=1":          {1, 0, 0, 0},
		"?attempt=2&offset=4": {2, 5, 4, 520},
	} {
		a := h.get(t, path+query)
		a.want(t, http.StatusOK)
		got := decode[logPage](t, a.body)
		if got.Attempt != want.attempt || len(got.Lines) != want.count || got.Next != want.next || a.header.Get("X-Next-Offset") != fmt.Sprint(want.next) {
			t.Errorf("%s: attempt %d, %d lines, next %d (%s)", query, got.Attempt, len(got.Lines), got.Next, a.header.Get("X-Next-Offset"))
			continue
		}
		if want.count > 0 && got.Lines[0].Number != want.first {
			t.Errorf("%s: the first line is %d", query, got.Lines[0].Number)
		}
		if want.attempt == 2 && got.Totals != (tasker.LogTotals{Lines: 520, Bytes: 99, LeftOut: 512}) || want.attempt == 1 && !got.Totals.Complete {
			t.Errorf("%s: totals %+v", query, got.Totals)
		}
	}
	// Page by page there is every line, and the gap, once.
	var numbers []int64
	for offset := int64(0); ; {
		page := decode[logPage](t, h.get(t, fmt.Sprintf("%s?limit=2&offset=%d", path, offset)).body)
		if len(page.Lines) == 0 {
			break
		}
		for _, line := range page.Lines {
			numbers = append(numbers, line.Number)
		}
		offset = page.Next
	}
	if diff := cmp.Diff([]int64{0, 1, 2, 3, 4, 5, 517, 518, 519}, numbers); diff != "" {
		t.Error(diff)
	}
	if got := decode[logPage](t, h.get(t, path+"?offset=7&limit=1").body); got.Lines[0].LeftOut != 510 {
		t.Errorf("in the gap: %+v", got)
	}
	h.get(t, path+"?attempt=3").want(t, http.StatusNotFound)
	if got := decode[logPage](t, h.get(t, strings.Replace(path, "console1", "console3", 1)).body); got.Attempt != 0 || got.Totals.Complete {
		t.Errorf("nothing ran: %+v", got)
	}
}

func TestPlainLog(t *testing.T) {
	h := logged(t)
	path := "/worker/" + identifier + "/results/console1/log"
	const want = "line <4>\n... 512 lines left out\nline <517>\nline <518>\n"
	for accept, plain := range map[string]bool{
		"text/plain": true, "text/plain; charset=utf-8": true, "text/plain;q=0.9, application/json;q=0.1": true, "text/html, text/plain;q=0.5": true,
		"": false, "*/*": false, "application/json": false, "text/plain, application/json": false, "text/plain;q=0": false, "text/plain;q=x": false, ";;": false,
	} {
		a := h.get(t, path+"?offset=4&limit=4", "Accept", accept)
		a.want(t, http.StatusOK)
		if a.header.Get("X-Next-Offset") != "519" || a.header.Get("Vary") != "Accept" {
			t.Errorf("%q: %v", accept, a.header)
		}
		if got := a.header.Get("Content-Type") == "text/plain; charset=utf-8"; got != plain || plain && string(a.body) != want {
			t.Errorf("%q: %s %s", accept, a.header.Get("Content-Type"), a.body)
		}
	}
}

func TestPlainLogShowsControlCharacters(t *testing.T) {
	h := logged(t)
	key := tasker.ResultKey{TaskID: 1, Endpoint: "console1"}
	h.store.appendLog(4, key, 1, tasker.LogLine{Time: h.store.now, Stream: tasker.StreamStdout, Text: "\x1b]0;PWNED\x07 \u009b2J\tend"})
	path := "/worker/" + identifier + "/results/console1/log?attempt=1"
	for query, want := range map[string]string{
		"":           "\\u001b]0;PWNED\\u0007 \\u009b2J\tend\n",
		"&raw=false": "\\u001b]0;PWNED\\u0007 \\u009b2J\tend\n",
		"&raw=true":  "\x1b]0;PWNED\x07 \u009b2J\tend\n",
	} {
		if a := h.get(t, path+query, "Accept", "text/plain"); string(a.body) != want {
			t.Errorf("%s: %q, want %q", query, a.body, want)
		}
	}
	h.get(t, path+"&raw=yes").want(t, http.StatusUnprocessableEntity)
}
