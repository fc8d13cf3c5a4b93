package endpointcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/ledger"
)

// scene is a situation with one or more checks. Its error is that it could not be
// set up.
type scene func(ctx context.Context, s *stage) error

// scenes returns the scenes in order: each leaves a running endpoint.
func scenes() []scene {
	return []scene{
		takeover, heartbeats, messages, lostRecording, proxied, lostEnd, duplicates, judged, wrongMessages,
		unrecorded, killedInARun, leaseLost, stopped,
	}
}

// takeover starts the endpoint, for which an earlier manager and the API have left
// work.
func takeover(ctx context.Context, s *stage) error {
	const previous = "check-previous"
	left, err := s.leave(ctx, previous, tasker.Running)
	if err != nil {
		return err
	}
	waits, err := s.leave(ctx, previous, tasker.Received)
	if err != nil {
		return err
	}
	early, err := s.create(ctx, 0) // no message tells of it
	if err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	var registered protocol.Register
	reads := []string{protocol.OpWaiting, protocol.OpDue, protocol.OpNextRetry, protocol.OpUnreceived} // these harm nobody
	first := s.front.since(0, func(r *request) bool { return !slices.Contains(reads, r.operation) })[0]
	_ = json.Unmarshal(first.body, &registered)
	s.report("registers", "before anything else it registers the endpoint and its task type, with the token",
		first.operation == protocol.OpRegister && first.status == http.StatusOK && registered.Endpoint == s.cfg.Endpoint &&
			slices.Contains(registered.TaskTypes, s.cfg.TaskType),
		"%s of %q with %v, answered %d", first.operation, registered.Endpoint, registered.TaskTypes, first.status)

	s.until(ctx, func() bool { return len(s.finishes(left)) > 0 })
	s.interrupted("adopts what was interrupted", left, 0)

	ok, seen := s.done(ctx, waits)
	s.report("starts what waits", "a result that was RECEIVED is started, and runs once", ok, "%s", seen)
	ok, seen = s.done(ctx, early)
	s.report("catches up", "a task without a message is found by unreceived, and runs once", ok, "%s", seen)
	return nil
}

// leave records a task of an earlier manager, which then ends.
func (s *stage) leave(ctx context.Context, manager string, state tasker.ResultState) (task, error) {
	t, err := s.create(ctx, 0)
	if err != nil {
		return t, err
	}
	if err := s.acquire(ctx, manager); err != nil {
		return t, err
	}
	recordings, err := s.store.Inbox.ReceiveResults(ctx, []ledger.Incoming{{
		ResultKey: tasker.ResultKey{TaskID: t.ID, Endpoint: s.cfg.Endpoint}, Identifier: t.Identifier, Type: t.Type,
		Manager: manager, State: state,
	}})
	if err == nil && recordings[0].Outcome != ledger.Recorded {
		err = fmt.Errorf("task %d was not recorded: %v", t.ID, recordings[0].Outcome)
	}
	if err != nil {
		return t, err
	}
	return t, s.store.Endpoints.ReleaseEndpoints(ctx, manager, []string{s.cfg.Endpoint})
}

// acquire has a manager hold the endpoint. A heartbeat of a killed process may have been
// stored after its lease was ended: then it waits until that expires.
func (s *stage) acquire(ctx context.Context, manager string) (err error) {
	endpoint := tasker.Endpoint{Name: s.cfg.Endpoint, Manager: manager, TaskTypes: []string{s.cfg.TaskType}, Protocol: 2}
	var holder *tasker.Endpoint
	s.until(ctx, func() bool {
		holder, err = s.store.Endpoints.AcquireEndpoint(ctx, endpoint, time.Minute)
		return err != nil || holder == nil
	})
	if err == nil && holder != nil {
		err = fmt.Errorf("the lease of manager %s does not end", holder.Manager)
	}
	return err
}

// finishes returns the requests that finish a task.
func (s *stage) finishes(t task) []request {
	return s.front.since(0, func(r *request) bool { return r.about(protocol.OpFinish, t.ID) })
}

