// Package netlimit bounds the connections that a server has open at once.
package netlimit

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

// Listener bounds the connections that are open at once, in total and per
// address, so that idle connections cannot exhaust memory or slots. Connections
// over a bound are closed at once.
type Listener struct {
	net.Listener
	most, mostEach int
	log            *slog.Logger

	mu      sync.Mutex
	open    int
	each    map[string]int
	refused int
	logged  time.Time
}

// New returns a listener that has most connections open at once, and mostEach of
// one address.
func New(l net.Listener, most, mostEach int, log *slog.Logger) *Listener {
	return &Listener{Listener: l, most: most, mostEach: min(most, mostEach), log: log, each: map[string]int{}}
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host := Host(conn.RemoteAddr().String())
		if l.acquire(host) {
			return &boundedConn{Conn: conn, release: sync.OnceFunc(func() { l.release(host) })}, nil
		}
		_ = conn.Close()
	}
}

func (l *Listener) acquire(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open < l.most && l.each[host] < l.mostEach {
		l.open++
		l.each[host]++
		return true
	}
	l.refused++
	if now := time.Now(); now.Sub(l.logged) >= time.Second {
		l.log.Warn("connections closed: too many open",
			"refused", l.refused, "remote", host, "open", l.open, "of_address", l.each[host])
		l.logged, l.refused = now, 0
	}
	return false
}

func (l *Listener) release(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.each[host]--; l.each[host] == 0 {
		delete(l.each, host)
	}
}

// boundedConn frees its slot when it is closed.
type boundedConn struct {
	net.Conn
	release func()
}

// Close implements [net.Conn].
func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite lets the server end a response whose request it does not read.
func (c *boundedConn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// Host returns an address without its port.
func Host(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
