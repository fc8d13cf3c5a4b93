package rollout_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

// drawSettings returns the object of a random rollout, of at most n endpoints.
func drawSettings(t *rapid.T, n int) string {
	object := map[string]any{}
	maybe := func(name string, value func() any) {
		if rapid.Bool().Draw(t, name) {
			object[name] = value()
		}
	}
	amount := func() any {
		if rapid.Bool().Draw(t, "percent") {
			return fmt.Sprintf("%d%%", rapid.IntRange(1, 100).Draw(t, "percentage"))
		}
		return rapid.IntRange(1, n+1).Draw(t, "number")
	}
	maybe("max_failures", func() any { return rapid.IntRange(0, n).Draw(t, "tolerated") })
	maybe("unreached", func() any { return rapid.SampledFrom([]string{"count", "ignore"}).Draw(t, "which") })
	maybe("on_halt", func() any { return rapid.SampledFrom([]string{"finish", "cancel"}).Draw(t, "which") })
	if rapid.IntRange(0, 3).Draw(t, "window") == 0 {
		object["max_concurrency"] = amount()
		object["ramp"] = rapid.Bool().Draw(t, "ramp")
	} else {
		object["batch"] = amount()
		if rapid.Bool().Draw(t, "list") {
			object["batch"] = drawBorders(t, n)
		}
		maybe("pause", func() any { return "90s" })
		maybe("wave_max_failures", amount)
		maybe("wave_timeout", func() any { return "5m" })
		maybe("proceed_at", func() any { return fmt.Sprintf("%d%%", rapid.IntRange(1, 100).Draw(t, "proceed")) })
		maybe("approve", func() any { return true })
	}
	encoded, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func drawBorders(t *rapid.T, n int) []any {
	var borders []any
	number, percent := 0, 0
	for range rapid.IntRange(0, 4).Draw(t, "borders") {
		if rapid.Bool().Draw(t, "percent") && percent < 90 {
			percent += rapid.IntRange(1, 9).Draw(t, "more")
			borders = append(borders, fmt.Sprintf("%d%%", percent))
		} else {
			number += rapid.IntRange(1, n).Draw(t, "more")
			borders = append(borders, number)
		}
	}
	return append(borders, "100%")
}

// model is a fleet in which anything happens in any order, and what it must keep.
type model struct {
	*fleet
	rt *rapid.T
	// atMost is how many may be bad until the next opening.
	atMost int
	// fresh is true if each decision is applied at once, before a row changes.
	fresh bool
	stale []rollout.Decision // those of slow callers
}

// decideAndApply is a step of a caller whose decision is from the present rows.
func (m *model) decideAndApply() (acted bool) {
	bad := m.bad()
	d := m.decide()
	if again := m.decide(); again != d {
		m.rt.Fatalf("the same input, and %+v is not %+v", again, d)
	}
	if finish := d.Action == rollout.Finish; finish != (m.settled() && !m.rec.State.Final()) {
		m.rt.Fatalf("all are settled: %v, and it decides to %s", m.settled(), d.Action)
	}
	m.checkHalt(d)
	switch d.Action {
	case rollout.Wait:
		m.checkWait(d)
		return false
	case rollout.Open:
		m.checkOpen(d, bad)
	case rollout.Close:
		m.checkClose(d)
	}
	if !m.apply(d) {
		m.rt.Fatalf("not applied: %+v", d)
	}
	if m.apply(d) {
		m.rt.Fatalf("applied twice: %+v", d)
	}
	return true
}

// checkHalt holds a decision against the limits.
func (m *model) checkHalt(d rollout.Decision) {
	if m.rec.State.Final() || m.rec.State == rollout.Halted || d.Action == rollout.Finish {
		return
	}
	if d.Late && !m.rec.State.MayStart() {
		m.rt.Fatalf("late while it is held: %+v", d)
	}
	bad := make([]int, len(m.rows)+1) // per wave, and all of them at 0
	for _, e := range m.rows {
		late := d.Late && e.wave > m.rec.Closed && e.wave <= m.rec.Opened && e.unfinished(m.now)
		if late || e.bad(m.s, m.now) {
			bad[0]++
			bad[e.wave]++
		}
	}
	over := bad[0] >= m.p.HaltsAt
	for _, w := range m.p.Waves {
		over = over || w.HaltsAt > 0 && bad[w.N] >= w.HaltsAt
	}
	if over != (d.Action == rollout.Halt) {
		m.rt.Fatalf("%v are bad of %+v, and it decides to %s", bad, m.p, d.Action)
	}
}

// checkWait checks that time alone changes nothing before Until.
func (m *model) checkWait(d rollout.Decision) {
	if d.Until.IsZero() {
		return
	}
	if !d.Until.After(m.now) {
		m.rt.Fatalf("waits until a time that has passed: %+v", d)
	}
	now := m.now
	m.now = d.Until.Add(-time.Microsecond)
	if early := m.decide(); early.Action != rollout.Wait {
		m.rt.Fatalf("waits until %v, and before it decides to %s", d.Until, early.Action)
	}
	m.now = now
}

func (m *model) checkOpen(d rollout.Decision, bad int) {
	if !m.rec.State.MayStart() || bad >= m.p.HaltsAt || d.First != m.rec.Opened+1 {
		m.rt.Fatalf("opens from %+v with %d bad: %+v", m.rec, bad, d)
	}
	unfinished, returning := 0, 0
	for _, e := range m.rows {
		if e.opened.IsZero() {
			continue
		}
		if e.unfinished(m.now) && !e.late {
			unfinished++
		}
		if !e.bad(m.s, m.now) && (e.state == "" && e.overdue(m.now) || e.state == tasker.Lost) {
			returning++ // ignored or forgiven, and may come back
		}
	}
	size := 0
	for _, e := range m.rows {
		if e.wave >= d.First && e.wave <= d.Last {
			size++
		}
	}
	m.atMost = m.p.HaltsAt - 1 + size + unfinished + returning
	if m.p.Window > 0 {
		if unfinished+size > m.p.Window {
			m.rt.Fatalf("%d are open with a window of %d", unfinished+size, m.p.Window)
		}
		return
	}
	w := m.p.Waves[d.First-1]
	switch {
	case w.Approve && m.rec.Approved < d.First:
		m.rt.Fatalf("wave %d is not approved", d.First)
	case m.rec.Promoted || m.rec.Opened == 0:
	case d.First != d.Last || m.rec.Closed != m.rec.Opened || m.now.Before(m.rec.ClosedTime.Add(m.s.Pause)):
		m.rt.Fatalf("wave %d is opened too early: %+v", d.First, m.rec)
	}
}

func (m *model) checkClose(d rollout.Decision) {
	size, settled := 0, 0
	for _, e := range m.rows {
		if e.wave > m.rec.Closed && e.wave <= m.rec.Opened {
			size++
			if e.settled(m.now) {
				settled++
			}
		}
	}
	since := m.rec.OpenedTime
	if m.rec.Resumed.After(since) {
		since = m.rec.Resumed
	}
	timedOut := m.s.WaveTimeout > 0 && !m.now.Before(since.Add(m.s.WaveTimeout))
	if enough := settled*100 >= m.s.ProceedAt*size; d.Late == enough || d.Late && !timedOut {
		m.rt.Fatalf("%d of %d are settled, timed out: %v: %+v", settled, size, timedOut, d)
	}
}

// endpoint moves an endpoint.
func (m *model) endpoint() {
	e := m.rows[rapid.IntRange(0, len(m.rows)-1).Draw(m.rt, "endpoint")]
	var next []tasker.ResultState
	switch e.state {
	case "":
		next = []tasker.ResultState{tasker.Received, tasker.Running, tasker.Rejected}
		if e.opened.IsZero() {
			next = nil
		}
	case tasker.Received:
		next = []tasker.ResultState{tasker.Running, tasker.Running, tasker.Expired, tasker.Lost}
	case tasker.Running:
		next = []tasker.ResultState{
			tasker.ResultDone, tasker.ResultDone, tasker.ResultDone, tasker.ResultDone, tasker.ResultFailed, tasker.TimedOut,
			tasker.Retrying, tasker.Lost,
		}
	case tasker.Retrying:
		next = []tasker.ResultState{tasker.Running, tasker.Lost}
	case tasker.Lost:
		next = []tasker.ResultState{tasker.Running, tasker.ResultDone, tasker.ResultFailed}
	}
	if next == nil {
		return
	}
	to := rapid.SampledFrom(next).Draw(m.rt, "state")
	if to == tasker.Running && (e.state == "" || e.state == tasker.Received) && !m.rec.State.MayStart() {
		if e.state == "" {
			e.state = tasker.Received
		}
		return // the guard of the start
	}
	e.state = to
}

// somebody has a person do something.
func (m *model) somebody() {
	switch rapid.IntRange(0, 9).Draw(m.rt, "person") {
	case 0, 1:
		if !m.rec.State.Final() {
			m.person(m.rec.Pause(m.act()))
		}
	case 2, 3, 4:
		m.continues(rapid.IntRange(0, 4).Draw(m.rt, "all") == 0)
	case 5, 6:
		m.approves()
	case 7:
		i := rapid.IntRange(1, len(m.rows)).Draw(m.rt, "retried")
		if e := m.rows[i-1]; e.bad(m.s, m.now) && e.state.Finished() && e.state != "" && !e.opened.IsZero() {
			m.retry(i)
			m.atMost++ // it may have been forgiven
		}
	case 8:
		if e := m.rows[rapid.IntRange(0, len(m.rows)-1).Draw(m.rt, "canceled")]; !e.state.Finished() {
			e.state = tasker.ResultCanceled
		}
	case 9:
		if rapid.IntRange(0, 4).Draw(m.rt, "cancel") == 0 {
			m.person(m.rec.Cancel(m.act()), nil)
		}
	}
}

func (m *model) continues(all bool) {
	if m.rec.State.Final() || m.rec.State == rollout.WaitingApproval && !all {
		return
	}
	m.resume(all)
}

func (m *model) approves() {
	if wave := m.rec.Opened + 1; !m.rec.State.Final() && wave <= len(m.p.Waves) {
		m.person(m.rec.Approve(m.p, wave, m.act()))
	}
}

// slow has a caller decide, or apply what it decided a while ago.
func (m *model) slow() {
	if len(m.stale) < 2 {
		m.stale = append(m.stale, m.decide())
		return
	}
	d := m.stale[0]
	m.stale = m.stale[1:]
	overtaken := d.Next.Version-1 != m.rec.Version
	if applied := m.apply(d); applied == (overtaken || d.Action == rollout.Wait) {
		m.rt.Fatalf("applied: %v, overtaken: %v, %+v", applied, overtaken, d)
	}
}

func (m *model) step() {
	held := !m.rec.State.MayStart()
	opened := m.opened()
	switch what := rapid.IntRange(0, 19).Draw(m.rt, "what"); {
	case what < 10:
		m.endpoint()
	case what < 13:
		m.now = m.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(m.rt, "seconds")) * time.Second)
	case what == 13:
		m.somebody()
	case what < 16 && !m.fresh:
		m.slow()
	default:
		m.decideAndApply()
	}
	if held && m.opened() > opened {
		m.rt.Fatalf("opened while it was held")
	}
	if m.fresh && m.bad() > m.atMost {
		m.rt.Fatalf("%d are bad, at most %d may be: %+v", m.bad(), m.atMost, m.rec)
	}
}