// interrupted reports whether the interruption of attempt 1 was stored.
func (s *stage) interrupted(check string, t task, runs int) {
	const expected = "finish of attempt 1 with errnr -6, as FAILED or RETRYING, before anything else of it runs"
	list := s.finishes(t)
	if len(list) == 0 {
		s.report(check, expected, false, "no finish, %d runs", s.runs(t)-runs)
		return
	}
	end, _ := list[0].end(t.ID)
	ok := end.Attempt == 1 && end.Errnr == tasker.ErrnrInterrupted && (end.State == tasker.ResultFailed || end.State == tasker.Retrying)
	s.report(check, expected, ok, "finish of attempt %d with errnr %d, as %s", end.Attempt, end.Errnr, end.State)
}

func heartbeats(ctx context.Context, s *stage) error {
	const number = 5
	mark := s.front.mark()
	beats := func() []request {
		return s.front.since(mark, func(r *request) bool { return r.operation == protocol.OpHeartbeat })
	}
	s.until(ctx, func() bool { return len(beats()) >= number })
	list := beats()
	expected := fmt.Sprintf("a heartbeat every %v, by the manager that registered", heartbeat)
	if len(list) < number {
		s.report("sends heartbeats", expected, false, "%d in %v", len(list), s.cfg.Patience)
		return nil
	}
	pause := list[number-1].at.Sub(list[0].at) / (number - 1)
	var beat protocol.Heartbeat
	_ = json.Unmarshal(list[0].body, &beat)
	s.report("sends heartbeats", expected, pause < 2*heartbeat && beat.Manager == s.manager(),
		"one every %v, by %q", pause.Round(time.Millisecond), beat.Manager)
	return nil
}

// messages sends two tasks that nothing disturbs.
func messages(ctx context.Context, s *stage) error {
	for range 2 {
		t, err := s.post(ctx, 0)
		if err != nil {
			return err
		}
		ok, seen := s.done(ctx, t)
		s.report("runs a task", "a message is recorded, and its task runs once and is DONE", ok, "%s", seen)
		got := strings.TrimSpace(string(s.result(ctx, t).Payload))
		s.report("keeps numbers", fmt.Sprintf("the result of task %d is its payload, byte for byte: %s", t.ID, t.Payload),
			got == string(t.Payload), "%s", got)
	}
	return nil
}

// spoil spoils the first requests about a task, each in another way.
func (s *stage) spoil(operation string, taskID int64, ways ...fate) {
	left := ways
	s.front.setSpoiler(func(r *request) fate {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(left) == 0 || !r.about(operation, taskID) {
			return nil
		}
		way := left[0]
		left = left[1:]
		return way
	})
}

