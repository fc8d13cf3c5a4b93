package gateway

import (
	"context"

	"github.com/taskerhq/tasker/internal/gateway/protocol"
)

// route is an operation: how its request is made, and how it is served once the
// caller is permitted to make it.
type route struct {
	new   func() protocol.Request
	serve func(ctx context.Context, request protocol.Request) (any, error)
}

// routeOf returns the route of an operation on requests of type R.
func routeOf[R any, P interface {
	*R
	protocol.Request
}, A any](serve func(ctx context.Context, request P) (A, error)) route {
	return route{
		new: func() protocol.Request { return P(new(R)) },
		serve: func(ctx context.Context, request protocol.Request) (any, error) {
			return serve(ctx, request.(P))
		},
	}
}

// operations returns the table of all operations.
func (s *Server) operations() map[string]route {
	return map[string]route{
		protocol.OpRegister:    routeOf(s.register),
		protocol.OpHeartbeat:   routeOf(s.heartbeat),
		protocol.OpRelease:     routeOf(s.release),
		protocol.OpForget:      routeOf(s.forget),
		protocol.OpReturn:      routeOf(s.returnFromLost),
		protocol.OpReceive:     routeOf(s.receive),
		protocol.OpUnreceived:  routeOf(s.unreceived),
		protocol.OpPayload:     routeOf(s.payload),
		protocol.OpStart:       routeOf(s.start),
		protocol.OpFinish:      routeOf(s.finish),
		protocol.OpAttempts:    routeOf(s.attempts),
		protocol.OpAwaitReboot: routeOf(s.awaitReboot),
		protocol.OpResume:      routeOf(s.resume),
		protocol.OpInterrupted: routeOf(s.interrupted),
		protocol.OpWaiting:     routeOf(s.waiting),
		protocol.OpDue:         routeOf(s.due),
		protocol.OpNextRetry:   routeOf(s.nextRetry),
		protocol.OpLive:        routeOf(s.live),
	}
}
