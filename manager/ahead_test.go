package manager

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/livefeed"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/batch"
)

// giving is a blocking runner that notes what is given back and what is started, and
// answers when the test says.
type giving struct {
	*blocking
	given   chan []int64
	answers chan givenBack
	started chan int64 // by start, and not by run
}

type givenBack struct {
	returned bool
	err      error
}

func newGiving() *giving {
	return &giving{newBlocking(), make(chan []int64, 100), make(chan givenBack), make(chan int64, 100)}
}

func (g *giving) giveBack(work []ledger.Work) ([]bool, error) {
	list := make([]int64, len(work))
	for i := range work {
		list[i] = work[i].Task.ID
		if work[i].Attempt != 1 {
			panic("an attempt that is not the first one")
		}
	}
	g.given <- list
	a := <-g.answers
	return slices.Repeat([]bool{a.returned}, len(work)), a.err
}

func (g *giving) start(taking, running context.Context, j job) followUp {
	if j.Attempt != 0 {
		panic("a start of another attempt than the first one")
	}
	g.started <- j.Task.ID
	return g.run(taking, running, j)
}

// drain returns what a channel has when nothing happens any more.
func drain[T any](c chan T) (list []T) {
	synctest.Wait()
	for {
		select {
		case one := <-c:
			list = append(list, one)
		default:
			return list
		}
	}
}

// turnOver has a pool take its runs for very brief.
func turnOver(p *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turnover.average, p.turnover.last = time.Millisecond, time.Now()
}

// aheadOf returns a pool whose slots are taken by the first tasks, with others ahead
// of them: those up to n have arrived, and are recorded by one statement.
func aheadOf(t *testing.T, g *giving, slots int, n int64) *pool {
	t.Helper()
	p := poolOf(g, slots)
	turnOver(p)
	record(t, p, tasker.Running, ids(0, n)...)
	if begun := drain(g.begun); len(begun) != slots || p.busy() != slots {
		t.Fatalf("begun %v, %d slots taken", begun, p.busy())
	}
	return p
}

// record has tasks arrive and recorded by one statement, all in one state.
func record(t *testing.T, p *pool, state tasker.ResultState, tasks ...int64) {
	t.Helper()
	claims := make([]*claim, len(tasks))
	for i, id := range tasks {
		var in ledger.Incoming
		in, claims[i] = p.acquire(wire.Task{TaskID: id, Identifier: "one", Type: "job"}, false)
		if in.State != state {
			t.Fatalf("task %d is recorded as %s, want %s", id, in.State, state)
		}
	}
	for i, id := range tasks {
		p.onRecorded(t.Context(), state, ledger.Recording{Task: tasker.Task{ID: id, Type: "job"}}, claims[i])
	}
}

// fed runs the feeder of a pool, for which the database has nothing, until the test
// ends.
func fed(t *testing.T, p *pool) {
	f := &feeder{pool: p, database: nothing{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.run(ctx, t.Context()); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

// endAll ends runs one after the other, and checks that one task begins after each, in
// order.
func (g *giving) endAll(t *testing.T, p *pool, next ...int64) {
	t.Helper()
	slots := p.bound().Concurrency
	for _, id := range next {
		g.end <- followUp{}
		if begun := drain(g.begun); !slices.Equal(begun, []int64{id}) || p.busy() != slots {
			t.Errorf("begun %v, want %d; %d slots taken", begun, id, p.busy())
		}
	}
	for range slots {
		g.end <- followUp{}
	}
	if !isIdle(p) || p.busy() != 0 || len(g.begun) > 0 || len(p.active) > 0 {
		t.Errorf("in the end %d slots are taken, and %d begun", p.busy(), len(g.begun))
	}
}

// Tasks that are ahead of a slot start in the order of their arrival, before what
// waits, and never more at once than there are slots.
func TestAheadStartsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGiving()
		p := aheadOf(t, g, 2, 10)
		record(t, p, tasker.Received, 10, 11)
		g.endAll(t, p, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
		if started := drain(g.started); !slices.Equal(started, []int64{10, 11}) {
			t.Errorf("started %v: the others were counted when they were recorded", started)
		}
		if given := drain(g.given); len(given) > 0 {
			t.Errorf("given back: %v", given)
		}
	})
}

// A slot that becomes free while tasks are being recorded is for those that are ahead
// of it, not for the next one that arrives.
func TestAheadKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGiving()
		p := aheadOf(t, g, 1, 1)
		claims := make([]*claim, 3)
		for id := range int64(3) {
			if id == 1 {
				g.end <- followUp{}
				synctest.Wait()
			}
			_, claims[id] = p.acquire(wire.Task{TaskID: id + 1}, false)
		}
		for i, c := range claims {
			p.onRecorded(t.Context(), tasker.Running, ledger.Recording{Task: tasker.Task{ID: int64(i) + 1, Type: "job"}}, c)
		}
		if begun := drain(g.begun); !slices.Equal(begun, []int64{1}) {
			t.Errorf("begun %v", begun)
		}
		g.endAll(t, p, 2, 3)
	})
}

