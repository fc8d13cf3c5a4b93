package testservices

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy forwards TCP to a server. Tests can cut and hold its connections, and limit
// what reaches the server.
type Proxy struct {
	listener net.Listener
	server   string
	wg       sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	held  chan struct{} // not nil while held; closed by Release
	dials int
	conns map[net.Conn]bool

	limited bool       // since the first Allow, until AllowAll
	allowed int64      // bytes that may still go to the server
	more    *sync.Cond // of mu: there is more in allowed
}

// Proxied starts a proxy in front of a server, and returns it with uri changed
// to lead through it. It stops at the end of the test.
func Proxied(t testing.TB, uri string) (p *Proxy, proxied string) {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	p = newProxy(t, u.Host)
	u.Host = p.listener.Addr().String()
	return p, u.String()
}

func newProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, server: server, conns: make(map[net.Conn]bool)}
	p.more = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.Release()
		p.AllowAll()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.dials++
		p.mu.Unlock()
		p.wg.Go(func() { p.forward(client) })
	}
}

func (p *Proxy) forward(client net.Conn) {
	defer func() { _ = client.Close() }()
	if !p.keep(client) {
		return
	}
	defer p.forget(client)
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	if !p.keep(server) {
		return
	}
	defer p.forget(server)
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], reader{p, pair[1], pair[0] == server})
			_ = pair[0].Close()
			_ = pair[1].Close()
		})
	}
	both.Wait()
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// Cut closes all connections, and new ones until Restore.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// Restore ends Cut.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

// Hold keeps all connections open but forwards nothing, until Release.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = make(chan struct{})
}

// Release ends Hold and forwards what was held.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

// Allow lets bytes more go to the server, of all connections together. After the
// first call what is not allowed is kept back, up to the size of a read more or
// less, until AllowAll.
func (p *Proxy) Allow(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limited = true
	p.allowed += bytes
	p.more.Broadcast()
}

// AllowAll ends the limit of Allow.
func (p *Proxy) AllowAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limited, p.allowed = false, 0
	p.more.Broadcast()
}

// spend waits until n bytes may go to the server.
func (p *Proxy) spend(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.limited && p.allowed <= 0 {
		p.more.Wait()
	}
	p.allowed -= int64(n)
}

// Dialled returns the number of connections so far.
func (p *Proxy) Dialled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

// reader keeps the data it has read while its proxy is held or allows no more.
type reader struct {
	proxy    *Proxy
	from     io.Reader
	toServer bool
}

func (r reader) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	r.proxy.mu.Lock()
	held := r.proxy.held
	r.proxy.mu.Unlock()
	if held != nil {
		<-held
	}
	if r.toServer && n > 0 {
		r.proxy.spend(n)
	}
	return n, err
}
