package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// groups gets the groups of the task that [thousands] stores, and checks that every
// expected endpoint is in one of them.
func groups(t *testing.T, h *harness) client.TaskGroups {
	t.Helper()
	a := h.get(t, "/worker/many/groups")
	a.want(t, http.StatusOK)
	got := decode[client.TaskGroups](t, a.body)
	sets := []client.EndpointSet{got.Missing}
	for _, g := range got.Groups {
		sets = append(sets, g.EndpointSet)
	}
	for _, o := range got.Other {
		sets = append(sets, o.EndpointSet)
	}
	var all []string
	for _, set := range sets {
		names, err := set.Endpoints()
		if err != nil {
			t.Error(err)
		}
		all = append(all, names...)
	}
	slices.Sort(all)
	if n := len(all); n != got.Expected || got.Expected != got.Received+got.Missing.Count || len(slices.Compact(all)) != n {
		t.Errorf("%d endpoints are in groups, of %d expected and %d received, %d missing", n, got.Expected, got.Received, got.Missing.Count)
	}
	return got
}

// shown returns the groups briefly.
func shown(got client.TaskGroups) (lines []string) {
	for _, g := range got.Groups {
		errmsg := "-"
		if g.Errmsg != nil {
			errmsg = *g.Errmsg
		}
		lines = append(lines, fmt.Sprintf("%s %d %s: %d %s", g.State, g.Errnr, errmsg, g.Count, strings.Join(g.Names, ",")))
	}
	for _, o := range got.Other {
		lines = append(lines, fmt.Sprintf("other %s: %d", o.State, o.Count))
	}
	if got.Missing.Count > 0 {
		lines = append(lines, fmt.Sprintf("missing: %d %s", got.Missing.Count, strings.Join(got.Missing.Names, ",")))
	}
	return lines
}

func TestGroups(t *testing.T) {
	h := newHarness(t)
	thousands(t, h, 20, 16)
	for i := range h.store.results {
		r := &h.store.results[i]
		r.Errnr, r.Errmsg, r.Payload = 0, "", json.RawMessage(fmt.Sprintf(`{"host":%q,"pid":%d}`, r.Endpoint, i))
		switch i {
		case 3:
			r.State = tasker.Lost
		case 5:
			due := h.store.now.Add(time.Minute)
			r.State, r.Errnr, r.Errmsg, r.RetryTime = tasker.Retrying, 7, "busy", &due
		case 8, 14:
			r.State, r.Errnr, r.Errmsg = tasker.ResultFailed, 2, "no space left on "+r.Endpoint
		default:
			r.State = tasker.ResultDone
		}
	}
	h.store.update("many", func(t *tasker.Task) { t.RemovedEndpoints = []string{"e001", "e019"} })
	h.store.update("many", func(t *tasker.Task) {
		t.Expected = slices.DeleteFunc(slices.Clone(t.Expected), func(name string) bool { return t.Removed(name) })
	})
	got := groups(t, h)
	want := []string{
		"FAILED 2 no space left on e008: 2 e[008,014]",
		"LOST 0 -: 1 e003",
		"RETRYING 7 busy: 1 e005",
		"DONE 0 -: 11 e[000,002,004,006-007,009-013,015]",
		"missing: 3 e[016-018]",
	}
	if lines := shown(got); !slices.Equal(lines, want) {
		t.Errorf("got  %q\nwant %q", lines, want)
	}
	if got.Task.Status != tasker.Incomplete || !slices.Equal(got.Task.RemovedEndpoints, []string{"e001", "e019"}) || got.Expected != 18 {
		t.Errorf("got %+v", got)
	}
	if a := h.get(t, "/worker/many/groups"); strings.Contains(string(a.body), `"other":null`) {
		t.Errorf("no others are null: %s", a.body)
	}
}

// A task without results has no groups, and all are missing.
func TestGroupsOfNothing(t *testing.T) {
	h := newHarness(t)
	thousands(t, h, 1700, 0)
	if got := shown(groups(t, h)); !slices.Equal(got, []string{"missing: 1700 e[000-1699]"}) {
		t.Errorf("got %q", got)
	}
}

// The results are read in pages. Those that do not fit in a group are counted, with
// room for failures.
func TestGroupsOfThousands(t *testing.T) {
	h := newHarness(t)
	thousands(t, h, 1700, 1650)
	for i := range h.store.results {
		h.store.results[i].Payload = json.RawMessage(fmt.Sprintf(`"version %d"`, i))
	}
	got := groups(t, h)
	if lines := shown(got); len(lines) != 500+165+2 || lines[665] != "other DONE: 985" || !strings.HasPrefix(lines[164], "FAILED") ||
		!strings.HasPrefix(lines[165], "DONE") || !strings.HasPrefix(lines[666], "missing: 50 ") {
		t.Errorf("got %d groups, at the end %q", len(lines), lines[max(0, len(lines)-3):])
	}
	if n := h.store.called("ResultPage"); n != 4 || h.store.called("Results") != 0 {
		t.Errorf("the results were read in %d pages", n)
	}
	h.store.failPage = 3
	h.get(t, "/worker/many/groups").want(t, http.StatusServiceUnavailable)
}

// The results may be newer than the stored status: a final one is reported.
func TestGroupsOfATaskThatEnds(t *testing.T) {
	h := newHarness(t)
	endpoints := thousands(t, h, 5, 4)
	h.store.afterSummary = func() {
		h.store.results = append(h.store.results, tasker.TaskResult{ID: 5, TaskID: 1, Endpoint: endpoints[4], State: tasker.ResultDone, Attempt: 1})
	}
	if got := groups(t, h); got.Task.Status != tasker.Failed || got.Received != 5 {
		t.Errorf("got the status %s", got.Task.Status)
	}
}

func TestGroupsOfATaskThatIsReplaced(t *testing.T) {
	h := newHarness(t)
	thousands(t, h, 5, 4)
	h.store.afterSummary = func() { h.store.tasks[0].ID = 2 }
	h.get(t, "/worker/many/groups").want(t, http.StatusServiceUnavailable)
}

// Grouping shares the memory that large reads have.
func TestGroupsWaitForMemory(t *testing.T) {
	h := newHarness(t)
	thousands(t, h, 5, 4)
	h.server.SetMaxWait(time.Millisecond)
	release, err := h.server.TakePayloads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.get(t, "/worker/many/groups").want(t, http.StatusServiceUnavailable)
	release()
	h.get(t, "/worker/many/groups").want(t, http.StatusOK)
}
