package promises

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

var testTypes = []Type{
	{Name: "work", MaxAttempts: 3, Outcome: "done"},
	{Name: "once", MaxAttempts: 1, Outcome: "done"},
	{Name: "bad", MaxAttempts: 2, Outcome: "failed"},
	{Name: "slow", MaxAttempts: 2, Outcome: "timed_out"},
	{Name: "flaky", MaxAttempts: 3, Outcome: "flaky"},
}

// snapshot is a row since a time.
type snapshot struct {
	from time.Time
	row  Result
}

// generator generates histories that keep the promises. choose returns a number
// below n.
type generator struct {
	choose func(n int) int
	h      History
	rows   map[place][]snapshot
	sent   map[task]time.Time
	starts map[task]time.Time
	again  map[task]time.Time // when the second round began
	ids    int
}

// generate returns a history of n tasks.
func generate(n int, choose func(n int) int) History {
	g := &generator{choose: choose, rows: map[place][]snapshot{}, sent: map[task]time.Time{}, starts: map[task]time.Time{}, again: map[task]time.Time{}}
	g.h = History{
		Seed: 1, Begin: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Types: testTypes,
		Endpoints: []string{"e1", "e2", "e3", "e4"},
	}
	for i := range n {
		g.task(i)
	}
	g.h.End = g.h.Begin.Add(time.Hour)
	for i := range g.h.Posts {
		g.answers(&g.h.Posts[i])
	}
	slices.SortStableFunc(g.h.Seen, func(a, b Answer) int { return a.Time.Compare(b.Time) })
	return g.h
}

func (g *generator) next() int { g.ids++; return g.ids }

func (g *generator) task(i int) {
	post := Post{
		Type: testTypes[i%len(testTypes)].Name, Identifier: fmt.Sprintf("t%d", i),
		Accepted: g.h.Begin.Add(g.millis(3_000_000)), TaskID: int64(i + 1), Tries: 1 + g.choose(3),
	}
	if g.choose(2) == 0 {
		post.Endpoints = g.h.Endpoints[:1+g.choose(len(g.h.Endpoints))]
	}
	key := task{post.Type, post.Identifier}
	post.StartTime = post.Accepted
	if g.choose(4) == 0 { // later
		post.StartTime = post.StartTime.Add(g.millis(20_000))
	}
	if g.choose(6) == 0 {
		post.Expires = post.StartTime.Add(4 * time.Second)
	}
	g.starts[key] = post.StartTime
	g.sent[key] = post.StartTime.Add(g.millis(2000))
	if g.choose(8) == 0 {
		post.Accepted = time.Time{} // stored nevertheless: only the answer was lost
		post.TaskID = 0
	}
	g.h.Posts = append(g.h.Posts, post)
	endpoints := post.Endpoints
	if endpoints == nil {
		endpoints = g.h.Endpoints
	}
	for _, endpoint := range endpoints {
		// Some receive it before it is marked SENT, some very late.
		at := g.sent[key].Add(g.millis(4000) - time.Second)
		if at.Before(post.StartTime) {
			at = post.StartTime
		}
		if g.choose(6) == 0 {
			at = at.Add(10 * time.Second)
		}
		g.place(place{key, endpoint}, int64(i+1), testTypes[i%len(testTypes)], at, post.Expires)
	}
}

func (g *generator) millis(n int) time.Duration { return time.Duration(g.choose(n)) * time.Millisecond }

func (g *generator) fault(kind, target string, pid int, at time.Time, lasts time.Duration) {
	g.h.Faults = append(g.h.Faults, Fault{Kind: kind, Target: target, PID: pid, Time: at, Until: at.Add(lasts)})
}

// The last faultless choices of place are without a fault.
const faultless = 14

