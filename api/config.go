package api

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/access"
)

// Config configures where the API listens, who may use it, and its limits. A zero
// means the default, except in Port; see [DefaultConfig].
type Config struct {
	// Listen is the address without the port. Any address that is not a loopback
	// one needs a Token, Access, or Insecure.
	Listen string
	// Port is the TCP port; 0 takes a free one.
	Port int
	// Token is a bearer token that may do everything; empty means none. With it, or with
	// Access, every route but /healthz requires a token.
	Token string
	// Access says who may do what; nil means that nobody has a token but Token.
	Access *access.Policy
	// Insecure allows a non-loopback address without a Token and without Access.
	Insecure bool
	// TLS is the certificate, and who may connect; without one it speaks clear text.
	TLS TLS
	// UI serves the dashboard at /ui/.
	UI bool
	// TaskTypes are those that have a route.
	TaskTypes []tasker.TaskType
	// WaitForEndpoints is the time in which every expected endpoint should have
	// received a task.
	WaitForEndpoints time.Duration
	// MaxBody bounds a request's body, in bytes.
	MaxBody int64
	// MaxConcurrent is how many POSTs, and how many GETs, use the database at
	// once. Some others wait for a moment, the rest are refused with
	// [tasker.Overloaded].
	MaxConcurrent int
	// MaxStreams is how many streams of events are served at once, and
	// MaxStreamsPerAddress how many of them to one address, by default a
	// quarter. More are refused with [tasker.Overloaded].
	MaxStreams           int
	MaxStreamsPerAddress int
	// MaxConnections and MaxConnectionsPerAddress bound the open connections; by
	// default one address may have half of them. Others are closed.
	MaxConnections           int
	MaxConnectionsPerAddress int
	// MaxBodies bounds the bodies held at once, in bytes, beyond the first 16 KiB
	// of each. Others are refused with [tasker.Overloaded].
	MaxBodies int64
	// IdleTimeout is how long a connection may wait for its next request.
	IdleTimeout time.Duration
	// TokenOverlap is how long the previous token stays valid beside a new one.
	TokenOverlap time.Duration
	// ShutdownTimeout is how long requests may continue when the API stops.
	ShutdownTimeout time.Duration
	// Version is the program's, shown by /healthz.
	Version string
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return Config{Port: 8888, UI: true}.withDefaults() }

// withDefaults returns c with defaults in place of zeros.
func (c Config) withDefaults() Config {
	c.Listen = cmp.Or(c.Listen, "127.0.0.1")
	c.WaitForEndpoints = cmp.Or(c.WaitForEndpoints, time.Minute)
	c.MaxBody = cmp.Or(c.MaxBody, 1<<20)
	c.MaxConcurrent = cmp.Or(c.MaxConcurrent, 64)
	c.MaxStreams = cmp.Or(c.MaxStreams, 256)
	c.MaxStreamsPerAddress = cmp.Or(c.MaxStreamsPerAddress, max(1, c.MaxStreams/4))
	c.MaxConnections = cmp.Or(c.MaxConnections, 6000)
	c.MaxConnectionsPerAddress = cmp.Or(c.MaxConnectionsPerAddress, max(1, c.MaxConnections/2))
	c.MaxBodies = cmp.Or(c.MaxBodies, 64<<20)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, time.Minute)
	c.TokenOverlap = cmp.Or(c.TokenOverlap, 10*time.Minute)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, 15*time.Second)
	return c
}

// Validate returns an error for every rule that c breaks, each naming its key in
// the configuration file.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	invalid := func(format string, args ...any) { errs = append(errs, fmt.Errorf("invalid api."+format, args...)) }
	if _, _, err := net.SplitHostPort(c.Listen); err == nil {
		invalid("listen %q: must not contain a port (see api.port)", c.Listen)
	} else if c.needsToken() {
		invalid("listen: %q is reachable from other hosts, and the API has no token: "+
			"listen on 127.0.0.1, set api.token_file or api.access_file, or set api.insecure: true to let anybody run tasks", c.Listen)
	}
	if strings.ContainsAny(c.Listen, " \t\r\n/") {
		invalid("listen %q: must be an address or a host name", c.Listen)
	}
	if c.Port < 0 || c.Port > 65535 {
		invalid("port: must be 0-65535, got %d", c.Port)
	}
	if strings.ContainsFunc(c.Token, notVisible) {
		invalid("token_file: the token must be printable ASCII characters without blanks") // without the token
	}
	if err := c.TLS.validate(); err != nil {
		invalid("tls: %w", err)
	}
	for _, limit := range []struct {
		key   string
		value int64
	}{
		{"wait_for_endpoints_timeout", int64(c.WaitForEndpoints)},
		{"max_body", c.MaxBody},
		{"max_concurrent", int64(c.MaxConcurrent)},
		{"max_streams", int64(c.MaxStreams)},
		{"shutdown_timeout", int64(c.ShutdownTimeout)},
	} {
		if limit.value < 0 {
			invalid("%s: must not be negative", limit.key)
		}
	}
	if err := validateTaskTypes(c.TaskTypes); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// needsToken reports whether the API would be open to the network.
func (c Config) needsToken() bool {
	return c.guardsHost() && !isLoopback(c.Listen)
}

// guardsHost reports whether requests must name a loopback host; see checkHost.
func (c Config) guardsHost() bool { return c.open() && !c.Insecure }

// open reports whether requests need no token.
func (c Config) open() bool { return c.Token == "" && c.Access == nil }

// isLoopback reports whether host, a name or an address without a port, can be
// reached from this machine only. Names other than localhost are not trusted.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// address returns the address to listen on.
func (c Config) address() string {
	host := strings.TrimSuffix(strings.TrimPrefix(c.Listen, "["), "]")
	return net.JoinHostPort(host, fmt.Sprint(c.Port))
}
