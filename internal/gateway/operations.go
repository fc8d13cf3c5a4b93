package gateway

import (
	"context"

	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/ledger"
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

// routes returns the table of all operations.
func (w *writers) routes(stores Stores, fleet *fleet, commands *commandWatch, news *news) map[string]route {
	leases := &leaseOps{endpoints: stores.Endpoints, fleet: fleet, beats: w.beats, commands: commands, found: w.commands}
	results := &resultOps{results: stores.Results, work: stores.Work, arrivals: w.arrivals, news: news}
	attempts := &attemptOps{store: stores.Attempts, starts: w.starts, ends: w.ends, updates: w.updates, news: news}
	return map[string]route{
		protocol.OpRegister:    routeOf(leases.register),
		protocol.OpHeartbeat:   routeOf(leases.heartbeat),
		protocol.OpRelease:     routeOf(leases.release),
		protocol.OpForget:      routeOf(leases.forget),
		protocol.OpReturn:      routeOf(leases.returnFromLost),
		protocol.OpHolds:       routeOf(leases.holds),
		protocol.OpReceive:     routeOf(results.receive),
		protocol.OpUnreceived:  routeOf(results.unreceived),
		protocol.OpTake:        routeOf(results.take),
		protocol.OpPayload:     routeOf(results.payload),
		protocol.OpUnfinished:  routeOf(results.unfinished),
		protocol.OpInterrupted: routeOf(results.interrupted),
		protocol.OpCanceled:    routeOf(results.canceled),
		protocol.OpWaiting:     routeOf(results.waiting),
		protocol.OpDue:         routeOf(results.due),
		protocol.OpNextRetry:   routeOf(results.nextRetry),
		protocol.OpStart:       routeOf(attempts.start),
		protocol.OpGiveBack:    routeOf(attempts.giveBack),
		protocol.OpResume:      routeOf(attempts.resume),
		protocol.OpFinish:      routeOf(attempts.finish),
		protocol.OpLive:        routeOf(attempts.live),
		protocol.OpAttempts:    routeOf(attempts.attempts),
		protocol.OpAwaitReboot: routeOf(attempts.awaitReboot),
	}
}

// writers write what many endpoints bring, each kind together.
type writers struct {
	arrivals *committer[ledger.Incoming, ledger.Recording]
	starts   *committer[ledger.Start, bool]
	ends     *committer[ledger.End, bool]
	updates  *committer[ledger.LiveUpdate, struct{}]
	beats    *committer[ledger.Renewal, bool]
	commands *committer[string, ledger.Commands] // what endpoints are to look for: only read
}

func newWriters(cfg Config, stores Stores) *writers {
	w := &writers{
		arrivals: newCommitter(stores.Database, manyRows, func(in *ledger.Incoming) int { return len(in.Errmsg) },
			stores.Results.ReceiveResults),
		starts: newCommitter(stores.Database, fewRows, func(*ledger.Start) int { return 0 }, stores.Attempts.StartAttempts),
		ends: newCommitter(stores.Database, manyRows, func(e *ledger.End) int { return len(e.Errmsg) + len(e.Payload) },
			stores.Attempts.FinishAttempts),
		updates: newCommitter(stores.Database, fewRows, liveSize,
			func(ctx context.Context, updates []ledger.LiveUpdate) ([]struct{}, error) {
				return make([]struct{}, len(updates)), stores.Live.SaveLive(ctx, updates)
			}),
		beats:    newCommitter(stores.Database, fewRows, func(*ledger.Renewal) int { return 0 }, stores.Endpoints.RenewLeases),
		commands: newCommitter(stores.Database, fewRows, func(*string) int { return 0 }, stores.Endpoints.CommandsAt),
	}
	w.arrivals.gather(cfg.Gather)
	w.starts.gather(cfg.Gather)
	w.ends.gather(cfg.Gather)
	w.updates.gather(cfg.Gather)
	w.beats.gatherAlways(beatGather)
	return w
}

// run lets the writers write until ctx ends, and waits for the last writes.
func (w *writers) run(ctx context.Context) {
	ended := []<-chan struct{}{
		w.arrivals.writer.Ended(), w.starts.writer.Ended(), w.ends.writer.Ended(), w.updates.writer.Ended(), w.beats.writer.Ended(),
		w.commands.writer.Ended(),
	}
	go w.arrivals.writer.Run(ctx)
	go w.starts.writer.Run(ctx)
	go w.ends.writer.Run(ctx)
	go w.updates.writer.Run(ctx)
	go w.beats.writer.Run(ctx)
	go w.commands.writer.Run(ctx)
	for _, one := range ended {
		<-one
	}
}