// Nothing is recorded ahead of a slot where that might last, or be out of order.
func TestAheadWhereSlotsTurnOver(t *testing.T) {
	for name, test := range map[string]struct {
		slots int
		n     int64 // that are recorded as RUNNING
		but   func(p *pool)
	}{
		"one slot":          {1, 5, nil},
		"many slots":        {8, 24, nil},
		"long runs":         {2, 2, func(p *pool) { p.turnover.average = aheadRun + 1 }},
		"no run yet":        {2, 2, func(p *pool) { p.turnover.average = 0 }},
		"no slot for long":  {2, 2, func(p *pool) { p.turnover.last = time.Now().Add(-aheadWait) }},
		"something waits":   {2, 0, func(p *pool) { p.waiting = []ledger.Work{{}} }},
		"the feeder reads":  {2, 0, func(p *pool) { p.refilling = true }},
		"more in the store": {2, 0, func(p *pool) { p.behind = true }},
		"paused":            {2, 0, func(p *pool) { p.paused = true }},
		"not supported":     {2, 2, func(p *pool) { p.ahead.unsupported = true }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := poolOf(newGiving(), test.slots)
				turnOver(p)
				if test.but != nil {
					test.but(p)
				}
				var claims []*claim
				for id := range int64(30) {
					if in, c := p.acquire(wire.Task{TaskID: id}, false); in.State == tasker.Running {
						claims = append(claims, c)
					}
				}
				if int64(len(claims)) != test.n {
					t.Errorf("%d are recorded as RUNNING, want %d", len(claims), test.n)
				}
				p.waiting = nil
				for _, c := range claims {
					p.release(t.Context(), c)
				}
				if p.busy() != 0 || p.ahead.claimed != 0 {
					t.Errorf("%d slots and %d places are not released", p.busy(), p.ahead.claimed)
				}
			})
		})
	}
}

// The places ahead are filled together, once half of the tasks there have begun.
func TestAheadIsFilledTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGiving()
		p := aheadOf(t, g, 2, 10)
		for range 3 {
			turnOver(p)
			if in, _ := p.acquire(wire.Task{TaskID: 20}, true); in.State != "" {
				t.Fatalf("%d are ahead, and another one is %q", len(p.ahead.tasks), in.State)
			}
			g.end <- followUp{}
			synctest.Wait()
			if len(p.turnover.freed) != 0 {
				t.Fatalf("%d are ahead, and the recorder is asked for more", len(p.ahead.tasks))
			}
		}
		g.end <- followUp{}
		synctest.Wait()
		if len(p.turnover.freed) != 1 {
			t.Error("the recorder is not asked for more")
		}
		turnOver(p)
		record(t, p, tasker.Running, 10, 11, 12, 13)
		record(t, p, tasker.Received, 14)
		drain(g.begun)
		g.endAll(t, p, 6, 7, 8, 9, 10, 11, 12, 13, 14)
	})
}

// What has not begun after a while is given back, together. Until that is known,
// nothing starts; then it runs once, before what came later.
func TestAheadIsGivenBack(t *testing.T) {
	for name, answer := range map[string]givenBack{
		"given back":    {returned: true},
		"not":           {returned: false}, // its start asks
		"not supported": {err: tasker.Errorf(tasker.NotFound, "unknown operation")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGiving()
				p := aheadOf(t, g, 1, 3)
				fed(t, p)
				time.Sleep(aheadWait / 2)
				turnOver(p)
				record(t, p, tasker.Running, 3)
				time.Sleep(aheadWait/2 - time.Nanosecond)
				if given := drain(g.given); len(given) > 0 {
					t.Errorf("given back too early: %v", given)
				}
				time.Sleep(time.Nanosecond)
				if given := drain(g.given); len(given) != 1 || !slices.Equal(given[0], []int64{1, 2, 3}) {
					t.Errorf("given back: %v", given)
				}
				turnOver(p)
				record(t, p, tasker.Received, 4)
				g.end <- followUp{}
				if begun := drain(g.begun); len(begun) > 0 || isIdle(p) {
					t.Errorf("begun before the answer: %v", begun)
				}
				g.answers <- answer
				if begun := drain(g.begun); !slices.Equal(begun, []int64{1}) {
					t.Errorf("begun after the answer: %v", begun)
				}
				if p.ahead.unsupported != (answer.err != nil) {
					t.Errorf("unsupported: %v", p.ahead.unsupported)
				}
				g.endAll(t, p, 2, 3, 4)
				if started := drain(g.started); !slices.Equal(started, []int64{1, 2, 3, 4}) {
					t.Errorf("started %v", started)
				}
			})
		})
	}
}

