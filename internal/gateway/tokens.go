package gateway

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// maxInFlight bounds the requests about an endpoint that its client has under way,
// below what a server allows: a busy manager waits here and is not refused there.
const maxInFlight = 16

// callers are the endpoints of a client.
type callers map[string]*caller

func newCallers(tokens map[string]Token) callers {
	list := callers{}
	for name, source := range tokens {
		list[name] = &caller{source: source, slots: make(chan struct{}, maxInFlight)}
	}
	return list
}

// find returns the endpoint of a name.
func (c callers) find(endpoint string) (*caller, error) {
	found, ok := c[endpoint]
	if !ok {
		return nil, fmt.Errorf("no token for endpoint %q: there are those of %v", endpoint, c.names())
	}
	return found, nil
}

// names returns the names of the endpoints, sorted.
func (c callers) names() []string { return slices.Sorted(maps.Keys(c)) }

// caller is an endpoint: its token, which it reads again when that is refused, and
// its requests under way.
type caller struct {
	source Token
	slots  chan struct{}

	mu    sync.Mutex
	known string
	quiet time.Time // until then nothing is sent, since the gateway has too much to do
}

// pause has the next requests wait: at least for a time that the gateway asked for,
// and at random up to twice as long, so that not all endpoints come back together.
func (c *caller) pause(asked time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quiet = time.Now().Add(asked + rand.N(asked))
}

// enter waits for the end of a pause, and for a slot.
func (c *caller) enter(ctx context.Context) error {
	c.mu.Lock()
	quiet := time.Until(c.quiet)
	c.mu.Unlock()
	if quiet > 0 {
		_ = clock.Sleep(ctx, quiet)
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return tasker.WrapError(tasker.Unavailable, context.Cause(ctx), "no answer from the gateway to earlier requests")
	}
}

func (c *caller) leave() { <-c.slots }

// token returns the token. If that is still the refused one, it reads it again.
func (c *caller) token(refused string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known != refused {
		return c.known, nil
	}
	token, err := c.source()
	switch {
	case err != nil:
		return "", tasker.WrapError(tasker.Unauthorized, err, "no token for the gateway")
	case token == "":
		return "", tasker.Errorf(tasker.Unauthorized, "no token for the gateway: it is empty")
	}
	c.known = token
	return token, nil
}