// finish lets everything go on until the rollout ends.
func (m *model) finish() {
	for range 20*len(m.rows) + 100 {
		for decided := 0; m.decideAndApply(); decided++ {
			if decided > 4*len(m.rows)+10 {
				m.rt.Fatalf("decides for ever: %v", m.log)
			}
		}
		open := slices.IndexFunc(m.rows, func(e *endpoint) bool { return !e.opened.IsZero() && !e.settled(m.now) })
		d := m.decide()
		switch {
		case m.rec.State.Final():
			return
		case m.rec.State == rollout.Halted || m.rec.State == rollout.Paused:
			m.continues(false)
		case m.rec.State == rollout.WaitingApproval:
			m.approves()
		case !d.Until.IsZero() && rapid.Bool().Draw(m.rt, "time"):
			m.now = d.Until
		case open >= 0:
			m.rows[open].state = rapid.SampledFrom([]tasker.ResultState{tasker.ResultDone, tasker.ResultFailed}).Draw(m.rt, "end")
		case !d.Until.IsZero():
			m.now = d.Until
		default:
			m.rt.Fatalf("stalls: %+v", m.rec)
		}
	}
	m.rt.Fatalf("does not end: %+v", m.rec)
}

// Whatever endpoints, people, clocks and callers do: no endpoint is opened
// twice, none is left out, none is opened while the rollout is held, there are
// never more bad ones than the wave may bring, and it is DONE exactly when all
// are settled.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(rt, "endpoints")
		object := drawSettings(rt, n)
		rt.Log(n, "endpoints:", object)
		m := &model{fleet: newFleet(t, object, n), rt: rt, fresh: rapid.Bool().Draw(rt, "fresh")}
		m.t = failures{t, rt}
		for range rapid.IntRange(0, 150).Draw(rt, "steps") {
			m.step()
		}
		m.finish()
		switch m.rec.State {
		case rollout.Done:
			for _, e := range m.rows {
				if e.opened.IsZero() && e.state != tasker.ResultCanceled {
					rt.Fatalf("an endpoint of wave %d was left out", e.wave)
				}
			}
		case rollout.Canceled:
		default:
			rt.Fatalf("ends as %s", m.rec.State)
		}
	})
}

// failures has the fleet report to rapid.
type failures struct {
	testing.TB
	rt *rapid.T
}

func (f failures) Helper()                           {}
func (f failures) Fatal(args ...any)                 { f.rt.Fatal(args...) }
func (f failures) Fatalf(format string, args ...any) { f.rt.Fatalf(format, args...) }
