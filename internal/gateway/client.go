package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
)

// Token returns the token of an endpoint, as it is now. It is called again when
// the gateway refuses what it returned before.
type Token func() (string, error)

// ClientConfig says where the gateway is, and who asks.
type ClientConfig struct {
	// Addresses are the gateway's processes, such as https://gateway1:8889. One is
	// used as long as it answers, then the next one.
	Addresses []string
	// Tokens are those of the endpoints.
	Tokens map[string]Token
	// TLS is the configuration for https addresses; nil means the system's.
	TLS *tls.Config
	// Transport replaces the network, if set; see [InProcess].
	Transport http.RoundTripper
	// MaxBody bounds the body of a request that the client combines, in bytes. A
	// single item may be larger.
	MaxBody int
	// Heartbeat is the time between two heartbeats before the gateway says which
	// one it wants.
	Heartbeat time.Duration
}

// Client is a gateway's other side: its parts implement the interfaces of a
// manager. Their errors are those that internal/store returns. If no address
// answers, the error is [tasker.Unavailable]. All methods are safe for concurrent
// use.
type Client struct {
	*connection
	Endpoints clientEndpoints
	Results   clientResults
	Attempts  clientAttempts
	Work      clientWork
	Live      clientLive
	Database  clientDatabase
}

// NewClient returns a client. It checks cfg, but does not connect.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg.MaxBody = cmp.Or(cfg.MaxBody, 1<<20)
	c := &connection{cfg: cfg, http: &http.Client{
		Transport:     cfg.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if len(cfg.Tokens) == 0 {
		return nil, tasker.Errorf(tasker.Invalid, "no endpoint: the gateway's client needs the token of one at least")
	}
	c.callers = newCallers(cfg.Tokens)
	for _, address := range cfg.Addresses {
		base, err := parseAddress(address)
		if err != nil {
			return nil, err
		}
		c.bases = append(c.bases, base)
	}
	if len(c.bases) == 0 {
		return nil, tasker.Errorf(tasker.Invalid, "no gateway address: name one, such as https://gateway1:8889")
	}
	if cfg.Transport == nil {
		c.http.Transport = transport(cfg.TLS, min(minIdle+len(cfg.Tokens), maxIdle))
	}
	return &Client{c, clientEndpoints{c}, clientResults{c}, clientAttempts{c}, clientWork{c}, clientLive{c}, clientDatabase{c}}, nil
}

// parseAddress returns the base of all URLs of a gateway. Clear text is for this
// machine alone, since tokens are sent.
func parseAddress(address string) (base string, err error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return "", tasker.Errorf(tasker.Invalid, "invalid gateway address %q: must be https://host:port", address)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return "", tasker.Errorf(tasker.Invalid,
			"invalid gateway address %q: clear text is for this machine only, since it shows the token: use https", address)
	}
	return u.Scheme + "://" + u.Host, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// transport returns one that keeps up to idle connections to an address. It speaks
// HTTP/1.1: over HTTP/2 a result costs half as much CPU again.
func transport(conf *tls.Config, idle int) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   dialTimeout,
		MaxIdleConnsPerHost:   idle,
		IdleConnTimeout:       idleTimeout - 30*time.Second, // before the server's
		ResponseHeaderTimeout: answerTimeout,
	}
}

const (
	// dialTimeout bounds the connection to one address, so that the next one has
	// its turn within the time of a call.
	dialTimeout = 3 * time.Second
	// answerTimeout bounds the wait for an answer. It is longer than the server
	// works on one.
	answerTimeout = 12 * time.Second
	// minIdle and maxIdle bound the connections to an address that are kept alive:
	// more for a manager of many endpoints.
	minIdle, maxIdle = 3, 64
)

// Notify does nothing: the gateway itself publishes what it stores, so that no
// endpoint has to be believed.
func (*Client) Notify(context.Context, string, []byte) error { return nil }

// Pace returns the time between two heartbeats and the length of a lease that the
// gateway answered last; ok is false before it did.
func (c *Client) Pace() (heartbeat, lease time.Duration, ok bool) { return c.pace.last() }

// Close closes the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// groups returns the indexes of items by their endpoint and manager, in parts whose
// sizes add up to limit at most and that have at most [protocol.MaxItems].
func groups[T any](items []T, limit int, owner func(*T) (endpoint, manager string), size func(*T) int) []group {
	type key struct{ endpoint, manager string }
	var list []group
	current := map[key]int{} // in list
	for i := range items {
		endpoint, manager := owner(&items[i])
		n := size(&items[i])
		at, ok := current[key{endpoint, manager}]
		if !ok || len(list[at].indexes) == protocol.MaxItems || list[at].size+n > limit {
			at = len(list)
			current[key{endpoint, manager}] = at
			list = append(list, group{endpoint: endpoint, manager: manager})
		}
		list[at].indexes = append(list[at].indexes, i)
		list[at].size += n
	}
	return list
}

// group is the items of one request.
type group struct {
	endpoint, manager string
	indexes           []int
	size              int
}
