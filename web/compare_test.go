package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// compared is an API with a task that web01 and web03 have done and web02 has not.
func compared(payloads, logs map[string]string) *fakeAPI {
	message := "disk.py: no space"
	group := func(state tasker.ResultState, names ...string) client.ResultGroup {
		g := client.ResultGroup{State: state, Endpoint: names[0], EndpointSet: client.EndpointSet{Count: len(names), Names: names}}
		if state == tasker.ResultFailed {
			g.Errmsg = &message
		}
		return g
	}
	api := &fakeAPI{answers: map[string]any{
		"/worker/w1/groups": client.TaskGroups{
			Task: view(tasker.Failed), Expected: 3, Received: 3,
			Groups: []client.ResultGroup{group(tasker.ResultFailed, "web02"), group(tasker.ResultDone, "web01", "web03")},
		},
	}}
	for _, endpoint := range []string{"web01", "web02", "web03"} {
		state, errnr, errmsg := tasker.ResultDone, 0, ""
		if endpoint == "web02" {
			state, errnr, errmsg = tasker.ResultFailed, 2, message
		}
		var lines []tasker.LogLine
		for line := range strings.SplitSeq(logs[endpoint], "\n") {
			lines = append(lines, tasker.LogLine{Text: line, Time: day})
		}
		path := "/worker/w1/results/" + endpoint
		api.answers[path] = client.ResultAnswer{
			Result: tasker.TaskResult{
				ID: 1, TaskID: 7, Endpoint: endpoint, State: state, Attempt: 1, Errnr: errnr, Errmsg: errmsg, Payload: json.RawMessage(payloads[endpoint]),
			},
			Attempts: []tasker.Attempt{{Attempt: 1, State: state, Log: tasker.LogTotals{Lines: int64(len(lines))}}},
		}
		api.answers[path+"/log"] = client.LogAnswer{Attempt: 1, Lines: lines, Next: int64(len(lines))}
	}
	return api
}

// Two results stand beside each other, with the lines in which they differ.
func TestCompare(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprint("step ", i))
	}
	log := strings.Join(many, "\n")
	api := compared(
		map[string]string{"web01": `{"version":"2.4","free":70}`, "web02": `{"version":"2.3","free":70}`, "web03": `{"version":"2.4","free":70}`},
		map[string]string{"web01": log, "web02": strings.Replace(log, "step 15\n", "step fifteen\nit failed <b>\n", 1), "web03": log},
	)
	a := page(t, api, "/tasks/worker/w1/compare?a=web01&b=web02")
	for _, text := range []string{
		`<a href="tasks/worker/w1/results/web01">web01</a>`, `<a href="tasks/worker/w1/results/web02">web02</a>`,
		"<ins>disk.py: no space</ins>", `<del>  &#34;version&#34;: &#34;2.4&#34;,</del>`, `<ins>  &#34;version&#34;: &#34;2.3&#34;,</ins>`,
		"<del>step 15</del>", "<ins>step fifteen</ins>", "<ins>it failed &lt;b&gt;</ins>", "… 12 equal lines", "… 11 equal lines",
	} {
		if a.status != http.StatusOK || !strings.Contains(a.body, text) {
			t.Errorf("status %d, the page does not contain %q:\n%s", a.status, text, a.body)
		}
	}
	if n := strings.Count(a.body, "<del>"); n != 2 {
		t.Errorf("%d lines of the first alone, want 2", n)
	}
	a = page(t, api, "/tasks/worker/w1/compare?a=web01&b=web03")
	if strings.Contains(a.body, "<ins>") || strings.Count(a.body, "The same.") != 2 || !strings.Contains(a.body, "Neither has any") {
		t.Errorf("equal results:\n%s", a.body)
	}
	for path, to := range map[string]string{
		"compare":                 "compare?a=web01&b=web02", // the largest outcome, and another one
		"compare?a=web02":         "compare?a=web02&b=web01",
		"compare?b=web01":         "compare?a=web02&b=web01",
		"compare?with=w0":         "compare?a=web01&b=web01&with=w0",
		"compare?a=web03&with=w0": "compare?a=web03&b=web03&with=w0",
	} {
		a := page(t, api, "/tasks/worker/w1/"+path)
		if got := a.header.Get("Location"); a.status != http.StatusSeeOther || !strings.HasSuffix(got, "tasks/worker/w1/"+to) {
			t.Errorf("%s leads to %d %s, want %s", path, a.status, got, to)
		}
	}
	for path, status := range map[string]int{
		"compare?a=web01&b=web09": http.StatusNotFound, "compare?a=web01&b=-": http.StatusUnprocessableEntity,
		"compare?a=web01&b=web02&with=" + url.QueryEscape("../x"): http.StatusUnprocessableEntity,
		"compare?a=" + url.QueryEscape(hostile) + "&b=web01":      http.StatusUnprocessableEntity,
	} {
		a := page(t, api, "/tasks/worker/w1/"+path)
		if a.status != status || !strings.Contains(a.body, `role="alert"`) {
			t.Errorf("%s: status %d, want %d\n%s", path, a.status, status, a.body)
		}
	}
}

// A page of a comparison stays small, and says what it leaves out.
func TestCompareBounds(t *testing.T) {
	t.Parallel()
	lines := func(word string) string {
		list := make([]string, 5000)
		for i := range list {
			list[i] = fmt.Sprint(`"`, word, i, strings.Repeat("x", 20), `"`)
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	large := `"` + strings.Repeat("x", 300<<10) + `"`
	long := strings.Repeat("y", 100_000)
	api := compared(
		map[string]string{"web01": lines("a"), "web02": lines("b"), "web03": large},
		map[string]string{"web01": long + "1", "web02": long + "2", "web03": hostile},
	)
	a := page(t, api, "/tasks/worker/w1/compare?a=web01&b=web02")
	if a.status != http.StatusOK || len(a.body) > 200_000 {
		t.Errorf("status %d, %d bytes", a.status, len(a.body))
	}
	for _, text := range []string{"The first 1,000 lines are compared, of 5,002.", "600 lines more", "y...", "<del>y", "<ins>y"} {
		if !strings.Contains(a.body, text) {
			t.Errorf("the page does not contain %q", text)
		}
	}
	a = page(t, api, "/tasks/worker/w1/compare?a=web01&b=web03") // checks for control characters
	if a.status != http.StatusOK || !strings.Contains(a.body, "That of web03 is 300.0 KiB, and is not compared: the limit is 256.0 KiB.") {
		t.Errorf("status %d:\n%s", a.status, clip(a.body))
	}
}

// Two tasks of a type are compared, and a result leads to its comparison.
func TestCompareTasks(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.run("sleep", "s1", map[string]float64{"seconds": 0.01}, tasker.Done)
	b.run("sleep", "s2", map[string]float64{"seconds": 0.02}, tasker.Done)
	b.want(b.get("tasks/sleep/s1/results/console1"), http.StatusOK, `href="tasks/sleep/s1/compare?a=console1"`)
	b.want(b.follow(b.get("tasks/sleep/s1/compare?a=console1")), http.StatusOK, "console2", "The same.")
	b.want(b.get("tasks/sleep/s1/compare?a=console1&b=console1&with=s2"), http.StatusOK,
		"console1 of s1", "console1 of s2", "<del>", "&#34;seconds&#34;: 0.01", "<ins>", "&#34;seconds&#34;: 0.02")
	b.run("backup", "b1", nil, tasker.Failed)
	b.want(b.get("tasks/sleep/s1/compare?a=console1&b=console1&with=b1"), http.StatusNotFound, `role="alert"`)
}
