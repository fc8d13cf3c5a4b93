package gateway

import (
	"sync"

	"github.com/taskerhq/tasker"
)

// limits bounds the requests that are served at once, in all and of each
// endpoint: one that floods is refused, and the others are not.
type limits struct {
	all int // the most in all
	one int // the most of an endpoint

	mu        sync.Mutex
	served    int
	endpoints map[string]int // only those that are served
}

func newLimits(all, one int) *limits {
	return &limits{all: all, one: one, endpoints: map[string]int{}}
}

// errOverloaded is the answer to a request over a limit.
func errOverloaded(what string) error {
	return tasker.Errorf(tasker.Overloaded, "too many requests %s: nothing was done; retry after the seconds in Retry-After", what)
}

// enter counts a request whose endpoint is not known yet.
func (l *limits) enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.served >= l.all {
		return errOverloaded("at once")
	}
	l.served++
	return nil
}

func (l *limits) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served--
}

// enterFor counts a request of an endpoint. Heartbeats pass over the limit, up to
// twice of it: an endpoint that is busy must not lose its lease.
func (l *limits) enterFor(endpoint string, heartbeat bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := l.one
	if heartbeat {
		most *= 2
	}
	if l.endpoints[endpoint] >= most {
		return errOverloaded("of this endpoint at once")
	}
	l.endpoints[endpoint]++
	return nil
}

func (l *limits) leaveFor(endpoint string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.endpoints[endpoint]--; l.endpoints[endpoint] == 0 {
		delete(l.endpoints, endpoint)
	}
}
