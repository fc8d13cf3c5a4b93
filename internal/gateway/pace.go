package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/fleetsize"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// baseHeartbeat is the time between two heartbeats of an endpoint in a fleet of a
	// hundred; see [fleetsize.Counter.Factor]. In a smaller one the shortest counts.
	baseHeartbeat = 2 * time.Second
	// maxHeartbeat bounds the time between two heartbeats of an endpoint.
	maxHeartbeat = 30 * time.Second
	// leaseBeats is the length of a lease in heartbeats, at least.
	leaseBeats = 4
	// maxLease bounds the lease that a manager may wish.
	maxLease = time.Hour
	// fleetPeriod is the time between two counts of the fleet.
	fleetPeriod = 10 * time.Second
)

// fleet knows how often the endpoints shall heartbeat.
type fleet struct {
	size     *fleetsize.Counter
	shortest time.Duration
	log      *slog.Logger
}

// run counts the endpoints until ctx ends.
func (f *fleet) run(ctx context.Context) {
	for ctx.Err() == nil {
		f.count(ctx)
		_ = clock.Sleep(ctx, clock.Around(fleetPeriod))
	}
}

func (f *fleet) count(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := f.size.Count(limited, 0); err != nil {
		f.log.DebugContext(ctx, "could not count the endpoints", "err", err)
	}
}

// heartbeat returns the time between two heartbeats of an endpoint.
func (f *fleet) heartbeat() time.Duration {
	return max(f.shortest, min(time.Duration(f.size.Factor()*float64(baseHeartbeat)), maxHeartbeat))
}

// grant returns the lease for a manager that wishes one of a length.
func (f *fleet) grant(wishMS int64) (protocol.Granted, time.Duration) {
	heartbeat := f.heartbeat()
	lease := max(leaseBeats*heartbeat, min(protocol.Duration(wishMS), maxLease))
	return protocol.Granted{LeaseMS: protocol.Milliseconds(lease), HeartbeatMS: protocol.Milliseconds(heartbeat)}, lease
}

// pace is what the server granted last.
type pace struct {
	mu               sync.Mutex
	heartbeat, lease time.Duration
}

// set takes what the server granted to all endpoints of a manager: the shortest
// counts.
func (p *pace) set(granted []protocol.Granted) {
	if len(granted) == 0 {
		return
	}
	first := granted[0]
	for _, g := range granted[1:] {
		first.HeartbeatMS, first.LeaseMS = min(first.HeartbeatMS, g.HeartbeatMS), min(first.LeaseMS, g.LeaseMS)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heartbeat, p.lease = protocol.Duration(first.HeartbeatMS), protocol.Duration(first.LeaseMS)
}

func (p *pace) last() (heartbeat, lease time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heartbeat, p.lease, p.lease > 0
}
