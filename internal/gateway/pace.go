package gateway

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// beatUnit is the time between two heartbeats of an endpoint, for the square root
	// of the size of the fleet: 2 s for a hundred, 6 s for a thousand, 20 s for ten
	// thousand. So neither the load nor the time until a loss is noticed grows as
	// much as the fleet.
	beatUnit = 200 * time.Millisecond
	// maxHeartbeat bounds the time between two heartbeats of an endpoint.
	maxHeartbeat = 30 * time.Second
	// leaseBeats is the length of a lease in heartbeats, at least.
	leaseBeats = 4
	// maxLease bounds the lease that a manager may wish.
	maxLease = time.Hour
	// fleetPeriod is the time between two counts of the fleet.
	fleetPeriod = 10 * time.Second
	// fleetSeen is how long an endpoint counts after it was seen: those that return
	// after an outage count at once.
	fleetSeen = 15 * time.Minute
)

// fleet knows how many endpoints there are, and how often they shall heartbeat.
type fleet struct {
	endpoints Endpoints
	database  Database
	shortest  time.Duration
	log       *slog.Logger
	size      atomic.Int64
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
	n, err := f.endpoints.CountSeen(limited, f.database.Now().Add(-fleetSeen))
	if err != nil {
		f.log.DebugContext(ctx, "could not count the endpoints", "err", err)
		return
	}
	// After an outage few were seen, but many are about to return.
	if before := f.size.Load(); int64(n) < before/2 {
		n = int(before - before/8)
	}
	f.size.Store(int64(n))
}

// heartbeat returns the time between two heartbeats of an endpoint.
func (f *fleet) heartbeat() time.Duration {
	spread := math.Sqrt(float64(f.size.Load())) * float64(beatUnit)
	return max(f.shortest, min(time.Duration(spread), maxHeartbeat))
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
