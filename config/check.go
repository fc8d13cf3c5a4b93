package config

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/x/secretfile"
)

// minToken is the least length of the bearer token: 32 characters hold 128
// bits even in hexadecimal digits.
const minToken = 32

// checker checks values against each other, and reads the secrets.
type checker struct {
	*draft
	*problems
	sources map[string]source
	bad     map[string]bool // keys with an invalid value
	without Part
	dir     string
	files   *Files // that were read
}

// uses reports whether the command needs a part. A manager in gateway mode needs no
// database.
func (c *checker) uses(part Part) bool {
	if part == PartDatabase && c.managesAtGateway() && c.managesOnly() {
		return false
	}
	return c.without&part == 0
}

// managesAtGateway reports whether the command runs managers in gateway mode.
func (c *checker) managesAtGateway() bool {
	return c.without&PartManager == 0 && c.ManagerMode == ModeGateway
}

// managesOnly reports whether the command runs managers, and neither an API nor a
// gateway.
func (c *checker) managesOnly() bool {
	const servers = PartAPI | PartGateway
	return c.without&servers == servers && c.without&PartManager == 0
}

// invalid reports a problem with the value of a key.
func (c *checker) invalid(path, format string, args ...any) {
	c.add(c.sources[path], "invalid "+path+": "+format, args...)
}

// missing reports a key that has no value.
func (c *checker) missing(path, example string) {
	c.add(c.sources[path], "missing %s: set it, or %s, to %s", path, EnvName(path), example)
}

func (c *checker) check() {
	if c.managesAtGateway() && c.dbURI == "" && c.tokenFile == "" && c.accessFile == "" && c.Gateway.Listen == "" {
		c.without |= PartAPI | PartGateway // for a machine that runs managers only
	}
	c.ManagersOnly = c.managesOnly()
	c.AccessFile = c.path(accessFileKey, c.accessFile)
	if c.Manager.SpoolDir == "" && !c.bad[spoolKey] {
		c.invalid(spoolKey, "must be a directory on a disk of this machine that the manager may write to")
	}
	c.checkSignatures()
	c.checkListen()
	if _, err := c.ManagerMetrics.Address(); err != nil && !c.bad[metricsKey] {
		c.invalid(metricsKey, "%v", err)
	}
	c.checkTimes()
	if c.uses(PartDatabase) {
		c.checkDatabase()
	}
	if c.uses(PartBroker) {
		c.checkBroker()
	} else {
		c.Rabbit.URIs = nil
	}
	if c.managesAtGateway() {
		c.checkGatewayClient()
	}
	if c.uses(PartGateway) {
		c.checkGatewayServer()
	}
	c.checkAdmin()
}

// secret reads the file that a key names. It returns false if there is none, or
// if it reported a problem.
func (c *checker) secret(path, name string) (secret string, ok bool) {
	if name == "" {
		return "", false
	}
	name = c.path(path, name)
	if path == tokenFileKey {
		c.files.note(name) // a new token takes effect at once
	}
	secret, err := secretfile.Read(name)
	if err != nil {
		c.invalid(path, "%v", err)
		return "", false
	}
	return secret, true
}

func (c *checker) checkListen() {
	const path = "api.listen"
	host := c.API.Listen
	_, err := netip.ParseAddr(host)
	loopback := isLoopback(host)
	if c.bad[path] {
		loopback = true
	} else if host == "" || err != nil && strings.ContainsAny(host, ":[]/ ") {
		c.invalid(path, "must be an address or host name without a port (see api.port), got %s", quote(host))
		loopback = true
	}
	if !c.uses(PartAPI) {
		return
	}
	c.checkTLS()
	if !loopback && c.tokenFile == "" && c.accessFile == "" && !c.API.Insecure {
		c.invalid(path, "%s is reachable from other hosts, and the API has no token: "+
			"listen on 127.0.0.1, set api.token_file or api.access_file, or set api.insecure: true to let anybody run tasks", host)
	}
	c.checkAccess()
	token, ok := c.secret(tokenFileKey, c.tokenFile)
	if !ok {
		return
	}
	if len(token) < minToken {
		c.invalid(tokenFileKey, "the token must have at least %d characters, got %d: openssl rand -hex 32", minToken, len(token))
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		c.invalid(tokenFileKey, "the token must be one line of printable ASCII characters without blanks")
	}
	c.API.Token = token
}

// checkAccess reads the access file, and reports all mistakes in it.
func (c *checker) checkAccess() {
	if c.AccessFile == "" {
		return
	}
	c.files.note(c.AccessFile) // what it says takes effect at once
	policy, err := access.Read(c.AccessFile)
	if wrong, ok := errors.AsType[*access.Error](err); ok {
		for _, problem := range wrong.Problems {
			c.invalid(accessFileKey, "%s", problem)
		}
		return
	}
	if err != nil {
		c.invalid(accessFileKey, "%v", err)
	}
	c.API.Access = policy
}

