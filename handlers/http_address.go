package handlers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
)

// urlPrefix is a URL as far as it is compared: its origin and the segments of
// its path.
type urlPrefix struct {
	scheme, host, port string
	segments           []string
}

func (p urlPrefix) origin() string { return p.scheme + "://" + net.JoinHostPort(p.host, p.port) }

// covers tells whether a URL begins with p, segment by segment.
func (p urlPrefix) covers(u urlPrefix) bool {
	need := p.segments
	if need[len(need)-1] == "" { // it ends in a slash
		need = need[:len(need)-1]
	}
	return p.origin() == u.origin() && len(u.segments) >= len(p.segments) && slices.Equal(need, u.segments[:len(need)])
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseTarget takes a URL apart. It refuses whatever two programs could read
// in two ways.
func parseTarget(u *url.URL) (urlPrefix, error) {
	p := urlPrefix{scheme: u.Scheme, host: strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), port: u.Port()}
	p.port = orElse(p.port, defaultPorts[u.Scheme])
	switch {
	case defaultPorts[u.Scheme] == "" || u.Opaque != "":
		return p, errors.New("the URL must begin with http:// or https://")
	case u.User != nil:
		return p, errors.New("the URL has a user name in it: send it in a header")
	case !isHost(p.host):
		return p, fmt.Errorf("the URL's host %q is no name or address", u.Hostname())
	}
	for escaped := range strings.SplitSeq(strings.TrimPrefix(u.EscapedPath(), "/"), "/") {
		segment, err := url.PathUnescape(escaped)
		if err != nil {
			return p, fmt.Errorf("the URL's path: %w", err)
		}
		for _, part := range strings.FieldsFunc(segment, func(r rune) bool { return r == '/' || r == '\\' }) {
			// To some servers "..;x" is "..", with a parameter.
			if part, _, _ = strings.Cut(part, ";"); part == "." || part == ".." {
				return p, fmt.Errorf("the URL's path has the segment %q", part)
			}
		}
		p.segments = append(p.segments, segment)
	}
	return p, nil
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// isHost tells whether it is a name in ASCII, or an address without a zone.
func isHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Zone() == ""
	}
	return host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") == ""
}

func (h *httpHandler) allowed(target urlPrefix) bool {
	return slices.ContainsFunc(h.allow, func(p urlPrefix) bool { return p.covers(target) })
}

// parseAllow reads the setting "allow". Its default is the origin of the URL,
// where that is fixed.
func (h *httpHandler) parseAllow() error {
	for _, text := range h.conf.Allow {
		u, err := url.Parse(text)
		if err != nil {
			return fmt.Errorf("setting \"allow\": %w", err)
		}
		p, err := parseTarget(u)
		if err == nil && (u.RawQuery != "" || u.Fragment != "" || u.ForceQuery) {
			err = errors.New("it has a query or a fragment: give scheme, host and path")
		}
		if err != nil {
			return fmt.Errorf("setting \"allow\", %q: %w", text, err)
		}
		h.allow = append(h.allow, p)
	}
	literal := h.url.Literal()
	fixed := len(h.url.Names()) == 0 && !h.conf.RPC
	if !fixed && !strings.ContainsAny(afterScheme(literal), "/?") {
		if len(h.allow) == 0 {
			return errors.New(`setting "allow" is missing: list what may be called, such as https://api.example.com/v1/`)
		}
		return nil
	}
	u, err := url.Parse(literal)
	if err != nil {
		return fmt.Errorf("setting \"url\": %w", err)
	}
	target, err := parseTarget(u)
	switch {
	case err != nil:
		return fmt.Errorf("setting \"url\": %w", err)
	case len(h.allow) == 0:
		h.allow = []urlPrefix{{target.scheme, target.host, target.port, []string{""}}}
	case fixed && !h.allowed(target):
		return fmt.Errorf("setting \"url\" is %q, which the setting \"allow\" does not allow", literal)
	}
	return nil
}

func afterScheme(s string) string {
	_, rest, _ := strings.Cut(s, "://")
	return rest
}

// errAddress is of an address that is not called.
var errAddress = errors.New("this address is not allowed")

// dial connects, and looks at the very address that it connects to: what a
// name stood for a moment ago says nothing.
func (h *httpHandler) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Resolver: h.resolver}
	if _, proxy := h.proxies.Load(address); !proxy { // whose address is the administrator's choice
		dialer.ControlContext = func(_ context.Context, _, dialed string, _ syscall.RawConn) error {
			addr, err := netip.ParseAddrPort(dialed)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", errAddress, dialed, err)
			}
			return h.checkAddress(host, addr.Addr())
		}
	}
	return dialer.DialContext(ctx, network, address)
}

var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// proxyOf gives the proxy for a request, nil for none: NO_PROXY may name the
// host, or there is none at all.
func (h *httpHandler) proxyOf(req *http.Request) (*url.URL, error) {
	proxy, err := h.environment(req)
	if proxy != nil {
		h.proxies.Store(net.JoinHostPort(proxy.Hostname(), orElse(proxy.Port(), proxyPorts[proxy.Scheme])), true)
	}
	return proxy, err
}

// metadataAddresses are where clouds answer to their machines, with secrets.
// That of most is a link-local one and not among these.
var metadataAddresses = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("192.0.0.192"), netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254"),
}

// checkAddress refuses the addresses that are nobody's API, unless the
// settings name them: link-local ones, those of clouds' metadata, and this
// machine under another name than localhost. A private address is as good as
// any, for the setting "allow" names the host.
func (h *httpHandler) checkAddress(host string, addr netip.Addr) error {
	addr = embedded(addr.WithZone("").Unmap())
	named, err := netip.ParseAddr(host)
	isNamed := err == nil && embedded(named.WithZone("").Unmap()) == addr
	localhost := host == "localhost" || strings.HasSuffix(host, ".localhost")
	what := ""
	switch {
	case addr.IsUnspecified() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%w: %s is no machine's own", errAddress, addr)
	case isNamed || h.conf.AllowPrivate:
	case addr.IsLinkLocalUnicast():
		what = "is link-local"
	case slices.Contains(metadataAddresses, addr):
		what = "is that of a cloud's metadata"
	case addr.IsLoopback() && !localhost:
		what = "is this machine"
	}
	if what == "" {
		return nil
	}
	return fmt.Errorf("%w: %s %s, and %q stands for it; see the setting \"allow_private\"", errAddress, addr, what, host)
}

// embedded gives the IPv4 address that an IPv6 one leads to: of NAT64, of 6to4
// and of those that are compatible.
func embedded(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	b := addr.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:]))
	case netip.MustParsePrefix("2002::/16").Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6]))
	case netip.MustParsePrefix("::/96").Contains(addr) && !addr.IsLoopback() && !addr.IsUnspecified():
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr
}

// transportWith is a transport that trusts other certificates.
func transportWith(t *http.Transport, roots *x509.CertPool) *http.Transport {
	t = t.Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return t
}
