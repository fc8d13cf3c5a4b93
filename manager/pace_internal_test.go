package manager

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pacing grants leases as it likes, and notes the heartbeats.
type pacing struct {
	Endpoints
	mu               sync.Mutex
	heartbeat, lease time.Duration
	beats            []time.Time
	fails            int
}

func (p *pacing) Pace() (heartbeat, lease time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heartbeat, p.lease, p.lease > 0
}

func (p *pacing) Heartbeat(context.Context, string, []string, time.Duration) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beats = append(p.beats, time.Now())
	if p.fails > 0 {
		p.fails--
		return false, context.DeadlineExceeded
	}
	return true, nil
}

// count returns the heartbeats since it was called last.
func (p *pacing) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.beats)
	p.beats = nil
	return n
}

func (p *pacing) set(heartbeat, lease time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heartbeat, p.lease = heartbeat, lease
}

// The heartbeats follow what the store grants, and so does the time for which the
// leases are valid.
func TestHeartbeatsFollowThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pacing{}
		log := slog.New(slog.DiscardHandler)
		l := &lease{
			store: p, pacer: p, db: &database{log: log}, log: log, heartbeat: 2 * time.Second, length: 8 * time.Second, term: newLeaseTerm(),
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.run(ctx, cancel, func() { t.Error("silent") }) }()
		between := func(what string, low, high int) {
			t.Helper()
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			if n := p.count(); n < low || n > high {
				t.Errorf("%s: %d heartbeats in ten minutes, want %d to %d", what, n, low, high)
			}
		}
		between("as configured", 270, 335)
		p.set(20*time.Second, 80*time.Second)
		between("a large fleet", 27, 35)
		expired, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		if err := l.term.await(expired); err != nil {
			t.Errorf("the lease of a large fleet ends early: %v", err)
		}
		p.set(time.Second, 8*time.Second) // shorter than configured
		between("a small fleet", 270, 335)
		p.set(20*time.Second, 10*time.Second) // a lease that is too short for it
		between("a short lease", 108, 135)
		// After a failure the next one comes sooner.
		p.set(20*time.Second, 80*time.Second)
		p.mu.Lock()
		p.fails = 1 << 30
		p.mu.Unlock()
		between("failures", 108, 135)
		cancel(nil)
		<-done
	})
}
