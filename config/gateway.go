package config

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/identity"
	"github.com/taskerhq/tasker/internal/x/certfile"
	"github.com/taskerhq/tasker/internal/x/secretfile"
)

// The values of manager.mode.
const (
	ModeDatabase = "database"
	ModeGateway  = "gateway"
)

// DefaultGatewayListen is where a gateway listens by convention.
const DefaultGatewayListen = "127.0.0.1:8889"

// GatewayServer is the gateway that an API process, or "tasker gateway", serves.
type GatewayServer struct {
	// Listen is host:port; empty means that the API serves no gateway.
	Listen string
	// CertFile and KeyFile are absolute; both are empty for clear text, which a
	// loopback address alone may have.
	CertFile, KeyFile string
	Limits            gateway.Config
	// MaxConnections and MaxConnectionsPerAddress bound the open connections.
	MaxConnections           int
	MaxConnectionsPerAddress int
}

// GatewayClient is the gateway as managers in gateway mode see it.
type GatewayClient struct {
	// Addresses are the gateway's processes, such as https://gateway1:8889.
	Addresses []string
	// CAFile has the certificates of the authorities that the gateway's
	// certificate may come from; empty means those of the system.
	CAFile string

	token     string
	tokenFile string // may contain endpointPlace
}

// endpointPlace stands for the name of an endpoint in manager.gateway.token_file.
const endpointPlace = "{endpoint}"

// Token returns the token of an endpoint, as it is in its file now. An error does
// not contain it.
func (g GatewayClient) Token(endpoint string) (string, error) {
	token, from := g.token, gatewayTokenKey
	if g.tokenFile != "" {
		from = gatewayTokenFileKey
		var err error
		if token, err = secretfile.Read(strings.ReplaceAll(g.tokenFile, endpointPlace, endpoint)); err != nil {
			return "", fmt.Errorf("invalid %s: %w", from, err)
		}
	}
	if _, err := identity.Sum(token); err != nil {
		return "", fmt.Errorf("invalid %s: %w", from, err)
	}
	return token, nil
}

// CheckEndpoints returns an [*Error] unless managers of the endpoints have what
// they need in gateway mode: a token each.
func (c Config) CheckEndpoints(endpoints []string) error {
	if c.ManagerMode != ModeGateway {
		return nil
	}
	var p problems
	if len(endpoints) > 1 && !strings.Contains(c.GatewayClient.tokenFile, endpointPlace) {
		p.add(source{}, "a manager of several endpoints needs a token for each: set %s to a path with %s in place of the name, "+
			"such as secrets/%s.token", gatewayTokenFileKey, endpointPlace, endpointPlace)
		return p.err()
	}
	for _, name := range endpoints {
		if _, err := c.GatewayClient.Token(name); err != nil {
			p.add(source{}, "endpoint %s: %v", name, err)
		}
	}
	return p.err()
}

const (
	gatewayTokenKey     = "manager.gateway.token"
	gatewayTokenFileKey = "manager.gateway.token_file"
	gatewayAddressesKey = "manager.gateway.addresses"
	gatewayCAKey        = "manager.gateway.ca_file"
	gatewayListenKey    = "gateway.listen"
	gatewayCertKey      = "gateway.tls.cert_file"
	gatewayKeyKey       = "gateway.tls.key_file"
)

// gatewayKeys are those of both sides of a gateway.
func gatewayKeys(d *draft) []key {
	return []key{
		{
			"manager.mode", forMgr, "where a manager stores what it does: in the database, or at a gateway, for which it needs " +
				"`manager.gateway` and no `manager.db`",
			oneOf(&d.ManagerMode, ModeDatabase, ModeGateway),
		},
		{
			gatewayAddressesKey, forMgr, "the gateway's processes, such as `https://gateway1:8889`, or a list of them: one is used as " +
				"long as it answers, then the next",
			addresses(&d.GatewayClient.Addresses).masked(maskAddress),
		},
		{
			gatewayTokenFileKey, forMgr, "file with the endpoint's token, which `tasker endpoints add` prints; `{endpoint}` in the path " +
				"stands for the endpoint's name",
			text(&d.GatewayClient.tokenFile),
		},
		{gatewayTokenKey, forMgr, "the token itself, where it is not in a file", text(&d.GatewayClient.token).masked(maskAll)},
		{
			gatewayCAKey, forMgr, "file with the certificates (PEM) of the authorities that the gateway's certificate may come from; by " +
				"default those of the system",
			text(&d.GatewayClient.CAFile),
		},

		{
			gatewayListenKey, forGateway, "address of the gateway, such as `127.0.0.1:8889`; empty means that the API " +
				"serves none. Any but a loopback address needs `gateway.tls`",
			text(&d.Gateway.Listen),
		},
		{
			gatewayCertKey, forGateway, "file with the gateway's certificate and its chain (PEM), read again when it changes",
			text(&d.Gateway.CertFile),
		},
		{gatewayKeyKey, forGateway, "file with its private key (PEM), read again when it changes", text(&d.Gateway.KeyFile)},
		{
			"gateway.max_connections", forGateway, "open connections; the rest are closed",
			number(&d.Gateway.MaxConnections, 1, 1_000_000),
		},
		{
			"gateway.max_connections_per_address", forGateway, "open connections of one address, such as a proxy",
			number(&d.Gateway.MaxConnectionsPerAddress, 1, 1_000_000),
		},
		{
			"gateway.max_requests", forGateway, "requests served at once; the rest get 503 with Retry-After",
			number(&d.Gateway.Limits.MaxRequests, 1, 1_000_000),
		},
		{
			"gateway.max_requests_per_endpoint", forGateway, "requests of one endpoint served at once; the rest get 503 with Retry-After",
			number(&d.Gateway.Limits.MaxPerEndpoint, 1, 10_000),
		},
		{
			"gateway.max_body", forGateway, "bytes of a request's body; more than twice `manager.max_result` of any manager",
			number(&d.Gateway.Limits.MaxBody, kiB, giB),
		},
		{
			"gateway.max_bodies", forGateway, "bytes of request bodies held at once; the rest get 503 with Retry-After",
			number(&d.Gateway.Limits.MaxBodies, miB, 64*giB),
		},
	}
}

