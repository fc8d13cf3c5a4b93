// Package gateway lets endpoints work without a database. Its [Server] stands
// beside the database: it knows each endpoint by a token, refuses what is about
// another one, and writes what comes from all of them together. Its [Client]
// implements the interfaces of a manager over it. docs/gateway.md describes both.
package gateway

import (
	"cmp"
	"time"
)

// Config is the limits of a [Server]. Zeros stand for defaults.
type Config struct {
	// MaxBody bounds the body of a request, in bytes: one with the largest result
	// that an endpoint may store must fit.
	MaxBody int64
	// MaxBodies bounds the bodies that are held at once, in bytes.
	MaxBodies int64
	// MaxRequests bounds the requests that are served at once.
	MaxRequests int
	// MaxPerEndpoint bounds those of one endpoint.
	MaxPerEndpoint int
	// Heartbeat is the shortest time between two heartbeats of an endpoint; that
	// of a large fleet is longer. A lease is four times as long at least.
	Heartbeat time.Duration
	// Gather is how long a write waits for more from other endpoints, where more
	// is coming; negative means not at all.
	Gather time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return Config{}.withDefaults() }

func (c Config) withDefaults() Config {
	c.MaxBody = cmp.Or(c.MaxBody, 16<<20)
	c.MaxBodies = cmp.Or(c.MaxBodies, 128<<20)
	c.MaxRequests = cmp.Or(c.MaxRequests, 4096)
	c.MaxPerEndpoint = cmp.Or(c.MaxPerEndpoint, 32)
	c.Gather = cmp.Or(c.Gather, time.Millisecond)
	c.Heartbeat = cmp.Or(c.Heartbeat, 2*time.Second)
	return c
}
