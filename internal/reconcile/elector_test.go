package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker"
)

// fakeLeases is one lease, by the local clock.
type fakeLeases struct {
	mu     sync.Mutex
	holder string
	until  time.Time
	away   bool
}

func (f *fakeLeases) TakeLease(_ context.Context, _, holder string, length time.Duration) (held bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return false, errAway
	}
	if f.holder != holder && f.until.After(time.Now()) {
		return false, nil
	}
	f.holder, f.until = holder, time.Now().Add(length)
	return true, nil
}

func (f *fakeLeases) ReleaseLease(_ context.Context, _, holder string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holder == holder {
		f.until = time.Now()
	}
	return nil
}

func (f *fakeLeases) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// process is an API process that takes part in the election.
type process struct {
	mu       sync.Mutex
	leads    bool
	cause    error // why it led no longer
	observed []error
	stop     func() // waits until it has stopped
}

func (f *fakeLeases) process(t *testing.T, holder string) *process {
	p := &process{}
	e := &elector{leases: f, holder: holder, log: slog.New(slog.DiscardHandler), observe: func(err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.observed = append(p.observed, err)
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.run(ctx, func(ctx context.Context) {
			p.set(true, nil)
			<-ctx.Done()
			p.set(false, context.Cause(ctx))
		})
	}()
	p.stop = func() { cancel(); <-ended }
	t.Cleanup(p.stop)
	return p
}

func (p *process) set(leads bool, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leads, p.cause = leads, cause
}

func (p *process) leading() (leads bool, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leads, p.cause
}

func leaders(processes ...*process) []bool {
	synctest.Wait()
	list := make([]bool, len(processes))
	for i, p := range processes {
		list[i], _ = p.leading()
	}
	return list
}

func wantLeaders(t *testing.T, processes []*process, want ...bool) {
	t.Helper()
	for i, leads := range leaders(processes...) {
		if leads != want[i] {
			t.Fatalf("process %d leads: %v, want %v", i, leads, want[i])
		}
	}
}

// One process leads, for as long as it lives, however long its steps take. When
// it stops, another one leads a moment later.
func TestOneProcessLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := &fakeLeases{}
		processes := []*process{leases.process(t, "a")}
		wantLeaders(t, processes, true)
		processes = append(processes, leases.process(t, "b"))
		for range 100 {
			time.Sleep(leaseLength / 2)
			wantLeaders(t, processes, true, false)
		}
		processes[0].stop()
		time.Sleep(leasePause)
		wantLeaders(t, processes, false, true)
	})
}

// If the leader dies, another one leads when its lease has ended. If it lives
// after all, it finds out at its next attempt to renew.
func TestDeadLeaderIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := &fakeLeases{holder: "dead", until: time.Now().Add(leaseLength)}
		processes := []*process{leases.process(t, "a")}
		time.Sleep(leaseLength - time.Millisecond)
		wantLeaders(t, processes, false)
		time.Sleep(leasePause)
		wantLeaders(t, processes, true)

		leases.set(func() { leases.holder, leases.until = "other", time.Now().Add(leaseLength) })
		time.Sleep(leasePause)
		wantLeaders(t, processes, false)
		if _, cause := processes[0].leading(); !errors.Is(cause, errLeaseLost) {
			t.Errorf("the loops ended because of %v", cause)
		}
	})
}

// A leader that cannot renew leads until its lease ends, and no longer; and every
// process notes that the database does not answer.
func TestLeaderWithoutTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := &fakeLeases{}
		processes := []*process{leases.process(t, "a")}
		wantLeaders(t, processes, true)
		leases.set(func() { leases.away = true })
		time.Sleep(leaseLength - time.Millisecond)
		wantLeaders(t, processes, true)
		time.Sleep(2 * time.Millisecond)
		wantLeaders(t, processes, false)
		leases.set(func() { leases.away = false })
		time.Sleep(leasePause)
		wantLeaders(t, processes, true)
		if seen := processes[0].observed; seen[0] != nil || !errors.Is(seen[1], errAway) || seen[len(seen)-1] != nil {
			t.Errorf("it observed %v", seen)
		}
	})
}

// TestLeaseEndsWithTheProcess: the loops of a real reconciler run with the lease
// in the database, and another process can take it as soon as that one has
// stopped.
func TestLeaseEndsWithTheProcess(t *testing.T) {
	w := newWorld(t)
	const other = "01BBBBBBBBBBBBBBBBBBBBBBBB"
	take := func() bool { // for a moment
		held, err := w.TakeLease(t.Context(), leaseName, other, leaseLength)
		if err == nil {
			err = w.ReleaseLease(t.Context(), leaseName, other)
		}
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		New(Config{}, w.parts(), w.broker, w.dispatcher(), w.log).Run(ctx)
	}()
	w.until("the process to hold the lease", func() bool { return !take() })
	cancel()
	<-ended
	if !take() {
		t.Error("the lease is still held")
	}
}

// TestSilenceIsHeardByAll: a process that is elected marks an endpoint as lost as
// soon as the one before would have.
func TestSilenceIsHeardByAll(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task := w.send("one", "console1")
	w.receive(task, "console1")
	first, second := w.lost(), w.lost()
	for range 6 {
		w.run(first.runOnce)
		second.observe(nil)
		w.clock.advance(lostAfter / 6)
	}
	w.clock.advance(time.Microsecond)
	w.run(second.runOnce)
	w.expect(tasker.Incomplete, task)
}
