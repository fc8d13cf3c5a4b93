package manager

import "sync"

// liveCount counts goroutines. Unlike a [sync.WaitGroup] it may be entered while
// somebody waits.
type liveCount struct {
	mu   sync.Mutex
	n    int
	idle []chan struct{} // to be closed when n is 0
}

func (c *liveCount) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *liveCount) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n > 0 {
		return
	}
	for _, idle := range c.idle {
		close(idle)
	}
	c.idle = nil
}

// none returns a channel that is closed when the count is 0.
func (c *liveCount) none() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := make(chan struct{})
	if c.n == 0 {
		close(idle)
	} else {
		c.idle = append(c.idle, idle)
	}
	return idle
}