// place generates one endpoint's part: its runs, the faults, and its row.
func (g *generator) place(p place, id int64, t Type, at, expires time.Time) {
	row := Result{Endpoint: p.endpoint, State: stateReceived}
	save := func(at time.Time, state string, errnr int) {
		row.State, row.Errnr, row.Errmsg, row.Status = state, errnr, nil, 0
		if errnr != 0 {
			why := fmt.Sprintf("errnr %d", errnr)
			row.Errmsg = &why
		}
		if finished(state) {
			row.Status = 1
		}
		g.rows[p] = append(g.rows[p], snapshot{at, row})
	}
	retries := expires.IsZero() && g.again[p.task].IsZero() && g.choose(8) == 0
	earlier := 0 // attempts of the first round
	retry := func(at time.Time) time.Time {
		retries, earlier = false, row.Attempt
		r := Retry{
			Type: p.task.kind, Identifier: p.task.identifier, Class: "all", Asked: at.Add(g.millis(1000)), Round: 2,
			Retried: []string{p.endpoint},
		}
		begun := r.Asked.Add(g.millis(5))
		r.Answered = begun.Add(g.millis(5))
		if row.State != stateDone {
			r.Class = retryFailed
		}
		g.h.Retries = append(g.h.Retries, r)
		g.again[p.task] = begun
		row.Payload, row.Round = nil, 2
		save(begun, stateReceived, 0)
		return begun.Add(g.millis(1000))
	}
	if expires.IsZero() {
		expires = g.h.Begin.Add(24 * time.Hour)
	}
	if g.choose(2) == 0 && at.Before(expires) {
		save(at, stateReceived, 0)
		at = at.Add(g.millis(1000))
	} else if g.choose(4) == 0 { // ahead of a slot, and given back
		row.Attempt = 1
		save(at, stateRunning, 0)
		at = at.Add(100*time.Millisecond + g.millis(500))
		row.Attempt = 0
		save(at, stateReceived, 0)
		at = at.Add(g.millis(1000))
	}
	for {
		if !at.Before(expires) {
			save(expires, stateExpired, errnrExpired)
			return
		}
		row.Attempt++
		save(at, stateRunning, 0)
		pid := g.next()
		entry := Entry{TaskID: id, Identifier: p.task.identifier, Type: p.task.kind, Endpoint: p.endpoint, Attempt: row.Attempt, PID: pid}
		entry.Run = fmt.Sprintf("r%d", g.next())
		begin := at.Add(time.Millisecond + g.millis(50))
		end := begin.Add(time.Millisecond + g.millis(1500))
		write := func(event, outcome string, at time.Time) {
			entry.Event, entry.Outcome, entry.Time = event, outcome, at
			g.h.Runs = append(g.h.Runs, entry)
		}
		outcome := map[string]string{"done": ranDone, "failed": ranFailed, "timed_out": ranStopped, "flaky": ranDone}[t.Outcome]
		if t.Outcome == "flaky" && row.Attempt == 1 {
			outcome = ranFailed
		}
		interrupted := true
		switch g.choose(faultless) {
		case 0: // killed between counting and starting; only the successor's name is known
			g.fault(FaultKill, p.endpoint, 0, begin, time.Second)
		case 1: // killed during the run
			write("start", "", begin)
			g.fault(FaultKill, "someone", pid, end, time.Second)
		case 2: // killed after the end, before it was stored
			write("start", "", begin)
			write("end", outcome, end)
			killed := end.Add(time.Millisecond)
			if g.choose(2) == 0 { // and paused before that
				g.fault(FaultPause, p.endpoint, pid, killed, 5*time.Second)
				killed = killed.Add(5*time.Second + time.Millisecond)
			}
			g.fault(FaultKill, p.endpoint, pid, killed, time.Second)
		case 3: // stopped, and failed at that moment
			if outcome == ranFailed && g.choose(2) == 0 {
				write("start", "", begin)
				g.fault(FaultStop, p.endpoint, pid, end.Add(-time.Millisecond), time.Second)
				write("end", ranFailed, end)
				break
			}
			fallthrough
		case 6: // stopped
			write("start", "", begin)
			g.fault(FaultStop, p.endpoint, pid, begin.Add(time.Millisecond), end.Sub(begin))
			write("end", ranStopped, end)
		case 4: // paused, marked LOST, and taken over
			write("start", "", begin)
			kind := FaultPause
			if g.choose(2) == 0 {
				kind = FaultTakeover // continues without the database
			}
			g.fault(kind, p.endpoint, pid, begin.Add(time.Millisecond), 30*time.Second)
			save(begin.Add(10*time.Second), stateLost, errnrLost)
			late := entry
			late.Event, late.Outcome, late.Time = "end", ranStopped, begin.Add(31*time.Second)
			g.h.Runs = append(g.h.Runs, late)
			end = begin.Add(12 * time.Second)
		case 5: // paused between counting and starting, and started after another has taken over
			late := entry
			late.Event, late.Time = "start", begin.Add(30*time.Second)
			g.h.Runs = append(g.h.Runs, late)
			g.fault(FaultPause, p.endpoint, pid, begin, 30*time.Second)
			late.Event, late.Outcome, late.Time = "end", ranStopped, begin.Add(31*time.Second)
			g.h.Runs = append(g.h.Runs, late)
			end = begin.Add(12 * time.Second)
		default:
			interrupted = false
			write("start", "", begin)
			write("end", outcome, end)
		}
		at = end.Add(5*time.Millisecond + g.millis(100))
		last := row.Attempt == earlier+t.MaxAttempts
		switch {
		case interrupted && last:
			save(at, stateFailed, errnrInterrupted)
		case interrupted:
			save(at, stateRetrying, errnrInterrupted)
		case outcome == ranDone:
			row.Payload = json.RawMessage(`{"run":"` + entry.Run + `"}`)
			save(at, stateDone, 0)
		case outcome == ranStopped:
			save(at, stateTimedOut, errnrTimedOut)
		case last:
			save(at, stateFailed, 3)
		default:
			save(at, stateRetrying, 3)
		}
		if finished(row.State) {
			if !retries {
				return
			}
			at = retry(at)
			continue
		}
		if g.choose(4) == 0 { // LOST while waiting, and back
			save(at.Add(time.Millisecond), stateLost, errnrLost)
			save(at.Add(500*time.Millisecond), stateRetrying, 0)
		}
		at = at.Add(time.Second + g.millis(1000))
	}
}