// spoiled runs a task whose requests of one operation are spoiled.
func (s *stage) spoiled(ctx context.Context, check, expected, operation string, ways ...fate) (list []request, err error) {
	t, err := s.create(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer s.front.setSpoiler(nil)
	s.spoil(operation, t.ID, ways...)
	if err := s.publish(ctx, t); err != nil {
		return nil, err
	}
	requests := func() []request { return s.front.since(0, func(r *request) bool { return r.about(operation, t.ID) }) }
	s.until(ctx, func() bool { return len(requests()) > len(ways) })
	ok, seen := s.done(ctx, t)
	list = requests()
	s.report(check, expected, ok && len(list) > len(ways), "%d requests, %s", len(list), seen)
	return list, nil
}

func lostRecording(ctx context.Context, s *stage) error {
	_, err := s.spoiled(ctx, "repeats a receive without an answer",
		"after a cut connection the same receive, whose answer is duplicate and own; the task runs once", protocol.OpReceive, lose)
	return err
}

func proxied(ctx context.Context, s *stage) error {
	_, err := s.spoiled(ctx, "takes no proxy for the gateway",
		"200 with HTML is no answer: the receive is repeated", protocol.OpReceive, proxy)
	return err
}

func lostEnd(ctx context.Context, s *stage) error {
	list, err := s.spoiled(ctx, "repeats a finish until it has an answer",
		"after a 503 and a cut connection the same end again; the task runs once", protocol.OpFinish, refuse, lose)
	if err != nil {
		return err
	}
	if len(list) < 2 {
		s.report("waits as long as Retry-After says", "a second at least", false, "no repetition")
		return nil
	}
	pause := list[1].at.Sub(list[0].answered)
	s.report("waits as long as Retry-After says", "a second at least", pause >= 900*time.Millisecond, "%v", pause.Round(time.Millisecond))
	return nil
}

// duplicates sends a task's message again while it runs, and after its end.
func duplicates(ctx context.Context, s *stage) error {
	t, err := s.post(ctx, time.Second)
	if err != nil {
		return err
	}
	s.until(ctx, func() bool { return s.runs(t) > 0 })
	again := func() error {
		for range 3 {
			if err := s.publish(ctx, t); err != nil {
				return err
			}
		}
		return nil
	}
	if err := again(); err != nil {
		return err
	}
	s.done(ctx, t)
	if err := again(); err != nil {
		return err
	}
	// A task behind them: once it is done, they were received.
	next, err := s.post(ctx, 0)
	if err != nil {
		return err
	}
	_, _ = s.done(ctx, next)
	ok, seen := s.done(ctx, t)
	s.report("runs no duplicate", "six more messages of a task, during its run and afterwards, run nothing", ok, "%s", seen)
	return nil
}

// judged ends an attempt while its handler runs, as the manager of a successor or a
// removal does.
func judged(ctx context.Context, s *stage) error {
	t, err := s.post(ctx, time.Second)
	if err != nil {
		return err
	}
	s.until(ctx, func() bool { return s.runs(t) > 0 })
	_, err = s.store.Attempts.FinishAttempts(ctx, []ledger.End{{
		ResultKey: tasker.ResultKey{TaskID: t.ID, Endpoint: s.cfg.Endpoint}, Attempt: 1, State: tasker.ResultFailed,
		Errnr: tasker.ErrnrInterrupted, Errmsg: "ended by the check",
	}})
	if err != nil {
		return err
	}
	s.until(ctx, func() bool { return len(s.finishes(t)) > 0 })
	next, err := s.post(ctx, 0)
	if err != nil {
		return err
	}
	goesOn, seen := s.done(ctx, next)
	list := s.finishes(t)
	s.report("takes false for an answer", "an end that comes too late is sent until it is answered, with done false, and then forgotten",
		goesOn && len(list) == 1 && s.runs(t) == 1, "%d finishes, %d runs; the next task: %s", len(list), s.runs(t), seen)
	return nil
}

// wrongMessages sends messages that must become dead letters.
func wrongMessages(ctx context.Context, s *stage) error {
	message := func(v int, id int64, taskType string) []byte {
		return fmt.Appendf(nil,
			`{"v":%d,"task_id":%d,"identifier":"x","type":%q,"payload":null,"start_time":"2026-05-06T01:14:24Z"}`, v, id, taskType)
	}
	for _, wrong := range []struct {
		what string
		body []byte
	}{
		{"no JSON", []byte("hello")},
		{"an unknown version", message(99, firstID, s.cfg.TaskType)},
		{"another type", message(1, firstID, s.cfg.TaskType+"-other")},
		{"a task that is not stored", message(1, firstID-1, s.cfg.TaskType)},
	} {
		if err := s.send(ctx, wrong.body); err != nil {
			return err
		}
		s.until(ctx, func() bool { return len(s.lettersOf(wrong.body)) > 0 })
		list := s.lettersOf(wrong.body)
		seen := "no letter"
		if len(list) > 0 {
			seen = fmt.Sprintf("%d letter, reason %q, from %s", len(list), list[0].Reason, list[0].Queue)
		}
		s.report("dead-letters "+wrong.what, "the message in tasker.dead, with a reason and its queue",
			len(list) == 1 && list[0].Reason != "" && list[0].Queue == s.queue().Name(), "%s", seen)
	}
	t, err := s.post(ctx, 0)
	if err != nil {
		return err
	}
	ok, seen := s.done(ctx, t)
	s.report("goes on after wrong messages", "the next task runs", ok, "%s", seen)
	return nil
}