// addresses reads one address, a list of them, or several in one text, with commas
// or blanks between.
func addresses(at *[]string) codec {
	return texts(at, func(all string) []string {
		return strings.FieldsFunc(all, func(r rune) bool { return strings.ContainsRune(", \t\n", r) })
	}, "must be an address or a list of addresses")
}

// path returns the absolute path of a file that a key names.
func (c *checker) path(key, name string) string {
	if name != "" && c.sources[key].file != "" && !filepath.IsAbs(name) {
		return filepath.Join(c.dir, name)
	}
	return name
}

// checkGatewayClient checks what a manager in gateway mode needs.
func (c *checker) checkGatewayClient() {
	g := &c.GatewayClient
	if len(g.Addresses) == 0 && !c.bad[gatewayAddressesKey] {
		c.missing(gatewayAddressesKey, "https://gateway.example.com:8889")
	}
	for i, address := range g.Addresses {
		if err := checkGatewayAddress(address); err != nil {
			c.invalid(gatewayAddressesKey, "address %d: %v", i+1, err)
		}
	}
	g.tokenFile, g.CAFile = c.path(gatewayTokenFileKey, g.tokenFile), c.path(gatewayCAKey, g.CAFile)
	switch {
	case g.token == "" && g.tokenFile == "":
		c.missing(gatewayTokenFileKey, "a file with the token that \"tasker endpoints add NAME\" prints")
	case g.token != "" && g.tokenFile != "":
		c.invalid(gatewayTokenFileKey, "must not be set beside %s", gatewayTokenKey)
	case !strings.Contains(g.tokenFile, endpointPlace):
		if _, err := g.Token(""); err != nil {
			c.add(c.sources[gatewayTokenFileKey], "%v", err)
		}
	}
	if g.CAFile != "" {
		if _, err := certfile.Pool(g.CAFile); err != nil {
			c.invalid(gatewayCAKey, "%v", err)
		}
	}
}

// checkGatewayAddress returns what is wrong with the address of a gateway.
func checkGatewayAddress(address string) error {
	u, err := parseURI(address, "https", "http")
	switch {
	case err != nil:
		return err
	case u.Hostname() == "" || !validPort(u) || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "":
		return errors.New("must have the form https://host:8889")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return fmt.Errorf("%s is another host, and everybody on the way could read the token: use https://", u.Hostname())
	}
	return nil
}

// checkGatewayServer checks where a gateway listens, and its certificate.
func (c *checker) checkGatewayServer() {
	g := &c.Gateway
	g.CertFile, g.KeyFile = c.path(gatewayCertKey, g.CertFile), c.path(gatewayKeyKey, g.KeyFile)
	if g.Listen == "" {
		return
	}
	host, port, err := net.SplitHostPort(g.Listen)
	if n, wrong := strconv.Atoi(port); err != nil || wrong != nil || n < 0 || n > 65535 || strings.ContainsAny(host, " /") {
		c.invalid(gatewayListenKey, "must be host:port, such as %s, got %s", DefaultGatewayListen, quote(g.Listen))
		return
	}
	c.certificate(gatewayCertKey, g.CertFile, gatewayKeyKey, g.KeyFile)
	if g.CertFile == "" && g.KeyFile == "" && !isLoopback(host) {
		c.invalid(gatewayListenKey, "%s is reachable from other hosts, and tokens and payloads would cross the network in clear text: "+
			"set %s and %s, or listen on %s behind a proxy with TLS", g.Listen, gatewayCertKey, gatewayKeyKey, DefaultGatewayListen)
	}
}

// warnOfGateway warns of what a manager in gateway mode does not need.
func (w *warner) warnOfGateway() {
	if w.managesAtGateway() && w.managesOnly() && w.dbURI != "" {
		w.warn(databaseURIKey, "not needed, since manager.mode is %s: remove manager.db from the configuration of this manager, whose "+
			"handlers could read the database's password", ModeGateway)
	}
}
