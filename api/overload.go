package api

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/taskerhq/tasker"
)

const (
	// gateQueue is how many requests may wait at a gate, for each place. To wait
	// costs less than to be refused and to come again.
	gateQueue = 16
	// gatePatience is how long a request waits at a gate.
	gatePatience = 5 * time.Second
	// maxRetryAfter is the most, in seconds, that a refused request is asked to
	// stay away.
	maxRetryAfter = 3
)

// overloadRetryAfter gives the value of Retry-After, in seconds, for a request
// that was refused at a gate. It differs, so that they do not all come again
// together.
func overloadRetryAfter() string { return strconv.Itoa(1 + rand.N(maxRetryAfter)) }

// gate bounds how many requests are worked on at once, so that those that are
// taken are answered in time, however many come: some wait for a moment, in the
// order in which they came, and the others are told to come again. Without it
// all of them would wait for the database's connections, and most in vain.
//
// POST and GET have a gate each, so that neither keeps the other out. A place
// is held while the broker is asked, too: where that hangs, unnoticed yet, few
// POSTs wait for it and the others are refused.
type gate struct {
	places   chan struct{} // holds one for each request that is worked on
	queue    chan struct{} // holds one for each request that waits
	patience time.Duration
}

func newGate(places int) *gate {
	return &gate{
		places:   make(chan struct{}, places),
		queue:    make(chan struct{}, gateQueue*places),
		patience: gatePatience,
	}
}

// full tells whether a request that came now would be refused.
func (g *gate) full() bool { return len(g.queue) == cap(g.queue) }

// enter takes a place, which leave gives back. It waits for one, but not for
// long, and not behind too many; then it gives [tasker.Overloaded], or ctx's
// error when that ends first.
func (g *gate) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-g.places }
	select {
	case g.places <- struct{}{}:
		return leave, nil
	default:
	}
	select {
	case g.queue <- struct{}{}:
	default:
		return nil, errOverloaded()
	}
	defer func() { <-g.queue }()
	patience := time.NewTimer(g.patience)
	defer patience.Stop()
	select {
	case g.places <- struct{}{}:
		return leave, nil
	case <-patience.C:
		return nil, errOverloaded()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for other requests: %w", context.Cause(ctx))
	}
}

func errOverloaded() error {
	return tasker.Errorf(tasker.Overloaded, "too many requests at once: nothing was done, send it again after the seconds of Retry-After")
}

// behind has a handler wait at a gate.
func behind(g *gate, handle handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		leave, err := g.enter(r.Context())
		if err != nil {
			return err
		}
		defer leave()
		return handle(w, r)
	}
}
