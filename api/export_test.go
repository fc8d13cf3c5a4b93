package api

import (
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
func (s *Server) SetPatience(d time.Duration) { s.posts.patience, s.gets.patience = d, d }

// Posts tells how many POSTs are worked on and how many wait.
func (s *Server) Posts() (working, waiting int) { return len(s.posts.places), len(s.posts.queue) }
