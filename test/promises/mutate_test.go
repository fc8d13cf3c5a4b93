package promises

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// calm returns a history without faults of processes, in which nothing is
// excused.
func calm() History {
	random := rand.New(rand.NewPCG(7, 7))
	return generate(150, func(n int) int {
		if n == faultless {
			return n - 1
		}
		return random.IntN(n)
	})
}

func postOf(h *History, key task) *Post {
	for i := range h.Posts {
		if p := &h.Posts[i]; p.Type == key.kind && p.Identifier == key.identifier {
			return p
		}
	}
	return nil
}

// mutation violates a promise in a history. It works on one task and drops its
// earlier answers, so that only the mutation contradicts.
type mutation struct {
	t *testing.T
	h *History
	// a is the final answer of the task and row one of its rows.
	a   *Answer
	row *Result
	// runs are the runs of the row, by attempt.
	starts, ends map[int]int // indexes in h.Runs
}

// pick chooses an accepted task of a type with more than one endpoint, and not
// all of them if it lists endpoints.
func pick(t *testing.T, h *History, kind string, listed bool) *mutation {
	t.Helper()
	for i := range h.Final {
		a := &h.Final[i]
		post := postOf(h, a.key())
		if slices.ContainsFunc(h.Retries, func(r Retry) bool { return r.key() == a.key() }) {
			continue
		}
		if a.Task.Type != kind || post.Accepted.IsZero() || len(a.Results) < 2 ||
			(post.Endpoints != nil) != listed || listed && len(a.Results) == 4 {
			continue
		}
		h.Seen = slices.DeleteFunc(h.Seen, func(s Answer) bool { return s.key() == a.key() })
		m := &mutation{t: t, h: h, a: a, row: &a.Results[0]}
		m.index()
		return m
	}
	t.Fatalf("no task of type %s", kind)
	return nil
}

func (m *mutation) index() {
	m.starts, m.ends = map[int]int{}, map[int]int{}
	for i, e := range m.h.Runs {
		if (task{e.Type, e.Identifier}) == m.a.key() && e.Endpoint == m.row.Endpoint {
			if e.Event == "start" {
				m.starts[e.Attempt] = i
			} else {
				m.ends[e.Attempt] = i
			}
		}
	}
}

func (m *mutation) start() *Entry { return &m.h.Runs[m.starts[m.row.Attempt]] }
func (m *mutation) end() *Entry   { return &m.h.Runs[m.ends[m.row.Attempt]] }

// set sets the row to a consistent end.
func (m *mutation) set(state string, errnr int) {
	m.row.State, m.row.Errnr, m.row.Errmsg, m.row.Status = state, errnr, nil, 1
	if errnr != 0 {
		why := "why"
		m.row.Errmsg = &why
	}
	if !finished(state) {
		m.row.Status = 0
	}
	m.a.recount()
}

// dropRuns removes the runs of the row starting at an attempt.
func (m *mutation) dropRuns(from int) {
	m.h.Runs = slices.DeleteFunc(m.h.Runs, func(e Entry) bool {
		return (task{e.Type, e.Identifier}) == m.a.key() && e.Endpoint == m.row.Endpoint && e.Attempt >= from
	})
}

// again adds a changed copy of the run, later.
func (m *mutation) again(later time.Duration, change func(e *Entry)) {
	for _, e := range []Entry{*m.start(), *m.end()} {
		e.Run, e.PID, e.Time = "another", 999_999, e.Time.Add(later)
		change(&e)
		m.h.Runs = append(m.h.Runs, e)
	}
}

// seen adds an answer before the final one.
func (m *mutation) seen(before time.Duration, change func(a *Answer)) {
	a := clone(m.t, *m.a)
	a.Time, a.Answered = a.Time.Add(-before), a.Answered.Add(-before)
	change(&a)
	m.h.Seen = append(m.h.Seen, a)
}

func clone[T any](t *testing.T, v T) (out T) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type mutant struct {
	name   string
	kind   string // type of the task
	listed bool
	mutate func(m *mutation)
	want   string // the rule that must report it
}

func TestEachViolationIsCaught(t *testing.T) {
	if v := Check(calm()); len(v) > 0 {
		t.Fatalf("violations without a mutation: %v", v)
	}
	covered := map[string]bool{}
	for _, mu := range mutants() {
		covered[mu.want] = true
		t.Run(mu.name, func(t *testing.T) {
			h := calm()
			mu.mutate(pick(t, &h, mu.kind, mu.listed))
			found := Check(h)
			if len(found) == 0 {
				t.Fatal("not reported")
			}
			for _, v := range found {
				if v.Rule != mu.want {
					t.Errorf("got %[2]s, want %[1]s: %[3]s", mu.want, v.Rule, v.Detail)
				}
				if v.Promise < 1 || v.Promise > 5 || v.Detail == "" {
					t.Errorf("violation %+v", v)
				}
			}
		})
	}
	for _, r := range rules() {
		if !covered[r.name] {
			t.Errorf("no mutant for rule %s", r.name)
		}
	}
}