// answers generates answers about a task, now and then and at the end.
func (g *generator) answers(post *Post) {
	key := task{post.Type, post.Identifier}
	at := g.starts[key].Add(-g.millis(2000))
	for range g.choose(12) {
		a := g.answer(post, at, at.Add(g.millis(200)), g.millis(200))
		g.h.Seen = append(g.h.Seen, a)
		at = at.Add(g.millis(3000)) // some are asked before the previous one was read
	}
	g.h.Final = append(g.h.Final, g.answer(post, g.h.End, g.h.End, g.millis(200)))
}

// answer generates an answer to a GET sent at asked, with the state at another
// time.
func (g *generator) answer(post *Post, asked, at time.Time, way time.Duration) Answer {
	const wait = 5 * time.Second
	key := task{post.Type, post.Identifier}
	a := Answer{Time: asked, Answered: at.Add(way)}
	a.Task.Type, a.Task.Identifier, a.Task.Endpoints = post.Type, post.Identifier, post.Endpoints
	for id, p := range g.h.Posts {
		if p.Identifier == post.Identifier {
			a.Task.ID = int64(id + 1)
		}
	}
	sent := g.sent[key]
	if again, ok := g.again[key]; ok && !at.Before(again) {
		a.Task.Round, sent = 2, again
	}
	incomplete := g.h.End // since this time
	endpoints := post.Endpoints
	if endpoints == nil {
		endpoints = g.h.Endpoints
	}
	a.Summary.Missing = []string{}
	for _, endpoint := range endpoints {
		history := g.rows[place{key, endpoint}]
		if first := history[0].from; first.After(sent.Add(wait)) {
			incomplete = earlier(incomplete, sent.Add(wait))
		}
		var row *Result
		for i, s := range history {
			if s.row.State == stateLost && i+1 < len(history) && history[i+1].from.After(sent) {
				incomplete = earlier(incomplete, s.from)
			}
			if !s.from.After(at) {
				row = &history[i].row
			}
		}
		switch {
		case row != nil:
			a.Results = append(a.Results, *row)
		case at.Before(g.starts[key]), at.Before(sent) && post.Endpoints == nil:
		default:
			a.Summary.Missing = append(a.Summary.Missing, endpoint)
		}
	}
	a.recount()
	switch {
	case at.Before(g.starts[key]):
		a.Task.Status = statusScheduled
	case at.Before(sent):
		a.Task.Status = statusCreated
	case finalStatus(a.Task.Status) || a.Summary.Lost > 0:
	case at.Before(incomplete):
		a.Task.Status = statusSent
	default:
		a.Task.Status = statusIncomplete
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// recount sets the summary and the status of a sent task from the rows.
func (a *Answer) recount() {
	s := &a.Summary
	s.Received, s.Finished, s.Failed, s.Canceled, s.Lost = len(a.Results), 0, 0, 0, 0
	for _, row := range a.Results {
		if row.passedOn() {
			s.Received--
			continue
		}
		switch row.State {
		case stateDone:
			s.Finished++
		case stateFailed, stateTimedOut, stateExpired:
			s.Finished++
			s.Failed++
		case stateCanceled, stateSuperseded:
			s.Finished++
			s.Canceled++
		case stateLost:
			s.Lost++
		}
	}
	s.Expected = s.Received + len(s.Missing)
	switch {
	case s.Finished == s.Expected && s.Failed == 0 && s.Canceled > 0:
		a.Task.Status = statusCanceled
	case s.Finished == s.Expected && s.Failed == 0:
		a.Task.Status = statusDone
	case s.Finished == s.Expected:
		a.Task.Status = statusFailed
	case s.Lost > 0 || len(s.Missing) > 0:
		a.Task.Status = statusIncomplete
	default:
		a.Task.Status = statusSent
	}
}
