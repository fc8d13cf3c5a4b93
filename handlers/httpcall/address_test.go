package httpcall

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/taskerhq/tasker/handlers"
)

func TestCheckAddress(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		host, addr string
		allowed    bool // in general, and with allow_private
		private    bool
	}{
		{"api.example.com", "93.184.216.34", true, true},
		{"api.example.com", "2606:2800:220:1::1", true, true},
		{"web1.internal", "10.0.0.5", true, true},
		{"web1.internal", "fd00::5", true, true},
		{"api.example.com", "127.0.0.1", false, true},
		{"api.example.com", "::1", false, true},
		{"api.example.com", "::ffff:127.0.0.1", false, true},
		{"localhost", "127.0.0.1", true, true},
		{"localhost", "::1", true, true},
		{"localhost", "169.254.169.254", false, true},
		{"a.localhost", "127.0.0.1", true, true},
		{"notlocalhost", "127.0.0.1", false, true},
		{"127.0.0.1", "127.0.0.1", true, true},
		{"127.0.0.1", "127.0.0.2", false, true},
		{"::1", "::1", true, true},
		{"api.example.com", "169.254.169.254", false, true},
		{"api.example.com", "::ffff:169.254.169.254", false, true},
		{"api.example.com", "64:ff9b::a9fe:a9fe", false, true},
		{"api.example.com", "2002:a9fe:a9fe::1", false, true},
		{"api.example.com", "::a9fe:a9fe", false, true},
		{"169.254.169.254", "169.254.169.254", true, true},
		{"api.example.com", "fe80::1", false, true},
		{"api.example.com", "fe80::1%eth0", false, true},
		{"api.example.com", "fd00:ec2::254", false, true},
		{"api.example.com", "100.100.100.200", false, true},
		{"api.example.com", "168.63.129.16", false, true},
		{"api.example.com", "0.0.0.0", false, false},
		{"0.0.0.0", "0.0.0.0", false, false},
		{"api.example.com", "::", false, false},
		{"api.example.com", "224.0.0.1", false, false},
		{"api.example.com", "ff02::1", false, false},
		{"api.example.com", "255.255.255.255", false, false},
	} {
		for private, want := range map[bool]bool{false: test.allowed, true: test.private} {
			s := &settings{AllowPrivate: private}
			if err := s.checkAddress(test.host, netip.MustParseAddr(test.addr)); (err == nil) != want {
				t.Errorf("%s at %s, allow_private %t: got %v", test.host, test.addr, private, err)
			}
		}
	}
}

func TestPrefixCovers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		prefix, url string
		want        bool
	}{
		{"https://a.com", "https://a.com", true},
		{"https://a.com", "https://a.com/x/y?z", true},
		{"https://a.com/", "https://A.com:443", true},
		{"https://a.com.", "https://a.com/", true},
		{"https://a.com", "https://a.com.evil.com/", false},
		{"https://a.com", "https://evil-a.com/", false},
		{"https://a.com", "http://a.com/", false},
		{"https://a.com", "https://a.com:8443/", false},
		{"https://a.com/v1", "https://a.com/v1", true},
		{"https://a.com/v1", "https://a.com/v1/", true},
		{"https://a.com/v1", "https://a.com/v1?x", true},
		{"https://a.com/v1", "https://a.com/v10", false},
		{"https://a.com/v1", "https://a.com/V1", false},
		{"https://a.com/v1/", "https://a.com/v1", false},
		{"https://a.com/v1/", "https://a.com/v1/x", true},
		{"https://a.com/v1", "https://a.com//v1", false},
		{"https://a.com/a%2Fb", "https://a.com/a/b", false},
		{"https://a.com/a b", "https://a.com/a%20b/c", true},
		{"http://[::1]:80", "http://[::1]/", true},
	} {
		parse := func(s string) urlPrefix {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			p, err := parseTarget(u)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		if got := parse(test.prefix).covers(parse(test.url)); got != test.want {
			t.Errorf("%s covers %s: got %t", test.prefix, test.url, got)
		}
	}
}

// nameServer starts a DNS server that answers each question of type A with the address
// in addr, and others with nothing.
func nameServer(t *testing.T, addr *atomic.Pointer[netip.Addr]) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		query := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return
			}
			end := 12 // of the question: after the header, its name, type and class
			for query[end] != 0 {
				end += int(query[end]) + 1
			}
			end += 5
			answer := append([]byte(nil), query[:min(end, n)]...)
			answer[2], answer[3] = 0x84, 0 // an authoritative answer
			answer[6], answer[7], answer[8], answer[9], answer[10], answer[11] = 0, 0, 0, 0, 0, 0
			if query[end-3] == 1 { // type A
				answer[7] = 1
				ip := addr.Load().As4()
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ip[0], ip[1], ip[2], ip[3])
			}
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// TestRebinding: an allowed name that resolves to this machine, or to metadata, is not
// called, whatever it resolved to before.
func TestRebinding(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("1")) }))
	t.Cleanup(srv.Close)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	var addr atomic.Pointer[netip.Addr]
	resolver := nameServer(t, &addr)
	call := func(text string, private bool) (handlers.Result, error) {
		a := netip.MustParseAddr(text)
		addr.Store(&a)
		h, err := New(handlers.Settings{"url": "http://api.example.com:" + port + "/", "allow_private": private})
		if err != nil {
			t.Fatal(err)
		}
		h.(*handler).resolver = resolver
		return h.Handle(t.Context(), &handlers.Request{Payload: json.RawMessage("null")})
	}
	if result, err := call("127.0.0.1", true); err != nil || string(result) != "1" {
		t.Fatalf("with allow_private: got %s, %v", result, err)
	}
	for text, want := range map[string]string{
		"127.0.0.1":       `"api.example.com" resolves to 127.0.0.1, which is this machine`,
		"169.254.169.254": `"api.example.com" resolves to 169.254.169.254, which is link-local`,
		"0.0.0.0":         `0.0.0.0 is not a host address`,
	} {
		result, err := call(text, false)
		if result != nil || err == nil || !handlers.IsPermanent(err) || !strings.Contains(err.Error(), "address not allowed: "+want) {
			t.Errorf("%s: got %s, %v (permanent: %t)", text, result, err, handlers.IsPermanent(err))
		}
	}
}

// TestProxy: a proxy checks addresses itself. Without one, as for NO_PROXY, addresses
// are checked here.
func TestProxy(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%q", r.RequestURI) }))
	t.Cleanup(srv.Close)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	here := netip.MustParseAddr("127.0.0.1")
	var addr atomic.Pointer[netip.Addr]
	addr.Store(&here)
	made, err := New(handlers.Settings{"url": "http://api.example.com:" + port + "/", "proxy": true})
	if err != nil {
		t.Fatal(err)
	}
	h := made.(*handler)
	h.resolver = nameServer(t, &addr)
	call := func(proxy string) (handlers.Result, error) {
		h.environment = func(*http.Request) (*url.URL, error) {
			if proxy == "" {
				return nil, nil
			}
			return url.Parse(proxy)
		}
		return h.Handle(t.Context(), &handlers.Request{Payload: json.RawMessage("null")})
	}
	for _, proxy := range []string{srv.URL, "http://proxy.example.com:" + port} {
		if result, err := call(proxy); err != nil || string(result) != `"http://api.example.com:`+port+`/"` {
			t.Errorf("with %s: got %s, %v", proxy, result, err)
		}
	}
	if result, err := call(""); err == nil || !handlers.IsPermanent(err) || !strings.Contains(err.Error(), "address not allowed") {
		t.Errorf("without a proxy: got %s, %v", result, err)
	}
}
