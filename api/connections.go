package api

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

// boundedListener bounds the connections that are open at once, in total and per
// address, so that idle connections cannot exhaust memory or slots. Connections
// over a bound are closed at once.
type boundedListener struct {
	net.Listener
	most, mostEach int
	log            *slog.Logger

	mu      sync.Mutex
	open    int
	each    map[string]int
	refused int
	logged  time.Time
}

func newBoundedListener(l net.Listener, most, mostEach int, log *slog.Logger) *boundedListener {
	return &boundedListener{Listener: l, most: most, mostEach: min(most, mostEach), log: log, each: map[string]int{}}
}

// Accept implements [net.Listener].
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host := hostOf(conn.RemoteAddr().String())
		if l.acquire(host) {
			return &boundedConn{Conn: conn, release: sync.OnceFunc(func() { l.release(host) })}, nil
		}
		_ = conn.Close()
	}
}

func (l *boundedListener) acquire(host string) bool {
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

func (l *boundedListener) release(host string) {
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

// hostOf returns an address without its port.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
