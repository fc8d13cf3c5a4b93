package gateway

import "github.com/taskerhq/tasker/internal/gateway/protocol"

// Requests returns an empty request of each operation.
func (s *Server) Requests() map[string]protocol.Request {
	requests := make(map[string]protocol.Request, len(s.routes))
	for name, route := range s.routes {
		requests[name] = route.new()
	}
	return requests
}

// Waiting returns the number of requests that are being served.
func (s *Server) Waiting() int {
	s.limits.mu.Lock()
	defer s.limits.mu.Unlock()
	return s.limits.served
}

// Batches returns the numbers of batches of arrivals and of ends that were written.
func (s *Server) Batches() (arrivals, ends int64) {
	return s.writers.arrivals.batches.Load(), s.writers.ends.batches.Load()
}
