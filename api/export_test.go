package api

import (
	"cmp"
	"context"
	"net/http"
	"time"
)

// Operations gives every method of every route, for tests that walk them all.
func (s *Server) Operations() map[string][]string {
	operations := make(map[string][]string)
	for _, rt := range s.routes() {
		for method := range rt.methods {
			operations[rt.path] = append(operations[rt.path], method)
		}
	}
	return operations
}

// Wrap puts the server's middleware around a handler of a test.
func (s *Server) Wrap(h http.Handler) http.Handler { return s.middleware(h) }

// The limits that tests use.
const (
	MaxPage        = maxPage
	MaxFieldErrors = maxFieldErrors
)

// SetPatience sets how long requests wait for others.
func (s *Server) SetPatience(d time.Duration) {
	s.posts.patience, s.gets.patience, s.reads.patience = d, d, d
}

// TakeReads takes all the room that GETs have for payloads, until leave is
// called. It waits for those that give theirs back, however short the patience
// of requests is: an answer is read before its handler returns.
func (s *Server) TakeReads(ctx context.Context) (leave func(), err error) {
	if err := s.reads.free.Acquire(ctx, s.reads.limit); err != nil {
		return nil, err
	}
	return func() { s.reads.free.Release(s.reads.limit) }, nil
}

// Posts tells how many POSTs are worked on and how many wait.
func (s *Server) Posts() (working, waiting int) { return len(s.posts.places), len(s.posts.queue) }

// StreamSettings are those of streams that tests change.
type StreamSettings struct {
	Poll, Pause, Heartbeat, Write, Overlap, Late, LateLook, Patience, Memory time.Duration
	Now                                                                      func() time.Time
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
		{&st.lateLook, next.LateLook},
		{&st.patience, next.Patience},
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

// Streams tells how many streams there are, and whether events are listened to.
func (s *Server) Streams() (streams int, listening bool) {
	h := s.streams.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(s.streams.places), h.stop != nil
}

// SetTimeouts sets those of the HTTP server, before it serves.
func (s *Server) SetTimeouts(read, write time.Duration) {
	s.http.ReadTimeout, s.http.WriteTimeout = read, write
}

// Hints tells how many changes wait for streams of all tasks.
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
