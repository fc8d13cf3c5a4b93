package promises

import (
	"encoding/json"
	"slices"
	"time"
)

func mutants() []mutant {
	return slices.Concat(lostMutants(), runMutants(), resultMutants(), truthMutants(), moveMutants(), cancelMutants(), holdMutants(),
		retryMutants(), orderMutants(), waveMutants(), supersedeMutants(), placeMutants(), scheduleMutants(), accountedMutants())
}

func lostMutants() []mutant {
	return []mutant{
		{"accepted task missing at the end", "work", true, func(m *mutation) {
			key := m.a.key()
			m.h.Final = slices.DeleteFunc(m.h.Final, func(a Answer) bool { return a.key() == key })
		}, "accepted-task-lost"},
		{"endpoint without a row", "work", true, func(m *mutation) {
			m.dropRuns(1)
			m.a.Summary.Missing = []string{m.row.Endpoint}
			m.a.Results = m.a.Results[1:]
			m.a.recount()
		}, "row-missing"},
		{"run before the task was to start", "work", true, func(m *mutation) {
			postOf(m.h, m.a.key()).StartTime = m.start().Time.Add(grace + time.Millisecond)
		}, "started-early"},
		{"SCHEDULED with endpoints", "work", true, func(m *mutation) {
			m.seen(time.Hour, func(a *Answer) {
				a.Task.Status, a.Results = statusScheduled, nil
				a.Summary.Missing = []string{m.row.Endpoint}
				a.Summary.Expected, a.Summary.Received, a.Summary.Finished = 1, 0, 0
			})
		}, "started-early"},
		{"DONE without a run", "work", false, func(m *mutation) { m.dropRuns(1) }, "row-without-run"},
		{"FAILED without a run of the last attempt", "bad", false, func(m *mutation) { m.dropRuns(2) }, "row-without-run"},
		{"TIMED_OUT without a run", "slow", false, func(m *mutation) { m.dropRuns(1) }, "row-without-run"},
	}
}

