package manager

import (
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/attempt"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/spool"
)

// expose has the metrics that tell the state of the manager read from its parts.
func (m *Manager) expose(disk *spool.Spool) {
	metrics := m.cfg.Metrics
	metrics.Slots.From(func(report observe.Report) {
		for _, p := range m.pools.all() {
			busy, free, resting := slotsOf(p.pool)
			if resting && busy == 0 {
				continue
			}
			report(float64(busy), p.queue.TaskType, "busy")
			report(float64(free), p.queue.TaskType, "free")
		}
	})
	metrics.Consumer.From(func(report observe.Report) {
		for _, p := range m.pools.all() {
			_, _, resting := slotsOf(p.pool)
			switch {
			case p.consumed.Load():
				report(1, p.queue.TaskType)
			case !resting:
				report(0, p.queue.TaskType)
			}
		}
	})
	metrics.SpoolFiles.From(func(report observe.Report) {
		files, _ := pending(disk, m.cfg.Endpoints)
		report(float64(files))
	})
	metrics.SpoolOldest.From(func(report observe.Report) {
		age := time.Duration(0)
		if _, oldest := pending(disk, m.cfg.Endpoints); !oldest.IsZero() {
			age = max(0, time.Since(oldest))
		}
		report(age.Seconds())
	})
	metrics.Lease.From(func(report observe.Report) { report(m.lease.term.remaining().Seconds()) })
	metrics.LastHeartbeat.From(func(report observe.Report) { report(observe.Seconds(m.lease.term.last())) })
}

// pending returns how many files the spool has for endpoints, and when the oldest
// was written.
func pending(disk *spool.Spool, endpoints []string) (files int, oldest time.Time) {
	if disk == nil {
		return 0, time.Time{}
	}
	for _, endpoint := range endpoints {
		n, first := disk.Pending(endpoint)
		files += n
		if n > 0 && (oldest.IsZero() || first.Before(oldest)) {
			oldest = first
		}
	}
	return files, oldest
}

// slotsOf returns how many slots of a pool are taken, and how many are not. The pool
// of a type that was removed rests, and has no free ones.
func slotsOf(p *pool) (busy, free int, resting bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	busy, free = p.binding.Concurrency-p.free, max(0, p.free)
	if p.retired {
		free = 0
	}
	return busy, free, p.retired
}

// last returns when the last renewal was requested; zero if there was none.
func (t *leaseTerm) last() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.since
}

// remaining returns how long the leases are valid at least.
func (t *leaseTerm) remaining() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		return 0
	}
	return max(0, t.length-time.Since(t.since))
}

// countRun counts a run of a handler. Besides the states of results there are two
// ends: AWAITS_REBOOT, and INTERRUPTED, if the manager stopped the handler.
func countRun(metrics observe.ManagerMetrics, taskType string, state tasker.ResultState, decision attempt.Decision, took time.Duration) {
	switch decision {
	case attempt.AwaitReboot:
		state = "AWAITS_REBOOT"
	case attempt.Leave:
		state = "INTERRUPTED"
	case attempt.Store:
	}
	metrics.RunSeconds.Observe(took, taskType)
	metrics.Runs.Inc(taskType, string(state))
}
