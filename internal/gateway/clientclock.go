package gateway

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/gateway/protocol"
)

// serverClock is the database's clock, as the answers of the gateway tell it.
type serverClock struct {
	mu      sync.Mutex
	at      time.Time     // the local time of the reading, with the monotonic clock
	time    time.Time     // zero before the first answer
	network time.Duration // how long the reading was under way, twice its largest error
}

// readingAge is how long a good reading is better than a fresh one.
const readingAge = time.Minute

// observe takes the reading of an answer to a request sent at a time, and read
// completely at another. A reading that was longer under way is worse; it does not
// replace a recent one.
func (c *serverClock) observe(header http.Header, before, after time.Time) {
	told, err := time.Parse(time.RFC3339Nano, header.Get(protocol.HeaderTime))
	if err != nil {
		return
	}
	took, _ := strconv.ParseInt(header.Get(protocol.HeaderTook), 10, 64)
	network := max(after.Sub(before)-time.Duration(took)*time.Microsecond, 0)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.time.IsZero() && network > c.network && after.Sub(c.at) < readingAge {
		return
	}
	c.at, c.time, c.network = after.Add(-network/2), told, network
}

// now returns the database's time: the local one before the first answer.
func (c *serverClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if !c.time.IsZero() {
		now = c.time.Add(time.Since(c.at))
	}
	return now.UTC().Truncate(time.Microsecond)
}