func runMutants() []mutant {
	return []mutant{
		{"run of a task that was not posted", "work", true, func(m *mutation) {
			m.again(time.Second, func(e *Entry) { e.Identifier, e.TaskID = "ghost", 4711 })
		}, "unknown-task"},
		{"answer about a task that was not posted", "work", true, func(m *mutation) {
			m.seen(time.Second, func(a *Answer) { a.Task.Identifier, a.Task.ID = "ghost", 4711 })
		}, "unknown-task"},
		{"unknown type", "work", true, func(m *mutation) {
			m.h.Types = m.h.Types[1:]
		}, "unknown-task"},
		{"run with another task id", "work", true, func(m *mutation) {
			m.start().TaskID = 4711
		}, "second-task"},
		{"another id at the end", "work", true, func(m *mutation) { m.a.Task.ID = 4711 }, "second-task"},
		{"another id at the second POST", "work", true, func(m *mutation) {
			again := *postOf(m.h, m.a.key())
			again.TaskID = 4711
			m.h.Posts = append(m.h.Posts, again)
		}, "second-task"},
		{"two tasks with one id", "work", true, func(m *mutation) {
			key := m.a.key()
			other := slices.IndexFunc(m.h.Posts, func(p Post) bool { return p.TaskID != 0 && p.Identifier != key.identifier })
			postOf(m.h, key).TaskID = m.h.Posts[other].TaskID
		}, "second-task"},
		{"run at an endpoint that is not addressed", "work", true, func(m *mutation) {
			m.again(time.Second, func(e *Entry) { e.Endpoint = "e4" })
		}, "not-addressed"},
		{"attempt started twice", "work", true, func(m *mutation) {
			m.again(10*time.Second, func(*Entry) {})
		}, "second-start"},
		{"end without a start", "work", true, func(m *mutation) {
			e := *m.end()
			e.Run, e.Time = "another", e.Time.Add(-time.Microsecond)
			m.h.Runs = append(m.h.Runs, e)
		}, "end-without-start"},
		{"second end", "work", true, func(m *mutation) {
			e := *m.end()
			e.Time = e.Time.Add(time.Second)
			m.h.Runs = append(m.h.Runs, e)
		}, "end-without-start"},
		{"one attempt too many", "bad", true, func(m *mutation) {
			m.again(10*time.Second, func(e *Entry) { e.Attempt = 3 })
			m.row.Attempt = 3
		}, "attempt-not-allowed"},
		{"run after the task expired", "work", true, func(m *mutation) {
			postOf(m.h, m.a.key()).Expires = m.start().Time.Add(-grace - time.Millisecond)
		}, "ran-expired"},
		{"EXPIRED although it does not expire", "work", true, func(m *mutation) {
			m.dropRuns(1)
			postOf(m.h, m.a.key()).Expires = time.Time{}
			m.row.Attempt, m.row.Payload = 0, nil
			m.set(stateExpired, errnrExpired)
		}, "ran-expired"},
		{"attempt 0", "work", true, func(m *mutation) {
			postOf(m.h, m.a.key()).StartTime = time.Time{}
			m.again(-10*time.Second, func(e *Entry) {
				e.Attempt = 0
				if e.Event == "end" {
					e.Outcome = ranFailed
				}
			})
		}, "attempt-not-allowed"},
		{"attempt skipped", "flaky", true, func(m *mutation) {
			for attempt, i := range m.starts {
				m.h.Runs[i].Attempt = attempt + 1
				m.h.Runs[m.ends[attempt]].Attempt = attempt + 1
			}
			m.row.Attempt++
		}, "attempt-gap"},
		{"interrupted before the start, without a fault", "bad", true, func(m *mutation) {
			m.dropRuns(2)
			m.set(stateFailed, errnrInterrupted)
		}, "attempt-gap"},
		{"run not counted", "work", true, func(m *mutation) {
			m.again(10*time.Second, func(e *Entry) {
				e.Attempt = 2
				if e.Event == "end" {
					e.Outcome = ranFailed
				}
			})
			m.h.Runs[len(m.h.Runs)-1].Outcome = ranFailed
		}, "attempt-not-counted"},
		{"attempts in the wrong order", "flaky", true, func(m *mutation) {
			shift := m.start().Time.Sub(m.h.Runs[m.starts[1]].Time) + 10*time.Second
			for _, i := range []int{m.starts[1], m.ends[1]} {
				m.h.Runs[i].Time = m.h.Runs[i].Time.Add(shift)
			}
		}, "attempts-out-of-order"},
		{"second attempt starts during the first", "flaky", true, func(m *mutation) {
			m.h.Runs[m.ends[1]].Time = m.start().Time.Add(time.Millisecond / 2)
		}, "overlapping-runs"},
		{"run starts after a final state", "work", true, func(m *mutation) {
			m.seen(time.Second, func(a *Answer) {})
			m.start().Time = m.h.End
			m.end().Time = m.h.End.Add(time.Second)
		}, "run-after-final"},
		{"run never ends", "flaky", true, func(m *mutation) {
			m.h.Runs = slices.Delete(m.h.Runs, m.ends[1], m.ends[1]+1)
		}, "interrupted-without-fault"},
		{"run stopped without a fault", "flaky", true, func(m *mutation) {
			m.h.Runs[m.ends[1]].Outcome = ranStopped
		}, "interrupted-without-fault"},
		{"no retry, although one was left", "bad", true, func(m *mutation) {
			m.dropRuns(2)
			m.row.Attempt = 1
		}, "gave-up-early"},
	}
}

