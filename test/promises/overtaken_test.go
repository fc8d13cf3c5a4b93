package promises

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// overtake has the task of a mutation wait for ten seconds, in which more tasks with a
// priority than there are slots come and run at the endpoint.
func (m *mutation) overtake(priority int) {
	first, from := m.start().Time, m.start().Time.Add(-10*time.Second)
	postOf(m.h, m.a.key()).StartTime = from.Add(-time.Second)
	m.seen(m.a.Time.Sub(from), func(a *Answer) {
		a.Results = a.Results[:1]
		waiting := mutation{a: a, row: &a.Results[0]}
		waiting.set(stateReceived, 0)
		waiting.row.Attempt, waiting.row.Payload = 0, nil
		a.Summary.Missing = []string{}
		for i := range m.a.Results[1:] {
			a.Summary.Missing = append(a.Summary.Missing, m.a.Results[1+i].Endpoint)
		}
		a.recount()
		a.Task.Status = statusSent
	})
	for i := range slots + 1 {
		at := first.Add(-5*time.Second + time.Duration(i)*100*time.Millisecond)
		m.other(fmt.Sprint("after", i), int64(10_000+i), at, priority)
	}
}

// other adds a task for the endpoint alone, which comes and runs there at a time.
func (m *mutation) other(identifier string, id int64, at time.Time, priority int) {
	name := "run of " + identifier
	m.h.Posts = append(m.h.Posts, Post{
		Type: m.a.Task.Type, Identifier: identifier, Endpoints: []string{m.row.Endpoint}, Accepted: at, TaskID: id,
		StartTime: at.Add(-time.Millisecond), Priority: priority, Tries: 1,
	})
	for i, e := range []Entry{*m.start(), *m.end()} {
		e.TaskID, e.Identifier, e.Run, e.Attempt = id, identifier, name, 1
		e.Time = at.Add(time.Duration(i+1) * time.Millisecond)
		m.h.Runs = append(m.h.Runs, e)
	}
	a := clone(m.t, *m.a)
	a.Task.ID, a.Task.Identifier, a.Task.Endpoints = id, identifier, []string{m.row.Endpoint}
	a.Results = a.Results[:1]
	a.Results[0].Attempt, a.Results[0].Payload = 1, json.RawMessage(`{"run":"`+name+`"}`)
	a.recount()
	m.h.Final = append(m.h.Final, a)
}

func orderMutants() []mutant {
	return []mutant{
		{"tasks begin that come after one that waits", "once", true, func(m *mutation) { m.overtake(0) }, "overtaken"},
	}
}

// Tasks with a higher priority may come first, as may any while something is held.
func TestNotOvertaken(t *testing.T) {
	for name, change := range map[string]func(m *mutation){
		"a higher priority": func(m *mutation) { m.overtake(1) },
		"a hold": func(m *mutation) {
			m.overtake(0)
			at := m.start().Time.Add(-5 * time.Second)
			m.h.Holds = append(m.h.Holds, Hold{Type: "another", Answered: at, Until: at})
		},
		"a fault": func(m *mutation) {
			m.overtake(0)
			m.h.Faults = append(m.h.Faults, Fault{Kind: FaultSlow, Target: "database", Time: m.start().Time.Add(-5 * time.Second)})
		},
	} {
		h := calm()
		change(pick(t, &h, "once", true))
		for _, v := range Check(h) {
			t.Errorf("%s: %s: %s", name, v.Rule, v.Detail)
		}
	}
}