// Nothing that is ahead starts after a pause, or when its type is gone: it is given
// back at once, even what is recorded just then.
func TestAheadIsGivenBackByAPause(t *testing.T) {
	for name, stop := range map[string]func(p *pool){
		"pause": (*pool).Pause, "removal": func(p *pool) { p.bind(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGiving()
				p := aheadOf(t, g, 1, 3)
				in, c := p.acquire(wire.Task{TaskID: 3, Type: "job"}, false)
				stop(p)
				given := drain(g.given)
				g.end <- followUp{}
				if begun := drain(g.begun); len(begun) > 0 || len(given) != 1 || !slices.Equal(given[0], []int64{1, 2}) {
					t.Fatalf("begun %v, given back %v", begun, given)
				}
				g.answers <- givenBack{returned: true}
				synctest.Wait()
				p.onRecorded(t.Context(), in.State, ledger.Recording{Task: tasker.Task{ID: 3, Type: "job"}}, c)
				given = drain(g.given)
				if begun := drain(g.begun); len(begun) > 0 || len(given) != 1 || !slices.Equal(given[0], []int64{3}) {
					t.Fatalf("begun %v, given back %v", begun, given)
				}
				g.answers <- givenBack{returned: true}
				if !isIdle(p) {
					t.Error("something goes on")
				}
				if name == "pause" {
					fed(t, p)
					p.Resume()
					synctest.Wait()
					if begun := drain(g.begun); !slices.Equal(begun, []int64{1}) {
						t.Errorf("begun after the pause: %v", begun)
					}
					g.endAll(t, p, 2, 3)
				}
			})
		})
	}
}

// A canceled task that is ahead runs with a context that has ended or, if it is given
// back, is dropped like one that waits.
func TestAheadIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGiving()
		p := aheadOf(t, g, 1, 4)
		if !p.Cancel(1, handlers.ErrCanceled) || !p.Cancel(3, handlers.ErrCanceled) {
			t.Error("a task that is ahead is not found")
		}
		g.end <- followUp{}
		if cause := <-g.causes; !errors.Is(cause, handlers.ErrCanceled) {
			t.Errorf("canceled with cause %v", cause)
		}
		if begun := drain(g.begun); !slices.Equal(begun, []int64{1, 2}) {
			t.Errorf("begun %v", begun)
		}
		time.Sleep(aheadWait)
		g.answers <- givenBack{returned: true}
		synctest.Wait()
		if !p.behind || len(p.waiting) > 0 || p.active[3] != nil {
			t.Errorf("behind %v, %d wait", p.behind, len(p.waiting))
		}
		g.endAll(t, p)
	})
}

// A stop lets what is ahead run as slots become free, as long as it waits for runs.
// Then it is given back, or left to the next manager if that is not possible.
func TestAheadDuringAStop(t *testing.T) {
	for name, answer := range map[string]givenBack{"given back": {returned: true}, "left": {err: batch.ErrEnded}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGiving()
				p := aheadOf(t, g, 1, 3) // few enough for another claim
				_, c := p.acquire(wire.Task{TaskID: 5}, false)
				p.suspend()
				g.end <- followUp{}
				if begun := drain(g.begun); !slices.Equal(begun, []int64{1}) {
					t.Errorf("begun during the stop: %v", begun)
				}
				p.cancelAll(handlers.ErrShutdown)
				g.answers <- answer
				if begun := drain(g.begun); len(begun) > 0 || !isIdle(p) || len(p.waiting) > 0 {
					t.Errorf("begun after the stop: %v", begun)
				}
				// One that was being recorded meanwhile.
				p.onRecorded(t.Context(), tasker.Running, ledger.Recording{Task: tasker.Task{ID: 5, Type: "job"}}, c)
				g.answers <- answer
				if begun := drain(g.begun); len(begun) > 0 || !isIdle(p) {
					t.Errorf("begun after the stop: %v", begun)
				}
				if given := drain(g.given); len(given) != 2 || !slices.Equal(given[0], []int64{2}) || !slices.Equal(given[1], []int64{5}) {
					t.Errorf("given back: %v", given)
				}
			})
		})
	}
}

