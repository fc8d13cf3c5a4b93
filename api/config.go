package api

import "time"

// Config says where the API listens, whom it lets in, and its limits.
type Config struct {
	// Listen is the address without the port; empty means 127.0.0.1. Any
	// address that is not a loopback one needs a Token, or Insecure.
	Listen string
	// Port is the TCP port; 0 takes a free one.
	Port int
	// Token is the bearer token that every route but /healthz asks for; empty
	// means none.
	Token string
	// Insecure allows a non-loopback address without a Token.
	Insecure bool
	// TaskTypes are those that have a route.
	TaskTypes []TaskType
	// WaitForEndpoints is the time in which every expected endpoint should
	// have received a task; 0 means 60 s.
	WaitForEndpoints time.Duration
	// MaxBody bounds a request's body, in bytes; 0 means 1 MiB.
	MaxBody int64
	// ShutdownTimeout is how long requests may go on when the API stops; 0
	// means 15 s.
	ShutdownTimeout time.Duration
	// Version is the program's, shown by /healthz.
	Version string
}

// TaskType is what the API tells of a task type.
type TaskType struct {
	Name        string
	Description string
}