func resultMutants() []mutant {
	return []mutant{
		{"success counts as interrupted", "once", true, func(m *mutation) {
			m.row.Payload = nil
			m.set(stateFailed, errnrInterrupted)
		}, "lost-done"},
		{"success runs again", "work", true, func(m *mutation) {
			m.again(10*time.Second, func(e *Entry) { e.Attempt = 2 })
			m.row.Attempt, m.row.Payload = 2, json.RawMessage(`{"run":"another"}`)
		}, "lost-done"},
		{"success while the database was down", "once", true, func(m *mutation) {
			m.h.Faults = append(m.h.Faults,
				Fault{Kind: FaultRestart, Target: "database", Time: m.end().Time.Add(-time.Second), Until: m.h.End},
				Fault{Kind: FaultCut, Target: m.row.Endpoint, PID: m.end().PID, Time: m.end().Time, Until: m.h.End},
				Fault{Kind: FaultStop, Target: m.row.Endpoint, PID: m.end().PID, Time: m.end().Time, Until: m.h.End})
			m.row.Payload = nil
			m.set(stateFailed, errnrInterrupted)
		}, "lost-done"},
		{"success while another process was killed", "once", true, func(m *mutation) {
			m.h.Faults = append(m.h.Faults, Fault{Kind: FaultKill, Target: m.row.Endpoint, PID: 4711, Time: m.end().Time})
			m.row.Payload = nil
			m.set(stateFailed, errnrInterrupted)
		}, "lost-done"},
		{"killed long after success", "once", true, func(m *mutation) {
			at := m.end().Time.Add(grace + time.Second)
			m.h.Faults = append(m.h.Faults, Fault{Kind: FaultKill, Target: m.row.Endpoint, PID: m.end().PID, Time: at})
			m.row.Payload = nil
			m.set(stateFailed, errnrInterrupted)
		}, "lost-done"},
		{"killed long after success, paused for a part of that", "once", true, func(m *mutation) {
			e := m.end()
			m.h.Faults = append(m.h.Faults,
				Fault{Kind: FaultPause, Target: m.row.Endpoint, PID: e.PID, Time: e.Time.Add(grace + time.Second), Until: e.Time.Add(2 * grace)},
				Fault{Kind: FaultKill, Target: m.row.Endpoint, PID: e.PID, Time: e.Time.Add(2*grace + time.Millisecond)})
			m.row.Payload = nil
			m.set(stateFailed, errnrInterrupted)
		}, "lost-done"},
		{"paused before the start", "once", true, func(m *mutation) {
			from := m.start().Time.Add(-time.Minute)
			m.h.Faults = append(m.h.Faults, Fault{
				Kind: FaultPause, Target: m.row.Endpoint, PID: m.end().PID,
				Time: from, Until: from.Add(10 * time.Second),
			})
			m.row.Payload = nil
			m.set(stateFailed, errnrInterrupted)
		}, "lost-done"},
		{"failure counts as interrupted", "bad", true, func(m *mutation) {
			m.set(stateFailed, errnrInterrupted)
		}, "lost-failure"},
		{"timeout counts as interrupted", "slow", false, func(m *mutation) {
			m.h.Types[3].MaxAttempts = 1
			m.set(stateFailed, errnrInterrupted)
		}, "lost-timeout"},
	}
}

