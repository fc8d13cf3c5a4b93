package gateway

import (
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/gateway/protocol"
)

// leaseBeats is the length of a lease in heartbeats, at least.
const leaseBeats = 4

// grant returns the lease for a manager that wishes one of a length.
func (s *Server) grant(wishMS int64) (protocol.Granted, time.Duration) {
	heartbeat := s.cfg.Heartbeat
	lease := max(leaseBeats*heartbeat, min(protocol.Duration(wishMS), maxLease))
	return protocol.Granted{LeaseMS: protocol.Milliseconds(lease), HeartbeatMS: protocol.Milliseconds(heartbeat)}, lease
}

// maxLease bounds the lease that a manager may wish.
const maxLease = time.Hour

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
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heartbeat, p.lease = 0, 0
	for i, g := range granted {
		heartbeat, lease := protocol.Duration(g.HeartbeatMS), protocol.Duration(g.LeaseMS)
		if i == 0 || heartbeat < p.heartbeat {
			p.heartbeat = heartbeat
		}
		if i == 0 || lease < p.lease {
			p.lease = lease
		}
	}
}

func (p *pace) last() (heartbeat, lease time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heartbeat, p.lease, p.lease > 0
}
