package httpcall

import (
	"cmp"
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

// urlPrefix is what is compared of a URL: its origin and the segments of its path.
type urlPrefix struct {
	scheme, host, port string
	segments           []string
}

func (p urlPrefix) origin() string { return p.scheme + "://" + net.JoinHostPort(p.host, p.port) }

// covers reports whether a URL begins with p, segment by segment.
func (p urlPrefix) covers(u urlPrefix) bool {
	need := p.segments
	if need[len(need)-1] == "" { // it ends in a slash
		need = need[:len(need)-1]
	}
	return p.origin() == u.origin() && len(u.segments) >= len(p.segments) && slices.Equal(need, u.segments[:len(need)])
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseTarget parses a URL. It refuses whatever two programs could read in different
// ways.
func parseTarget(u *url.URL) (urlPrefix, error) {
	p := urlPrefix{scheme: u.Scheme, host: strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), port: u.Port()}
	p.port = cmp.Or(p.port, defaultPorts[u.Scheme])
	switch {
	case defaultPorts[u.Scheme] == "" || u.Opaque != "":
		return p, errors.New("invalid URL: must begin with http:// or https://")
	case u.User != nil:
		return p, errors.New("invalid URL: must not have a user name, which belongs in a header")
	case !isHost(p.host):
		return p, fmt.Errorf("invalid URL: host %q must be a name or an address", u.Hostname())
	}
	for escaped := range strings.SplitSeq(strings.TrimPrefix(u.EscapedPath(), "/"), "/") {
		segment, err := url.PathUnescape(escaped)
		if err != nil {
			return p, fmt.Errorf("invalid path of the URL: %w", err)
		}
		for _, part := range strings.FieldsFunc(segment, func(r rune) bool { return r == '/' || r == '\\' }) {
			// Some servers read "..;x" as ".." with a parameter.
			if part, _, _ = strings.Cut(part, ";"); part == "." || part == ".." {
				return p, fmt.Errorf("invalid path of the URL: must not have the segment %q", part)
			}
		}
		p.segments = append(p.segments, segment)
	}
	return p, nil
}

// isHost reports whether s is a name in ASCII, or an address without a zone.
func isHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Zone() == ""
	}
	return host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") == ""
}

func (h *handler) allowed(target urlPrefix) bool {
	return slices.ContainsFunc(h.allow, func(p urlPrefix) bool { return p.covers(target) })
}

// parseAllow reads the setting "allow". It defaults to the origin of the URL, if that
// is fixed.
func (h *handler) parseAllow() error {
	for _, text := range h.conf.Allow {
		u, err := url.Parse(text)
		if err != nil {
			return fmt.Errorf("setting \"allow\": %w", err)
		}
		p, err := parseTarget(u)
		if err == nil && (u.RawQuery != "" || u.Fragment != "" || u.ForceQuery) {
			err = errors.New("must not have a query or a fragment")
		}
		if err != nil {
			return fmt.Errorf("setting \"allow\": %q: %w", text, err)
		}
		h.allow = append(h.allow, p)
	}
	literal := h.url.Literal()
	fixed := len(h.url.Names()) == 0 && !h.conf.RPC
	if !fixed && !strings.ContainsAny(afterScheme(literal), "/?") {
		if len(h.allow) == 0 {
			return errors.New(`setting "allow" is required: prefixes of the URLs that may be called, such as https://api.example.com/v1/`)
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
		return fmt.Errorf("setting \"url\": %q is not allowed by the setting \"allow\"", literal)
	}
	return nil
}

func afterScheme(s string) string {
	_, rest, _ := strings.Cut(s, "://")
	return rest
}

var errAddress = errors.New("address not allowed")

// dial connects, and checks the address that it really connects to: a name may have
// been resolved to another one a moment ago.
func (h *handler) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Resolver: h.resolver}
	if _, proxy := h.proxies.Load(address); !proxy { // chosen by the administrator
		dialer.ControlContext = func(_ context.Context, _, dialed string, _ syscall.RawConn) error {
			addr, err := netip.ParseAddrPort(dialed)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", errAddress, dialed, err)
			}
			return h.conf.checkAddress(host, addr.Addr())
		}
	}
	return dialer.DialContext(ctx, network, address)
}

var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// proxyOf returns the proxy for a request, or nil if there is none, or NO_PROXY has
// the host.
func (h *handler) proxyOf(req *http.Request) (*url.URL, error) {
	proxy, err := h.environment(req)
	if proxy != nil {
		h.proxies.Store(net.JoinHostPort(proxy.Hostname(), cmp.Or(proxy.Port(), proxyPorts[proxy.Scheme])), true)
	}
	return proxy, err
}

// metadataAddresses are where clouds serve metadata, with secrets, to their machines.
// Most use a link-local address instead.
var metadataAddresses = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("192.0.0.192"), netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254"),
}

// checkAddress refuses addresses that cannot be an API, unless the settings name them:
// link-local ones, clouds' metadata, and this machine under another name than
// localhost. Private addresses are allowed, since the setting "allow" names the
// host.
func (s *settings) checkAddress(host string, addr netip.Addr) error {
	addr = embedded(addr.WithZone("").Unmap())
	named, err := netip.ParseAddr(host)
	isNamed := err == nil && embedded(named.WithZone("").Unmap()) == addr
	localhost := host == "localhost" || strings.HasSuffix(host, ".localhost")
	what := ""
	switch {
	case addr.IsUnspecified() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%w: %s is not a host address", errAddress, addr)
	case isNamed || s.AllowPrivate:
	case addr.IsLinkLocalUnicast():
		what = "is link-local"
	case slices.Contains(metadataAddresses, addr):
		what = "is a cloud's metadata service"
	case addr.IsLoopback() && !localhost:
		what = "is this machine"
	}
	if what == "" {
		return nil
	}
	return fmt.Errorf("%w: %q resolves to %s, which %s; see the setting \"allow_private\"", errAddress, host, addr, what)
}

// embedded returns the IPv4 address to which an IPv6 address leads: by NAT64, by 6to4,
// or as an IPv4-compatible one. Other addresses it returns as they are.
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

// transportWith returns a copy of a transport that trusts other certificates.
func transportWith(t *http.Transport, roots *x509.CertPool) *http.Transport {
	t = t.Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return t
}