func truthMutants() []mutant {
	final := func(status string) func(m *mutation) { return func(m *mutation) { m.a.Task.Status = status } }
	return []mutant{
		{"unknown status", "work", true, final("FINE"), "unknown-word"},
		{"unknown state", "work", true, func(m *mutation) {
			m.seen(time.Second, func(a *Answer) {
				row := &a.Results[0]
				row.State, row.Status = "FINE", 0
				a.recount()
			})
		}, "unknown-word"},
		{"DONE although one failed", "bad", true, final(statusDone), "status-not-of-rows"},
		{"FAILED although all are DONE", "work", true, final(statusFailed), "status-not-of-rows"},
		{"INCOMPLETE although all have finished", "work", true, final(statusIncomplete), "status-not-of-rows"},
		{"SENT although all have finished", "work", false, final(statusSent), "status-not-of-rows"},
		{"SENT although one is LOST", "work", true, func(m *mutation) {
			m.unfinished(stateLost, errnrLost, 1, statusSent)
		}, "status-not-of-rows"},
		{"DONE although one is RUNNING", "work", true, func(m *mutation) {
			m.unfinished(stateRunning, 0, 1, statusDone)
		}, "final-task-unfinished"},
		{"FAILED although one is missing", "bad", true, func(m *mutation) {
			m.seen(time.Second, func(a *Answer) {
				a.Summary.Missing = []string{a.Results[0].Endpoint}
				a.Results = a.Results[1:]
				a.recount()
				a.Task.Status = statusFailed
			})
		}, "final-task-unfinished"},
		{"wrong counts in the summary", "work", true, func(m *mutation) { m.a.Summary.Failed++ }, "summary-not-of-rows"},
		{"summary expects too few", "work", true, func(m *mutation) { m.a.Summary.Expected-- }, "summary-not-of-rows"},
		{"status 0 of a DONE row", "work", true, func(m *mutation) { m.row.Status = 0 }, "status-not-of-state"},
		{"TIMED_OUT with the errnr of LOST", "slow", false, func(m *mutation) { m.row.Errnr = errnrLost }, "errnr-not-of-state"},
		{"DONE with an errnr", "work", true, func(m *mutation) { m.set(stateDone, 3) }, "errnr-not-of-state"},
		{"errnr without errmsg", "bad", true, func(m *mutation) { m.row.Errmsg = nil }, "errmsg-not-of-errnr"},
		{"errmsg without errnr", "work", true, func(m *mutation) {
			why := "why"
			m.row.Errmsg = &why
		}, "errmsg-not-of-errnr"},
		{"RUNNING with attempt 0", "work", true, func(m *mutation) {
			m.unfinished(stateRunning, 0, 0, statusSent)
		}, "attempt-not-of-state"},
		{"RECEIVED with attempt 1", "work", true, func(m *mutation) {
			m.unfinished(stateReceived, 0, 1, statusSent)
		}, "attempt-not-of-state"},
		{"failure of a handler that always succeeds", "once", true, func(m *mutation) {
			m.end().Outcome = ranFailed
			m.row.Payload = nil
			m.set(stateFailed, 3)
		}, "outcome-not-of-type"},
		{"success of a handler that always fails", "bad", true, func(m *mutation) {
			m.end().Outcome = ranDone
			m.row.Payload = json.RawMessage(`{"run":"` + m.end().Run + `"}`)
			m.set(stateDone, 0)
		}, "outcome-not-of-type"},
		{"TIMED_OUT of a handler without a limit", "once", true, func(m *mutation) {
			m.h.Faults = append(m.h.Faults, Fault{Kind: FaultKill, PID: m.start().PID, Time: m.end().Time})
			m.h.Runs = slices.Delete(m.h.Runs, m.ends[1], m.ends[1]+1)
			m.row.Payload = nil
			m.set(stateTimedOut, errnrTimedOut)
		}, "outcome-not-of-type"},
		{"payload of another run", "work", true, func(m *mutation) { m.row.Payload = json.RawMessage(`{"run":"r0"}`) }, "result-of-no-run"},
		{"no payload", "work", true, func(m *mutation) { m.row.Payload = nil }, "result-of-no-run"},
	}
}

// unfinished adds an answer before the final one with an unfinished row.
func (m *mutation) unfinished(state string, errnr, attempt int, status string) {
	m.seen(time.Second, func(a *Answer) {
		before := mutation{a: a, row: &a.Results[0]}
		before.set(state, errnr)
		before.row.Attempt, before.row.Payload = attempt, nil
		a.Task.Status = status
	})
}

// earlier adds an answer a second before the one added last.
func (m *mutation) earlier(change func(a *Answer)) {
	a := clone(m.t, m.h.Seen[len(m.h.Seen)-1])
	a.Time, a.Answered = a.Time.Add(-time.Second), a.Answered.Add(-time.Second)
	change(&a)
	m.h.Seen = append(m.h.Seen, a)
}

