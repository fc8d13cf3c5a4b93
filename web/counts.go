package web

import (
	"fmt"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// counts are the numbers of the endpoints of a task. Each endpoint is in one of them,
// besides Expected and Received.
type counts struct {
	Expected, Received                        int
	OK, Failed, Canceled, Lost, Open, Missing int
	Unopened                                  int // wait for their wave of a rollout
}

func countsOf(s tasker.Summary) counts {
	return counts{
		Expected: s.Expected, Received: s.Received, OK: s.Finished - s.Failed - s.Canceled, Failed: s.Failed,
		Canceled: s.Canceled, Lost: s.Lost, Open: s.Received - s.Finished - s.Lost, Missing: s.Expected - s.Received - s.Unopened,
		Unopened: s.Unopened,
	}
}

// countsOfGroups returns the same from the groups of a task.
func countsOfGroups(g client.TaskGroups) counts {
	c := counts{Expected: g.Expected, Received: g.Received, Missing: g.Missing.Count}
	c.Unopened = c.Expected - c.Received - c.Missing
	add := func(state tasker.ResultState, n int) {
		switch {
		case state == tasker.ResultDone:
			c.OK += n
		case state == tasker.ResultCanceled || state == tasker.Superseded:
			c.Canceled += n
		case state == tasker.Lost:
			c.Lost += n
		case state.Finished():
			c.Failed += n
		default:
			c.Open += n
		}
	}
	for _, group := range g.Groups {
		add(group.State, group.Count)
	}
	for _, other := range g.Other {
		add(other.State, other.Count)
	}
	return c
}

// Words says what the numbers mean, worst first.
func (c counts) Words() string {
	var parts []string
	for _, part := range []struct {
		n    int
		word string
	}{
		{c.Failed, "failed"},
		{c.Lost, "lost"},
		{c.Missing, "missing"},
		{c.Canceled, "canceled"},
		{c.Open, "not finished"},
		{c.OK, "done"},
		{c.Unopened, "in later waves"},
	} {
		if part.n > 0 {
			parts = append(parts, number(part.n)+" "+part.word)
		}
	}
	switch {
	case c.Expected == 0:
		return "no endpoints"
	case c.OK == c.Expected && c.Expected == 1:
		return "the one endpoint is done"
	case c.OK == c.Expected:
		return "all " + number(c.Expected) + " done"
	}
	return strings.Join(parts, ", ") + " of " + number(c.Expected)
}

// segment is a part of a bar, in endpoints.
type segment struct {
	Class string
	X, N  int
}

// Segments returns the parts of the bar.
func (c counts) Segments() []segment {
	var segments []segment
	x := 0
	for _, s := range []segment{
		{Class: "ok", N: c.OK},
		{Class: "bad", N: c.Failed},
		{Class: "warn", N: c.Lost},
		{Class: "off", N: c.Canceled},
		{Class: "run", N: c.Open},
		{Class: "wait", N: c.Missing},
		{Class: "later", N: c.Unopened},
	} {
		if s.N > 0 {
			s.X = x
			segments = append(segments, s)
			x += s.N
		}
	}
	return segments
}

// stamp is what live.js compares with the events of a task.
func stamp(t client.TaskView, c counts) string {
	s := fmt.Sprintf("%s %d %d %d %d %d %d", t.Status, c.Expected, c.Received, c.OK+c.Failed+c.Canceled, c.Failed, c.Canceled, c.Lost)
	if t.Rollout != nil {
		s += fmt.Sprintf(" %s %d", t.Rollout.State, t.Rollout.Wave)
	}
	return s
}
