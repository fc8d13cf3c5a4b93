package outcome_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/outcome"
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
	want := []string{
		`FAILED 2 "no <space> left on web05:/var at 12:00:04" web05 of [web05 web07]`,
		`LOST 0 "" web20 of [web20]`,
		`DONE 0 "" web01 of [web01 web02 web03 web04 web06 web08 web09 web10 web11 web12 web13 web14 web15 web16 web17]`,
		`RUNNING 0 "" web18 of [web18 web19]`,
	}
	got := group(list)
	var shown []string
	for _, g := range got.Groups {
		shown = append(shown, fmt.Sprintf("%s %d %q %s of %s", g.State, g.Errnr, g.Errmsg, g.Endpoint, g.Endpoints))
		i := slices.IndexFunc(list, func(r tasker.TaskResult) bool { return r.Endpoint == g.Endpoint })
		if hash, _ := outcome.Key(&list[i]); hash != g.Hash {
			t.Errorf("%s: got the hash %s, want %s", g.Endpoint, g.Hash, hash)
		}
	}
	if !slices.Equal(shown, want) || got.Results != 20 || got.Other != nil {
		t.Errorf("got  %q of %d, others %v\nwant %q", shown, got.Results, got.Other, want)
	}
	slices.Reverse(list)
	if again := group(list); !reflect.DeepEqual(again, got) {
		t.Errorf("in the reverse order: %+v, want %+v", again, got)
	}
	if got := group(); got.Results != 0 || len(got.Groups) != 0 || got.Other != nil {
		t.Errorf("no results: %+v", got)
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
	for _, s := range slices.Backward(states) {
		for range s.count {
			list = append(list, tasker.TaskResult{Endpoint: fmt.Sprint("e", len(list)), State: s.state, Errnr: s.errnr})
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
}

func TestGroupsShortenErrmsg(t *testing.T) {
	t.Parallel()
	got := group(results(1, func(_ int, r *tasker.TaskResult) { r.State, r.Errmsg = tasker.ResultFailed, strings.Repeat("ä", 3000) }))
	if errmsg := got.Groups[0].Errmsg; errmsg != strings.Repeat("ä", 2048)+"..." {
		t.Errorf("got %d bytes", len(errmsg))
	}
}