func moveMutants() []mutant {
	return []mutant{
		{"SENT, then CREATED", "work", true, func(m *mutation) {
			m.unfinished(stateRunning, 0, 1, statusCreated)
			m.earlier(func(a *Answer) { a.Task.Status = statusSent })
		}, "illegal-task-move"},
		{"INCOMPLETE, then SENT", "work", true, func(m *mutation) {
			m.unfinished(stateRunning, 0, 1, statusSent)
			m.earlier(func(a *Answer) {
				a.Task.Status = statusIncomplete
			})
		}, "illegal-task-move"},
		{"RUNNING, then RECEIVED", "flaky", true, func(m *mutation) {
			m.unfinished(stateReceived, 0, 0, statusSent)
			m.earlier(func(a *Answer) { a.Results[0].State, a.Results[0].Attempt = stateRunning, 1 })
		}, "attempt-decreased"},
		{"RETRYING, then RUNNING the same attempt", "flaky", true, func(m *mutation) {
			m.unfinished(stateRunning, 0, 1, statusSent)
			m.earlier(func(a *Answer) {
				why := "why"
				a.Results[0].State, a.Results[0].Errnr, a.Results[0].Errmsg = stateRetrying, 3, &why
			})
		}, "illegal-row-move"},
		{"attempt decreases", "flaky", true, func(m *mutation) {
			m.unfinished(stateRunning, 0, 1, statusSent)
			m.earlier(func(a *Answer) {
				a.Results[0].Attempt = 2
			})
		}, "attempt-decreased"},
		{"errnr changes after a final state", "bad", true, func(m *mutation) {
			m.seen(time.Second, func(a *Answer) { a.Results[0].Errnr = 4 })
		}, "final-row-changed"},
		{"payload changes after a final state", "work", true, func(m *mutation) {
			m.seen(time.Second, func(a *Answer) { a.Results[0].Payload = json.RawMessage(`{"run":"r0"}`) })
		}, "final-row-changed"},
		{"row disappears and returns", "work", true, func(m *mutation) {
			m.seen(time.Second, func(a *Answer) {
				a.Summary.Missing = []string{a.Results[0].Endpoint}
				a.Results = a.Results[1:]
				a.recount()
				a.Task.Status = statusSent
			})
			m.seen(2*time.Second, func(a *Answer) {
				// The other rows are unchanged, and the task has not ended.
				why := "why"
				row := &a.Results[0]
				row.State, row.Status, row.Errnr, row.Errmsg, row.Payload = stateRetrying, 0, 3, &why, nil
				a.recount()
				a.Task.Status = statusSent
			})
		}, "row-vanished"},
	}
}

func accountedMutants() []mutant {
	return []mutant{
		{"two rows of one endpoint", "work", true, func(m *mutation) {
			m.a.Results = append(m.a.Results, *m.row)
			m.a.recount()
		}, "endpoint-twice"},
		{"row and missing", "work", true, func(m *mutation) {
			m.unfinished(stateRunning, 0, 1, statusSent)
			a := &m.h.Seen[len(m.h.Seen)-1]
			a.Summary.Missing = []string{m.row.Endpoint}
			a.recount()
		}, "endpoint-twice"},
		{"neither row nor missing", "work", true, func(m *mutation) {
			m.dropRuns(1)
			m.a.Results = m.a.Results[1:]
			m.a.recount()
		}, "endpoint-nowhere"},
		{"neither row nor missing, task for all", "work", false, func(m *mutation) {
			m.dropRuns(1)
			m.a.Results = m.a.Results[1:]
			m.a.recount()
		}, "endpoint-nowhere"},
		{"listed endpoint not named before SENT", "work", true, func(m *mutation) {
			m.seen(time.Hour, func(a *Answer) {
				a.Results = nil
				a.Summary.Missing = slices.Clone(a.Task.Endpoints[1:])
				a.recount()
				a.Task.Status = statusCreated
			})
		}, "endpoint-nowhere"},
		{"other endpoint missing", "work", true, func(m *mutation) {
			m.seen(time.Hour, func(a *Answer) {
				a.Results = nil
				a.Summary.Missing = append(slices.Clone(a.Task.Endpoints), "e4")
				a.recount()
				a.Task.Status = statusCreated
			})
		}, "endpoint-unexpected"},
		{"fewer endpoints than posted", "work", true, func(m *mutation) { m.a.Task.Endpoints = m.a.Task.Endpoints[1:] }, "endpoints-changed"},
		{"for all, but posted for some", "work", true, func(m *mutation) { m.a.Task.Endpoints = nil }, "endpoints-changed"},
		{"row LOST at the end", "once", true, func(m *mutation) {
			m.row.Payload = nil
			m.set(stateLost, errnrLost)
		}, "unfinished-at-rest"},
		{"row waiting at the end", "once", true, func(m *mutation) {
			m.dropRuns(1)
			m.row.Payload, m.row.Attempt = nil, 0
			m.set(stateReceived, 0)
		}, "unfinished-at-rest"},
		{"task CREATED at the end", "work", true, func(m *mutation) { m.a.Task.Status = statusCreated }, "unfinished-at-rest"},
	}
}
