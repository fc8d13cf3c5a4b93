package reconcile

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/choice"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// Schedule are the SCHEDULED tasks; see internal/store.
type Schedule interface {
	NextStart(ctx context.Context) (next time.Time, ok bool, err error)
	StartDue(ctx context.Context, limit int, lease time.Duration) (started, choosing []tasker.Task, err error)
	StartChosen(ctx context.Context, claimed tasker.Task, endpoints []string, chosen int) (task tasker.Task, started bool, err error)
	FailScheduled(ctx context.Context, claimed tasker.Task, reason string) (failed bool, err error)
	Now() time.Time
}

// starter starts SCHEDULED tasks when they are due, and sends them. Every process
// does: it knows when the next one is due, sleeps until then, and wakes up earlier
// when its own API accepts an earlier one, or once a second to find those that other
// processes accepted. The database decides which process starts a task.
//
// What a process that dies has started is sent by the relay of any other one; what
// it was choosing endpoints for is chosen again.
type starter struct {
	store      Schedule
	chooser    choice.Chooser
	dispatcher Dispatcher
	delay      observe.Histogram // from the time to start until the task is started
	log        *slog.Logger

	sending  chan struct{} // slots for tasks that are being sent
	choosing chan struct{} // slots for tasks whose endpoints are being chosen
	wake     signal.Signal

	mu   sync.Mutex
	next time.Time // until then the loop sleeps; zero while it works
}

const (
	// startPage is how many tasks are started at once, and startPages how many
	// times in one run of the loop.
	startPage, startPages = 100, 50
	// maxSending bounds the tasks that the loop sends at the same time, so that
	// thousands that are due together leave room for those that clients create.
	maxSending = 64
	// maxChoosing bounds the tasks whose endpoints are chosen at the same time: each
	// reads the whole fleet.
	maxChoosing = 4
	// chooseLease is how long a task waits if the process that chooses its endpoints
	// dies, or cannot reach the database.
	chooseLease = 15 * time.Second
	// startPeriod is how often the loop looks for tasks that other processes
	// accepted. Whatever is accepted that much ahead starts on time.
	startPeriod = time.Second
)

func newStarter(store Schedule, chooser choice.Chooser, dispatcher Dispatcher, delay observe.Histogram, log *slog.Logger) *starter {
	return &starter{
		store: store, chooser: chooser, dispatcher: dispatcher, delay: delay, log: log,
		sending: make(chan struct{}, maxSending), choosing: make(chan struct{}, maxChoosing), wake: signal.New(),
	}
}

// loop returns the loop, which is to be followed by wait.
func (s *starter) loop() loop {
	return loop{name: "start", period: startPeriod, runOnce: s.runOnce, pause: s.pause}
}

// expect tells that a task is due at a time.
func (s *starter) expect(start time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if start.Before(s.next) {
		s.wake.Raise()
	}
}

// pause sleeps until the next task is due, or for a second. A task that is stored
// after the loop has looked, and expected before it sleeps, wakes it.
func (s *starter) pause(ctx context.Context) {
	timer := time.NewTimer(s.until())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.wake:
	case <-ctx.Done():
	}
}

// until returns how long the loop sleeps.
func (s *starter) until() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, s.next.Sub(s.store.Now()))
}

// sleepUntil sets until when the loop sleeps.
func (s *starter) sleepUntil(next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
}

func (s *starter) runOnce(ctx context.Context) error {
	// Until the next look, anything that is accepted is earlier.
	s.sleepUntil(s.store.Now().Add(clock.Around(startPeriod)))
	for range startPages {
		started, choosing, err := s.store.StartDue(ctx, startPage, chooseLease)
		if err != nil {
			return err
		}
		for _, task := range started {
			s.send(ctx, task)
		}
		for _, task := range choosing {
			s.choose(ctx, task)
		}
		if len(started)+len(choosing) == 0 || ctx.Err() != nil {
			break
		}
	}
	next, ok, err := s.store.NextStart(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok && next.Before(s.next) {
		s.next = next
	}
	return err
}

// send sends a task in the background, as the API sends one that it accepts, once
// there is a slot. What fails is sent by the relay.
func (s *starter) send(ctx context.Context, task tasker.Task) {
	s.delay.Observe(task.LastModifiedTime.Sub(task.StartTime))
	s.sending <- struct{}{}
	go func() {
		defer func() { <-s.sending }()
		if _, err := s.dispatcher.Dispatch(ctx, task); err != nil {
			s.log.WarnContext(ctx, "task started but not sent: the relay will send it",
				"err", err, "task_id", task.ID, "type", task.Type, "identifier", task.Identifier)
		}
	}()
}

// choose chooses the endpoints of a task in the background, and then sends it, once
// there is a slot.
func (s *starter) choose(ctx context.Context, task tasker.Task) {
	s.choosing <- struct{}{}
	go func() {
		defer func() { <-s.choosing }()
		// The run of the loop that found it may be over, and its context with it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), chooseLease)
		defer cancel()
		if err := s.startChosen(ctx, task); err != nil {
			s.log.WarnContext(ctx, "could not choose the endpoints of a task: it is tried again",
				"err", err, "task_id", task.ID, "type", task.Type, "identifier", task.Identifier, "pause", chooseLease)
		}
	}()
}

// startChosen starts a task for the endpoints that are chosen now, or ends it if
// they are not those that were asked for, or its topic does not allow it to start.
func (s *starter) startChosen(ctx context.Context, task tasker.Task) error {
	request, err := choice.RequestOf(&task)
	if err != nil {
		return err
	}
	chosen, err := s.chooser.Choose(ctx, request)
	if err == nil && task.Plan != "" && task.Plan != choice.Digest(&task, chosen.Names) {
		err = tasker.FieldErrorf("/plan", "task is not as planned: its endpoints are others by now")
	}
	var endpoints []string
	if request.Frozen() {
		endpoints = chosen.Names
	}
	if err == nil {
		aimed := task
		if endpoints != nil {
			aimed.Endpoints = endpoints
		}
		err = s.dispatcher.Check(ctx, aimed)
	}
	var begun tasker.Task
	var started bool
	if err == nil {
		begun, started, err = s.store.StartChosen(ctx, task, endpoints, chosen.Chosen)
	}
	switch tasker.CodeOf(err) {
	case tasker.Invalid, tasker.TooLarge, tasker.Conflict:
		failed, storing := s.store.FailScheduled(ctx, task, "not started: "+err.Error())
		if failed {
			s.log.WarnContext(ctx, "task not started: it has failed",
				"err", err, "task_id", task.ID, "type", task.Type, "identifier", task.Identifier)
		}
		return storing
	}
	if started && err == nil {
		s.send(ctx, begun)
	}
	return err
}

// wait waits until what was started is sent, or left to the relay. The loop must not
// run.
func (s *starter) wait() {
	for _, slots := range []chan struct{}{s.choosing, s.sending} {
		for range cap(slots) {
			slots <- struct{}{}
		}
		for range cap(slots) {
			<-slots
		}
	}
}
