package api

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/taskerhq/tasker/internal/observe"
)

// Operations returns the methods of every path, for tests that walk them all.
func (s *Server) Operations() map[string][]string {
	operations := make(map[string][]string)
	for _, r := range s.router.routes {
		operations[r.path] = append(operations[r.path], r.method)
	}
	return operations
}

// Wrap puts the server's middleware around a handler of a test.
func (s *Server) Wrap(h http.Handler) http.Handler {
	return newMiddleware(s.cfg, s.auth, s.router.problems, s.router.open(), observe.APIMetrics{}).wrap(h)
}

// ErrorLog is the log of what net/http says.
var ErrorLog = errorLog

// The limits that tests use.
const (
	MaxPage        = maxPage
	MaxFieldErrors = maxFieldErrors
)

// SetMaxWait sets how long requests wait for others.
func (s *Server) SetMaxWait(d time.Duration) {
	s.limits.writes.wait, s.limits.reads.wait, s.limits.payloads.wait = d, d, d
}

// TakePayloads takes all the memory that GETs have for payloads, until release is
// called. It waits for requests that still hold some, however short their own
// wait is: a response is read before its handler returns.
func (s *Server) TakePayloads(ctx context.Context) (release func(), err error) {
	payloads := s.limits.payloads
	if err := payloads.free.Acquire(ctx, payloads.limit); err != nil {
		return nil, err
	}
	return func() { payloads.free.Release(payloads.limit) }, nil
}

// Posts returns how many POSTs run and how many wait.
func (s *Server) Posts() (running, waiting int) {
	return len(s.limits.writes.slots), len(s.limits.writes.queue)
}

// StreamSettings are those of streams that tests change.
type StreamSettings struct {
	Poll, Pause, Heartbeat, Write, Overlap, Late, LateScan, LogWait, Memory time.Duration
	Now                                                                     func() time.Time
}

// SetStreams changes the settings that are not zero.
func (s *Server) SetStreams(next StreamSettings) {
	st := &s.streams.streamSettings
	for _, d := range []struct {
		to *time.Duration
		d  time.Duration
	}{
		{&st.poll, next.Poll},
		{&st.pause, next.Pause},
		{&st.heartbeat, next.Heartbeat},
		{&st.write, next.Write},
		{&st.overlap, next.Overlap},
		{&st.late, cmp.Or(next.Late, next.Overlap)},
		{&st.lateScan, next.LateScan},
		{&st.logWait, next.LogWait},
		{&st.memory, next.Memory},
	} {
		if d.d != 0 {
			*d.to = d.d
		}
	}
	if next.Now != nil {
		st.now = next.Now
	}
}

// Streams returns how many streams there are, and whether the hub is subscribed.
func (s *Server) Streams() (streams int, listening bool) {
	h := s.streams.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(s.streams.slots), h.stop != nil
}

// SetTimeouts sets those of the HTTP server, before it serves.
func (s *Server) SetTimeouts(read, write time.Duration) {
	s.http.ReadTimeout, s.http.WriteTimeout = read, write
}

// Hints returns how many changes are pending for streams of all tasks.
func (s *Server) Hints() (changes, leftOut int) {
	h := s.streams.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for hints := range h.all {
		hints.mu.Lock()
		changes, leftOut = changes+len(hints.order), leftOut+hints.leftOut
		hints.mu.Unlock()
	}
	return changes, leftOut
}

// WithoutNeed returns the routes that name no right.
func (s *Server) WithoutNeed() (routes []string) {
	for _, r := range s.router.routes {
		if r.needs.reach == 0 {
			routes = append(routes, r.method+" "+r.path)
		}
	}
	return routes
}
