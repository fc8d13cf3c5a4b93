package outcome

import (
	"cmp"
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// MaxGroups is the maximum number of groups that a [Grouper] forms. At most half of
// them are of results that did not fail, so that there is room for failures however
// late they come.
const MaxGroups = 1000

// maxErrmsg is the maximum length of an errmsg in a group, in bytes.
const maxErrmsg = 4 << 10

// Group is a set of results that are alike.
type Group struct {
	Hash      string // 32 hexadecimal digits, which only results that are alike have
	State     tasker.ResultState
	Errnr     int
	Endpoint  string   // the first by name
	Errmsg    string   // of Endpoint, not masked, shortened to 4 KiB; empty if it has none
	Endpoints []string // the names of all, sorted
}

// Failed reports whether the results of the group are failures: LOST, or final and
// not DONE, or with an errnr, such as RETRYING.
func (g *Group) Failed() bool { return failed(g.State, g.Errnr) }

func failed(state tasker.ResultState, errnr int) bool {
	return errnr != 0 || state == tasker.Lost || state.Finished() && state != tasker.ResultDone
}

// Other has the results of one state that are in no group, since there were too many
// groups.
type Other struct {
	State     tasker.ResultState
	Endpoints []string // the names of all, sorted
}

// Groups are the results of a task, grouped. Every result is counted once.
type Groups struct {
	// Results is the number of results.
	Results int
	// Groups begin with failures, and then with the largest.
	Groups []Group
	// Other has the results of further groups, by state. It is empty unless there
	// are too many.
	Other []Other
}

// Grouper groups the results of one task. Its zero value has none. Its memory is
// that of the endpoints' names, of [MaxGroups] groups, and of the largest result.
type Grouper struct {
	masker  masker
	results int
	fine    int // groups that are not failures
	groups  map[[hashSize]byte]*Group
	other   map[tasker.ResultState]*Other
}

// Add adds a result. It keeps nothing of the payload.
func (g *Grouper) Add(r *tasker.TaskResult) {
	if g.groups == nil {
		g.groups, g.other = make(map[[hashSize]byte]*Group), make(map[tasker.ResultState]*Other)
	}
	g.results++
	sum := g.masker.sum(r)
	group := g.groups[sum]
	if group == nil {
		if group = g.newGroup(r); group == nil {
			g.addOther(r)
			return
		}
		group.Hash = hexOf(sum)
		g.groups[sum] = group
	}
	if len(group.Endpoints) == 0 || r.Endpoint < group.Endpoint {
		group.Endpoint, group.Errmsg = r.Endpoint, text.Shorten(r.Errmsg, maxErrmsg)
	}
	group.Endpoints = append(group.Endpoints, r.Endpoint)
}

// newGroup returns a group for a result, or nil if there are too many.
func (g *Grouper) newGroup(r *tasker.TaskResult) *Group {
	group := &Group{State: r.State, Errnr: r.Errnr}
	full := len(g.groups) == MaxGroups || !group.Failed() && g.fine == MaxGroups/2
	if full {
		return nil
	}
	if !group.Failed() {
		g.fine++
	}
	return group
}

func (g *Grouper) addOther(r *tasker.TaskResult) {
	o := g.other[r.State]
	if o == nil {
		o = &Other{State: r.State}
		g.other[r.State] = o
	}
	o.Endpoints = append(o.Endpoints, r.Endpoint)
}

// Groups returns the groups. The Grouper must not be used afterwards.
func (g *Grouper) Groups() Groups {
	all := Groups{Results: g.results, Groups: make([]Group, 0, len(g.groups))}
	for _, group := range g.groups {
		slices.Sort(group.Endpoints)
		all.Groups = append(all.Groups, *group)
	}
	slices.SortFunc(all.Groups, func(a, b Group) int {
		return cmp.Or(
			compareFailed(a.Failed(), b.Failed()),
			cmp.Compare(len(b.Endpoints), len(a.Endpoints)),
			cmp.Compare(a.State, b.State),
			cmp.Compare(a.Errnr, b.Errnr),
			cmp.Compare(a.Hash, b.Hash),
		)
	})
	for _, o := range g.other {
		slices.Sort(o.Endpoints)
		all.Other = append(all.Other, *o)
	}
	slices.SortFunc(all.Other, func(a, b Other) int {
		return cmp.Or(compareFailed(failed(a.State, 0), failed(b.State, 0)), cmp.Compare(a.State, b.State))
	})
	return all
}

// compareFailed orders failures first.
func compareFailed(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
