package endpointcheck

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
)

// unrecorded kills the endpoint while its requests to record a message are refused:
// the message must still be in the queue.
func unrecorded(ctx context.Context, s *stage) error {
	const (
		early  = "does not run before the recording"
		acks   = "acknowledges after the recording"
		keeps  = "acknowledges what is recorded"
		others = "does not start what others ended"
	)
	const (
		expectEarly  = "nothing runs while receive is refused"
		expectAcks   = "killed while receive is refused, it leaves the message in its queue"
		expectKeeps  = "no message of a recorded task is left in the queue"
		expectOthers = "start answers false, and the task does not run"
	)
	t, err := s.create(ctx, 0)
	if err != nil {
		return err
	}
	defer s.front.setSpoiler(nil)
	s.front.setSpoiler(func(r *request) fate {
		if r.about(protocol.OpReceive, t.ID) {
			return refuse
		}
		return nil
	})
	if err := s.publish(ctx, t); err != nil {
		return err
	}
	s.until(ctx, func() bool {
		return len(s.front.since(0, func(r *request) bool { return r.about(protocol.OpReceive, t.ID) })) > 1
	})
	s.report(early, expectEarly, s.runs(t) == 0, "%d runs", s.runs(t))
	if s.process == nil {
		s.skip(acks, expectAcks)
		s.skip(keeps, expectKeeps)
		s.skip(others, expectOthers)
		return nil
	}
	if err := s.kill(ctx); err != nil {
		return err
	}
	s.until(ctx, func() bool { messages, _ := s.ready(ctx); return messages > 0 })
	messages, _ := s.ready(ctx)
	s.report(acks, expectAcks, messages > 0, "%d messages in the queue", messages)
	s.report(keeps, expectKeeps, messages <= 1, "%d messages besides", max(messages-1, 0))
	return redelivered(ctx, s, t, others, expectOthers)
}

// redelivered starts the endpoint, for which a message is left, and a result that
// ends before it can be started.
func redelivered(ctx context.Context, s *stage, left task, check, expected string) error {
	ended, err := s.leave(ctx, "check-previous", tasker.Received)
	if err != nil {
		return err
	}
	s.front.setSpoiler(func(r *request) fate {
		if r.about(protocol.OpStart, ended.ID) {
			s.cancel(ctx, ended) // before the gateway has the request
		}
		return nil
	})
	if err := s.start(ctx); err != nil {
		return err
	}
	ok, seen := s.done(ctx, left)
	s.report("runs a redelivered task", "the message is delivered again, and its task runs once", ok, "%s", seen)
	asked := s.until(ctx, func() bool {
		return len(s.front.since(0, func(r *request) bool { return r.about(protocol.OpStart, ended.ID) && r.status != 0 })) > 0
	})
	next, err := s.post(ctx, 0)
	if err != nil {
		return err
	}
	_, _ = s.done(ctx, next)
	s.report(check, expected, asked && s.runs(ended) == 0, "asked: %t, %d runs", asked, s.runs(ended))
	return nil
}

// cancel ends a result that waits.
func (s *stage) cancel(ctx context.Context, t task) {
	_, _ = s.store.Cancels.CancelTask(ctx, tasker.CancelRequest{Type: t.Type, Identifier: t.Identifier, By: "the check"})
}

// killedInARun kills the endpoint in the middle of a run.
func killedInARun(ctx context.Context, s *stage) error {
	const check = "adopts after a kill"
	if s.process == nil {
		s.skip(check, "the next process ends the attempt with errnr -6")
		return nil
	}
	t, err := s.post(ctx, 3*time.Second)
	if err != nil {
		return err
	}
	s.until(ctx, func() bool { return s.runs(t) > 0 })
	before := s.manager()
	if err := s.kill(ctx); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	s.until(ctx, func() bool { return len(s.finishes(t)) > 0 })
	s.interrupted(check, t, 1)
	s.report("has a new manager id", "each process has an id of its own", s.manager() != before, "%q, and before %q", s.manager(), before)
	s.until(ctx, func() bool { return s.result(ctx, t).State.Finished() })
	result := s.result(ctx, t)
	s.report("runs each attempt once", "as many runs as attempts", s.runs(t) == result.Attempt && result.State.Finished(),
		"%d runs, %d attempts, %s", s.runs(t), result.Attempt, result.State)
	return nil
}

// leaseLost tells the endpoint that another manager has taken over.
func leaseLost(ctx context.Context, s *stage) error {
	const check, expected = "stops when the lease is lost", "after held false it exits, or at least starts and receives nothing"
	if s.process == nil {
		s.skip(check, expected)
		return nil
	}
	defer s.front.setSpoiler(nil)
	told := false
	s.front.setSpoiler(func(r *request) fate {
		if r.operation != protocol.OpHeartbeat {
			return nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		told = true
		return notHeld
	})
	s.until(ctx, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return told
	})
	exited := s.until(ctx, s.process.ended)
	mark := s.front.mark()
	t, err := s.post(ctx, 0)
	if err != nil {
		return err
	}
	works := func() bool {
		return len(s.front.since(mark, func(r *request) bool {
			return r.operation == protocol.OpReceive || r.operation == protocol.OpStart
		})) > 0
	}
	if !exited {
		s.until(ctx, works)
	}
	s.report(check, expected, exited || !works(), "exited: %t, worked on: %t", exited, works())
	s.front.setSpoiler(nil)
	if err := s.kill(ctx); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	_, _ = s.done(ctx, t)
	return nil
}

// stopped asks the endpoint to stop while it runs a task.
func stopped(ctx context.Context, s *stage) error {
	const check, expected = "stops in order", "after TERM it ends what runs, releases the lease and exits"
	if s.process == nil {
		s.skip(check, expected)
		return nil
	}
	t, err := s.post(ctx, time.Second)
	if err != nil {
		return err
	}
	s.until(ctx, func() bool { return s.runs(t) > 0 })
	mark := s.front.mark()
	terminate(s.process.cmd)
	exited := s.until(ctx, s.process.ended)
	released := len(s.front.since(mark, func(r *request) bool { return r.operation == protocol.OpRelease })) > 0
	result := s.result(ctx, t)
	s.report(check, expected, exited && released && result.State == tasker.ResultDone,
		"exited: %t, released: %t, the task is %s", exited, released, result.State)
	return nil
}