// A task whose recording had no answer asks before it runs, when it has a slot.
func TestAheadAfterALostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGiving()
		p := aheadOf(t, g, 1, 1)
		_, c := p.acquire(wire.Task{TaskID: 1, Type: "job"}, false)
		p.onDuplicate(t.Context(), c, ledger.Recording{
			Outcome: ledger.Duplicate, Task: tasker.Task{ID: 1, Type: "job"}, State: tasker.Running, Attempt: 1, Own: true,
		})
		if begun := drain(g.begun); len(begun) > 0 || p.ahead.claimed != 0 {
			t.Errorf("begun %v", begun)
		}
		g.endAll(t, p, 1)
		if started := drain(g.started); !slices.Equal(started, []int64{1}) {
			t.Errorf("started %v", started)
		}
	})
}

type attempts interface{ Attempts } // without a field of the name of its method

// answering is a store that gives back attempts, with prepared errors.
type answering struct {
	attempts
	errs  []error
	calls [][]ledger.Start
	gate  chan struct{} // of the first call
}

func (a *answering) ReturnAttempts(_ context.Context, starts []ledger.Start) ([]bool, error) {
	a.calls = append(a.calls, starts)
	if len(a.calls) == 1 {
		<-a.gate
	}
	if len(a.errs) > 0 {
		err := a.errs[0]
		a.errs = a.errs[1:]
		return nil, err
	}
	returned := make([]bool, len(starts))
	for i, s := range starts {
		returned[i] = s.TaskID%2 == 0
	}
	return returned, nil
}

// Attempts are given back by few calls, which are repeated until their answer is
// known: as long as an earlier one may still be under way, that the store cannot do
// it is no answer.
func TestGiveBackUntilKnown(t *testing.T) {
	away := tasker.Errorf(tasker.Unavailable, "no answer")
	unknown := tasker.Errorf(tasker.NotFound, "unknown operation")
	for name, test := range map[string]struct {
		errs   []error
		within time.Duration // until the answer
		code   tasker.Code
	}{
		"at once":        {within: time.Millisecond},
		"away":           {errs: []error{away, away, away}, within: time.Second},
		"not supported":  {errs: []error{unknown}, within: time.Millisecond, code: tasker.NotFound},
		"not by another": {errs: []error{away, unknown}, within: time.Second},
		"not supported, it may": {
			errs: append([]error{away}, slices.Repeat([]error{unknown}, 50)...), within: 30 * time.Second, code: tasker.NotFound,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := slog.New(slog.DiscardHandler)
				s := &answering{errs: test.errs, gate: make(chan struct{})}
				r := newRunner(runner{attempts: s, db: &database{log: log}, log: log, manager: "m", events: livefeed.New(nothing{}.Notify, log)})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { r.returns.Run(ctx); close(done) }()
				synctest.Wait()
				begin := time.Now()
				results := make(chan error, 3)
				give := func(ids ...int64) {
					var work []ledger.Work
					for _, id := range ids {
						work = append(work, ledger.Work{Task: tasker.Task{ID: id}, Endpoint: "a", Attempt: 1})
					}
					returned, err := r.giveBack(work)
					for i, ok := range returned {
						if ok != (ids[i]%2 == 0) {
							t.Errorf("task %d: %v", ids[i], ok)
						}
					}
					results <- err
				}
				go give(1, 2)
				synctest.Wait()
				go give(3, 4, 5)
				go give(6)
				synctest.Wait()
				close(s.gate)
				if err := <-results; tasker.CodeOf(err) != test.code {
					t.Errorf("the first: %v", err)
				}
				if took := time.Since(begin); took > test.within || test.within > callTimeout && took < callTimeout {
					t.Errorf("took %v", took)
				}
				for range 2 {
					if err := <-results; err != nil && tasker.CodeOf(err) != test.code {
						t.Error(err)
					}
				}
				if last := s.calls[len(s.calls)-1]; len(last) != 4 || last[0].Manager != "m" || last[0].Attempt != 1 {
					t.Errorf("the last call: %+v", last)
				}
				cancel()
				<-done
				go give(7)
				if err := <-results; !errors.Is(err, batch.ErrEnded) {
					t.Errorf("after the end: %v", err)
				}
			})
		})
	}
}
