package api

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
)

// Config says where the API listens, whom it lets in, and its limits.
type Config struct {
	// Listen is the address without the port; empty means 127.0.0.1. Any
	// address that is not a loopback one needs a Token, or Insecure.
	Listen string
	// Port is the TCP port; 0 takes a free one.
	Port int
	// Token is the bearer token that every route but /healthz asks for; empty
	// means none.
	Token string
	// Insecure allows a non-loopback address without a Token.
	Insecure bool
	// TaskTypes are those that have a route.
	TaskTypes []tasker.TaskType
	// WaitForEndpoints is the time in which every expected endpoint should
	// have received a task; 0 means 60 s.
	WaitForEndpoints time.Duration
	// MaxBody bounds a request's body, in bytes; 0 means 1 MiB.
	MaxBody int64
	// MaxConcurrent is how many POSTs, and how many GETs, work on the database
	// at once, 1 or more; 0 means 64. Some others wait for a moment, the rest
	// is refused with [tasker.Overloaded].
	MaxConcurrent int
	// MaxStreams is how many streams of events are served at once; 0 means 256.
	// More are refused with [tasker.Overloaded].
	MaxStreams int
	// MaxStreamsPerAddress is how many of them one address may have; 0 means a
	// quarter.
	MaxStreamsPerAddress int
	// MaxConnections and MaxConnectionsPerAddress bound the connections that are
	// open at once; 0 means 6000, and half of them for one address. Others are
	// closed.
	MaxConnections           int
	MaxConnectionsPerAddress int
	// MaxBodies bounds the bodies that are held at once, in bytes, beside the
	// first 16 KiB of each; 0 means 64 MiB. Others are refused with
	// [tasker.Overloaded].
	MaxBodies int64
	// IdleTimeout is how long a connection may wait for its next request; 0 means
	// 60 s.
	IdleTimeout time.Duration
	// TokenOverlap is how long the token of before is valid beside a new one; 0
	// means 10 minutes.
	TokenOverlap time.Duration
	// ShutdownTimeout is how long requests may go on when the API stops; 0
	// means 15 s.
	ShutdownTimeout time.Duration
	// Version is the program's, shown by /healthz.
	Version string
}

// The defaults of Config's zeros.
const (
	defaultListen           = "127.0.0.1"
	defaultWaitForEndpoints = 60 * time.Second
	defaultMaxBody          = 1 << 20
	defaultMaxConcurrent    = 64
	defaultMaxStreams       = 256
	defaultShutdownTimeout  = 15 * time.Second
	defaultMaxConnections   = 6000
	defaultMaxBodies        = 64 << 20
	defaultIdleTimeout      = 60 * time.Second
	defaultTokenOverlap     = 10 * time.Minute
)

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = defaultListen
	}
	if c.WaitForEndpoints == 0 {
		c.WaitForEndpoints = defaultWaitForEndpoints
	}
	if c.MaxBody == 0 {
		c.MaxBody = defaultMaxBody
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = defaultMaxConcurrent
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = defaultMaxStreams
	}
	if c.ShutdownTimeout == 0 {
		c.ShutdownTimeout = defaultShutdownTimeout
	}
	if c.MaxStreamsPerAddress == 0 {
		c.MaxStreamsPerAddress = max(1, c.MaxStreams/4)
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = defaultMaxConnections
	}
	if c.MaxConnectionsPerAddress == 0 {
		c.MaxConnectionsPerAddress = max(1, c.MaxConnections/2)
	}
	if c.MaxBodies == 0 {
		c.MaxBodies = defaultMaxBodies
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = defaultIdleTimeout
	}
	if c.TokenOverlap == 0 {
		c.TokenOverlap = defaultTokenOverlap
	}
	return c
}

// Validate gives every rule that c breaks, joined, each naming its key in the
// configuration file; nil where there is none.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if _, _, err := net.SplitHostPort(c.Listen); err == nil {
		errs = append(errs, fmt.Errorf("api.listen: %q holds a port: that goes into api.port", c.Listen))
	} else if c.needsToken() {
		errs = append(errs, fmt.Errorf(
			"api.listen: %q can be reached from other machines, and no token protects it: set api.token_file, or listen on 127.0.0.1, or, to let in everybody who can reach it, set api.insecure to true",
			c.Listen))
	}
	if strings.ContainsAny(c.Listen, " \t\r\n/") {
		errs = append(errs, fmt.Errorf("api.listen: %q is no address", c.Listen))
	}
	if c.Port < 0 || c.Port > 65535 {
		errs = append(errs, fmt.Errorf("api.port: %d is no TCP port: it takes 0 to 65535", c.Port))
	}
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		// The token itself stays out of the message.
		errs = append(errs, errors.New("api.token_file: the token takes printable ASCII characters without spaces only"))
	}
	if c.WaitForEndpoints < 0 {
		errs = append(errs, fmt.Errorf("api.wait_for_endpoints_timeout: %s is negative", c.WaitForEndpoints))
	}
	if c.MaxBody < 0 {
		errs = append(errs, fmt.Errorf("api.max_body: %d is negative", c.MaxBody))
	}
	if c.MaxConcurrent < 0 {
		errs = append(errs, fmt.Errorf("api.max_concurrent: %d is negative", c.MaxConcurrent))
	}
	if c.MaxStreams < 0 {
		errs = append(errs, fmt.Errorf("api.max_streams: %d is negative", c.MaxStreams))
	}
	if c.ShutdownTimeout < 0 {
		errs = append(errs, fmt.Errorf("api.shutdown_timeout: %s is negative", c.ShutdownTimeout))
	}
	if err := validateTaskTypes(c.TaskTypes); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// needsToken tells whether only Validate's objection stands between the API
// and the network.
func (c Config) needsToken() bool {
	return c.Token == "" && !c.Insecure && !isLoopback(c.Listen)
}

// guardsHost tells whether requests must name a loopback host; see checkHost.
func (c Config) guardsHost() bool { return c.Token == "" && !c.Insecure }

// isLoopback tells whether host, a name or an address without a port, can be
// reached from this machine only. A name other than localhost is not trusted
// to.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// address is what to listen on.
func (c Config) address() string {
	host := strings.TrimSuffix(strings.TrimPrefix(c.Listen, "["), "]")
	return net.JoinHostPort(host, fmt.Sprint(c.Port))
}
