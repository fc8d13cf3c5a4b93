package liveview_test

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/liveview"
)

func steers(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// hostile are outcomes with text of others wherever it can stand.
func hostile(endpoint, state, message string) liveview.Outcomes {
	names := client.EndpointSet{Count: 3, Names: []string{endpoint, message}}
	return liveview.Outcomes{
		Groups: client.TaskGroups{
			Task:     client.TaskView{Status: tasker.TaskStatus(state)},
			Expected: 3, Received: 2,
			Groups: []client.ResultGroup{
				{Hash: "a", State: tasker.ResultState(state), Errnr: 1, Errmsg: &message, EndpointSet: names},
				{Hash: "b", State: tasker.ResultDone, EndpointSet: names},
			},
			Other:   []client.OtherResults{{State: tasker.ResultState(state), EndpointSet: names}},
			Missing: names,
		},
		Examples: map[string]string{"b": message}, Missing: message,
	}
}

// fleet are the outcomes of a task for 50 endpoints.
func fleet() liveview.Outcomes {
	full, late := "disk.py: no space left on /var", "after 1m0s"
	return liveview.Outcomes{
		Groups: client.TaskGroups{
			Task: client.TaskView{Status: tasker.Incomplete}, Expected: 50, Received: 47,
			Groups: []client.ResultGroup{
				{Hash: "1", State: tasker.ResultFailed, Errnr: 2, Errmsg: &full, EndpointSet: client.EndpointSet{Count: 1, Names: []string{"web07"}}},
				{Hash: "2", State: tasker.TimedOut, Errnr: -1, Errmsg: &late, EndpointSet: client.EndpointSet{Count: 1, Names: []string{"web19"}}},
				{Hash: "3", State: tasker.ResultDone, EndpointSet: client.EndpointSet{Count: 45, Names: []string{"web[01-06,08-18,20-47]"}}},
			},
			Missing: client.EndpointSet{Count: 3, Names: []string{"db[1-2]", "web50"}},
		},
		Summary:  tasker.Summary{Expected: 50, Received: 47, Finished: 47, Failed: 2},
		Examples: map[string]string{"3": `"updated 2.3 -> 2.4"`},
		Missing:  "last seen 3d, 2h, 2h ago", Elapsed: 72 * time.Second,
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for width, want := range map[int]string{
		0: `
50 endpoints, 4 outcomes in 01:12
   1  FAILED 2      disk.py: no space left on /var                web07
   1  TIMED_OUT -1  after 1m0s                                    web19
  45  DONE          "updated 2.3 -> 2.4"                          web[01-06,08-18,20-47]
   3  missing       never received it (last seen 3d, 2h, 2h ago)  db[1-2],web50
INCOMPLETE: 45 ok, 2 failed, 3 missing`,
		80: `
50 endpoints, 4 outcomes in 01:12
   1  FAILED 2      disk.py: no space left on /var       web07
   1  TIMED_OUT -1  after 1m0s                           web19
  45  DONE          "updated 2.3 -> 2.4"                 web[01-06,08-18,20-47]
   3  missing       never received it (last seen 3d,...  db[1-2],web50
INCOMPLETE: 45 ok, 2 failed, 3 missing`,
		40: `
50 endpoints, 4 outcomes in 01:12
   1  FAILED 2      disk.py: no spac...
      web07
   1  TIMED_OUT -1  after 1m0s
      web19
  45  DONE          "updated 2.3 -> ...
      web[01-06,08-18,20-47]
   3  missing       never received i...
      db[1-2],web50
INCOMPLETE: 45 ok, 2 failed, 3 missing`,
	} {
		got := "\n" + strings.Join(liveview.Style{}.Outcomes(fleet(), width), "\n")
		if got != want {
			t.Errorf("%d columns: got%s\nwant%s", width, got, want)
		}
	}
}

// TestOutcomesColors repeat what words say: without them the text is the same.
func TestOutcomesColors(t *testing.T) {
	t.Parallel()
	plain := strings.Join(liveview.Style{}.Outcomes(fleet(), 80), "\n")
	colored := strings.Join(liveview.Style{Color: true}.Outcomes(fleet(), 80), "\n")
	if colored == plain || !strings.Contains(colored, "\x1b[32mDONE") {
		t.Errorf("no colors: %q", colored)
	}
	for _, code := range []string{"\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"} {
		colored = strings.ReplaceAll(colored, code, "")
	}
	if colored != plain {
		t.Errorf("got %q, want %q", colored, plain)
	}
}

// TestOutcomesOfStrangers: an API of a newer release, and endless text.
func TestOutcomesOfStrangers(t *testing.T) {
	t.Parallel()
	o := hostile("web1", "NEW_STATE", strings.Repeat("\x1b[2J\u202e", 1<<12))
	for _, width := range []int{0, 1, 10, 40, 200} {
		lines := liveview.Style{}.Outcomes(o, width)
		for i, line := range lines {
			if strings.ContainsFunc(line, steers) || !utf8.ValidString(line) {
				t.Errorf("%.80q", line)
			}
			if width > 30 && i > 0 && utf8.RuneCountInString(line) >= width {
				t.Errorf("%d columns: %q", width, line)
			}
		}
	}
	got := strings.Join(liveview.Style{}.Outcomes(liveview.Outcomes{Groups: client.TaskGroups{
		Task: client.TaskView{Status: tasker.Sent}, Expected: 1, Missing: client.EndpointSet{Count: 1, Names: []string{"a"}},
	}, Summary: tasker.Summary{Expected: 1}}, 0), "\n")
	if want := "1 endpoint, 1 outcome\n  1  missing  not received yet  a\nSENT: 0 ok, 1 missing"; got != want {
		t.Errorf("got %s", got)
	}
}

// TestManyOutcomes are not all shown: each of a thousand endpoints has its own.
func TestManyOutcomes(t *testing.T) {
	t.Parallel()
	o := liveview.Outcomes{Groups: client.TaskGroups{Task: client.TaskView{Status: tasker.Failed}, Expected: 1000, Received: 1000}}
	for range 1000 {
		o.Groups.Groups = append(o.Groups.Groups, client.ResultGroup{
			State: tasker.ResultFailed, Errnr: 1, EndpointSet: client.EndpointSet{Count: 1, Names: []string{"web1"}},
		})
	}
	lines := liveview.Style{}.Outcomes(o, 80)
	if len(lines) != 33 || lines[0] != "1000 endpoints, 1000 outcomes" || lines[31] != "  970  various   970 other outcomes" {
		t.Errorf("%d lines: %q, %q", len(lines), lines[0], lines[len(lines)-2])
	}
}
