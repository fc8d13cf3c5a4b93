package outcome_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/outcome"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// results returns results of web01 and so on, each with what make sets.
func results(n int, set func(i int, r *tasker.TaskResult)) []tasker.TaskResult {
	list := make([]tasker.TaskResult, n)
	for i := range list {
		list[i] = tasker.TaskResult{Endpoint: fmt.Sprintf("web%02d", i+1), State: tasker.ResultDone}
		set(i, &list[i])
	}
	return list
}

func group(lists ...[]tasker.TaskResult) outcome.Groups {
	var g outcome.Grouper
	for _, r := range slices.Concat(lists...) {
		g.Add(&r)
	}
	return g.Groups()
}

func TestGroups(t *testing.T) {
	t.Parallel()
	list := results(20, func(i int, r *tasker.TaskResult) {
		switch {
		case i == 6, i == 4:
			r.State, r.Errnr, r.Errmsg = tasker.ResultFailed, 2, fmt.Sprintf("no <space> left on %s:/var at 12:00:%02d", r.Endpoint, i)
		case i == 19:
			r.State = tasker.Lost
		case i >= 17:
			r.State = tasker.Running
		default:
			r.Payload = json.RawMessage(fmt.Sprintf(`{"pid":%d,"message":"updated %s"}`, i, r.Endpoint))
		}
	})
	want := `{"results":20,"groups":[` +
		`{"hash":"HASH","state":"FAILED","errnr":2,"errmsg":"no <space> left on web05:/var at 12:00:04","endpoint":"web05","count":2,"names":["web[05,07]"]},` +
		`{"hash":"HASH","state":"LOST","errnr":0,"errmsg":null,"endpoint":"web20","count":1,"names":["web20"]},` +
		`{"hash":"HASH","state":"DONE","errnr":0,"errmsg":null,"endpoint":"web01","count":15,"names":["web[01-04,06,08-17]"]},` +
		`{"hash":"HASH","state":"RUNNING","errnr":0,"errmsg":null,"endpoint":"web18","count":2,"names":["web[18-19]"]}]}`
	got := group(list)
	encodedGroups := string(jsonx.MustEncode(got))
	encoded := encodedGroups
	for _, g := range got.Groups {
		i := slices.IndexFunc(list, func(r tasker.TaskResult) bool { return r.Endpoint == g.Endpoint })
		if hash, _ := outcome.Key(&list[i]); hash != g.Hash {
			t.Errorf("%s: got the hash %s, want %s", g.Endpoint, g.Hash, hash)
		}
		encoded = strings.Replace(encoded, g.Hash, "HASH", 1)
	}
	if encoded != want {
		t.Errorf("got  %s\nwant %s", encoded, want)
	}
	slices.Reverse(list)
	again := group(list)
	for _, g := range again.Groups {
		if !slices.IsSorted(g.Endpoints) {
			t.Errorf("not sorted: %q", g.Endpoints)
		}
	}
	if string(jsonx.MustEncode(again)) != encodedGroups {
		t.Errorf("in the reverse order: %s", jsonx.MustEncode(again))
	}
	if got := string(jsonx.MustEncode(group())); got != `{"results":0,"groups":[]}` {
		t.Errorf("no results: %s", got)
	}
}

// Failures are before everything else, and then the largest groups.
func TestGroupsOrder(t *testing.T) {
	t.Parallel()
	states := []struct {
		state tasker.ResultState
		errnr int
		count int
	}{
		{tasker.ResultFailed, 1, 3},
		{tasker.TimedOut, -1, 2},
		{tasker.ResultFailed, 2, 1},
		{tasker.ResultFailed, 10, 1},
		{tasker.Rejected, -5, 1},
		{tasker.Retrying, 3, 1},
		{tasker.ResultDone, 0, 4},
		{tasker.Received, 0, 1},
		{tasker.Running, 0, 1},
	}
	var list []tasker.TaskResult
	for i := len(states) - 1; i >= 0; i-- {
		for range states[i].count {
			list = append(list, tasker.TaskResult{Endpoint: fmt.Sprint("e", len(list)), State: states[i].state, Errnr: states[i].errnr})
		}
	}
	groups := group(list).Groups
	if len(groups) != len(states) {
		t.Fatalf("got %d groups", len(groups))
	}
	for i, g := range groups {
		if g.State != states[i].state || g.Errnr != states[i].errnr || len(g.Endpoints) != states[i].count {
			t.Errorf("%d: got %s %d of %d", i, g.State, g.Errnr, len(g.Endpoints))
		}
	}
}

// However many outcomes there are, every result is counted once, and there is room
// for failures.
func TestGroupsAreBounded(t *testing.T) {
	t.Parallel()
	const half = outcome.MaxGroups / 2
	different := func(i int, r *tasker.TaskResult) {
		r.Payload = json.RawMessage(fmt.Sprintf(`"version %d"`, i))
	}
	all := results(3*half, func(i int, r *tasker.TaskResult) {
		if different(i, r); i >= 2*half {
			r.State, r.Errnr = tasker.ResultFailed, 1
		}
	})
	got := group(all, results(3*half, different), results(2*half+50, func(i int, r *tasker.TaskResult) {
		different(-i-1, r)
		r.State = tasker.TimedOut
	}))
	if len(got.Groups) != outcome.MaxGroups || got.Results != 8*half+50 {
		t.Errorf("got %d groups of %d results", len(got.Groups), got.Results)
	}
	counted := 0
	for _, g := range got.Groups {
		counted += len(g.Endpoints)
	}
	var other []string
	for _, o := range got.Other {
		counted += len(o.Endpoints)
		other = append(other, fmt.Sprint(o.State, " ", len(o.Endpoints)))
	}
	if want := []string{"TIMED_OUT 1050", "DONE 1500"}; counted != got.Results || !slices.Equal(other, want) {
		t.Errorf("got %d in all, and others %q, want %d, %q", counted, other, got.Results, want)
	}
	if got := string(jsonx.MustEncode(outcome.Other{State: tasker.Lost, Endpoints: []string{"a1", "a2"}})); got != `{"state":"LOST","count":2,"names":["a[1-2]"]}` {
		t.Errorf("got %s", got)
	}
}

func TestGroupsShortenErrmsg(t *testing.T) {
	t.Parallel()
	got := group(results(1, func(_ int, r *tasker.TaskResult) { r.State, r.Errmsg = tasker.ResultFailed, strings.Repeat("ä", 3000) }))
	if errmsg := got.Groups[0].Errmsg; errmsg != strings.Repeat("ä", 2048)+"..." {
		t.Errorf("got %d bytes", len(errmsg))
	}
}