func (c *checker) checkTimes() {
	m := c.Manager
	if !c.bad["manager.lease"] && !c.bad["manager.heartbeat"] && m.Lease < 2*m.Heartbeat {
		c.invalid("manager.lease", "must be at least twice manager.heartbeat (%s), got %s", short(m.Heartbeat), short(m.Lease))
	}
	if !c.bad["manager.lease"] && !c.bad["reconcile.lost_after"] && c.Reconcile.LostAfter < m.Lease {
		c.invalid("reconcile.lost_after", "must be at least manager.lease (%s), got %s", short(m.Lease), short(c.Reconcile.LostAfter))
	}
}

func (c *checker) checkDatabase() {
	const path = databaseURIKey
	if c.bad[path] {
		return
	}
	if c.dbURI == "" {
		c.missing(path, "mysql://user@host:3306/database")
		return
	}
	u, err := parseURI(c.dbURI, "mysql", "sqlite")
	if err != nil {
		c.invalid(path, "%v", err)
		return
	}
	switch database := strings.Trim(u.Path, "/"); {
	case u.Scheme == "mysql" && (u.Hostname() == "" || database == "" || strings.Contains(database, "/")):
		c.invalid(path, "must have the form mysql://user:password@host:3306/database")
	case u.Scheme == "sqlite" && (u.Host != "" || database == ""):
		c.invalid(path, "must have the form sqlite:///path/to/file")
	case u.Scheme == "sqlite" && c.dbPasswordFile != "":
		c.invalid("manager.db.password_file", "a sqlite database has no password")
	case !validPort(u):
		c.invalid(path, "port must be 1-65535")
	}
	known := databaseParameters
	if u.Scheme == "sqlite" {
		known = nil
	}
	if err := checkParameters(u, known); err != nil {
		c.invalid(path, "%v", err)
	}
	if password, ok := c.secret("manager.db.password_file", c.dbPasswordFile); ok {
		if err := withPassword(u, password); err != nil {
			c.invalid(path, "%v", err)
		}
	}
	c.checkDatabaseTLS(u)
	c.Store.URI = u.String()
}

func (c *checker) checkBroker() {
	const path = brokerURIKey
	if c.bad[path] {
		return
	}
	if len(c.Rabbit.URIs) == 0 {
		c.missing(path, "amqp://user@host:5672/vhost")
		return
	}
	password, hasPassword := c.secret("manager.message_queue.password_file", c.brokerPasswordFile)
	complete := make([]string, 0, len(c.Rabbit.URIs))
	addresses := make([]*url.URL, 0, len(c.Rabbit.URIs))
	vhost := ""
	for i, s := range c.Rabbit.URIs {
		which := whichAddress(i, len(c.Rabbit.URIs))
		u, err := parseURI(s, "amqp", "amqps")
		if err != nil {
			c.invalid(path, "%s%v", which, err)
			continue
		}
		if u.Hostname() == "" || strings.Contains(strings.Trim(u.EscapedPath(), "/"), "/") {
			c.invalid(path, "%smust have the form amqp://user:password@host:5672/vhost", which)
		} else if !validPort(u) {
			c.invalid(path, "%sport must be 1-65535", which)
		} else if other := strings.Trim(u.Path, "/"); i == 0 {
			vhost = other
		} else if other != vhost {
			// Each process chooses an address at random: they would not meet.
			c.invalid(path, "%svirtual host must be %q, as in address 1, got %q", which, vhost, other)
		}
		if u.Query().Has("heartbeat") {
			c.invalid(path, "%sparameter heartbeat: set manager.message_queue.heartbeat instead", which)
		} else if err := checkParameters(u, brokerParameters); err != nil {
			c.invalid(path, "%s%v", which, err)
		}
		if hasPassword {
			if err := withPassword(u, password); err != nil {
				c.invalid(path, "%s%v", which, err)
			}
		}
		complete, addresses = append(complete, u.String()), append(addresses, u)
	}
	if len(addresses) == len(c.Rabbit.URIs) {
		c.checkBrokerTLS(addresses)
	}
	c.Rabbit.URIs = complete
}

func (c *checker) checkAdmin() {
	const path = "rabbitmq.management_uri"
	if !c.bad[path] {
		u, err := parseURI(c.RabbitAdmin.ManagementURI, "http", "https")
		switch {
		case err != nil:
			c.invalid(path, "%v", err)
		case u.Hostname() == "" || !validPort(u):
			c.invalid(path, "must have the form http://host:15672")
		case strings.Trim(u.Path, "/") == "api":
			c.invalid(path, "must not end with %s", u.Path)
		case u.User != nil:
			c.invalid(path, "must not name a user: set rabbitmq.user and rabbitmq.password_file")
		}
	}
	if !c.uses(PartAdmin) {
		c.RabbitAdmin.Password = ""
		return
	}
	if c.adminPasswordFile != "" && c.RabbitAdmin.Password != "" {
		c.invalid("rabbitmq.password_file", "must not be set beside rabbitmq.password")
		return
	}
	if password, ok := c.secret("rabbitmq.password_file", c.adminPasswordFile); ok {
		c.RabbitAdmin.Password = password
	}
}

// validPort reports whether a URI has no port, or a valid one.
func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return true
	}
	port, err := net.LookupPort("tcp", u.Port())
	return err == nil && port > 0
}
