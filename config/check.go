package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/taskerhq/tasker/internal/x/secretfile"
)

// minToken is the least length of the bearer token: 32 characters hold 128
// bits even in hexadecimal digits.
const minToken = 32

// checker looks at what one value alone does not show, and brings in the
// secrets.
type checker struct {
	*draft
	*problems
	sources map[string]source
	bad     map[string]bool // keys whose value could not be used
	without Part
	dir     string
	files   *Files // that were read
}

func (c *checker) uses(part Part) bool { return c.without&part == 0 }

// fail reports a problem with a key.
func (c *checker) fail(path, format string, args ...any) {
	c.add(c.sources[path], path+" "+format, args...)
}

func (c *checker) check() {
	if c.Manager.SpoolDir == "" && !c.bad[spoolKey] {
		c.fail(spoolKey, "is empty: name a directory on a disk of this machine, which the manager may write to")
	}
	c.checkListen()
	c.checkTimes()
	if c.uses(PartDatabase) {
		c.checkDatabase()
	}
	if c.uses(PartBroker) {
		c.checkBroker()
	} else {
		c.Rabbit.URIs = nil
	}
	c.checkAdmin()
}

// secret reads the file that a key names; ok is false where there is none, or
// a problem with it was reported.
const tokenFileKey = "api.token_file"

func (c *checker) secret(path, name string) (secret string, ok bool) {
	if name == "" {
		return "", false
	}
	if c.sources[path].file != "" && !filepath.IsAbs(name) {
		name = filepath.Join(c.dir, name)
	}
	if path == tokenFileKey {
		c.files.note(name) // a new token takes effect at once
	}
	secret, err := secretfile.Read(name)
	if err != nil {
		c.fail(path, "%v", err)
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
		c.fail(path, "is %s: give an address without a port, such as 127.0.0.1, :: or a host name; the port belongs in api.port", quote(host))
		loopback = true
	}
	if !c.uses(PartAPI) {
		return
	}
	if !loopback && c.tokenFile == "" && !c.API.Insecure {
		c.fail(path, "is %s, where others can reach the API, and no token keeps them out: "+
			"listen on 127.0.0.1, or name a file with a bearer token in api.token_file, or say api.insecure: true if anybody may run tasks", host)
	}
	token, ok := c.secret("api.token_file", c.tokenFile)
	if !ok {
		return
	}
	if len(token) < minToken {
		c.fail("api.token_file", "names a file with a token of %d characters: give %d or more, such as openssl rand -hex 32 makes", len(token), minToken)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		c.fail("api.token_file", "names a file with a token that no request can carry: give one line of letters, digits and signs, without blanks")
	}
	c.API.Token = token
}

func (c *checker) checkTimes() {
	m := c.Manager
	if !c.bad["manager.lease"] && !c.bad["manager.heartbeat"] && m.Lease < 2*m.Heartbeat {
		c.fail("manager.lease", "is %s: it must be at least twice manager.heartbeat, which is %s", short(m.Lease), short(m.Heartbeat))
	}
	if !c.bad["manager.lease"] && !c.bad["reconcile.lost_after"] && c.Reconcile.LostAfter < m.Lease {
		c.fail("reconcile.lost_after", "is %s: it must not be less than manager.lease, which is %s", short(c.Reconcile.LostAfter), short(m.Lease))
	}
}

func (c *checker) checkDatabase() {
	const path = databaseURIKey
	if c.bad[path] {
		return
	}
	if c.dbURI == "" {
		c.fail(path, "is not set: give mysql://user@host:3306/database here or in %s", EnvName(path))
		return
	}
	u, err := parseURI(c.dbURI, "mysql", "sqlite")
	if err != nil {
		c.fail(path, "%v", err)
		return
	}
	switch database := strings.Trim(u.Path, "/"); {
	case u.Scheme == "mysql" && (u.Hostname() == "" || database == "" || strings.Contains(database, "/")):
		c.fail(path, "is incomplete: give mysql://user:password@host:3306/database")
	case u.Scheme == "sqlite" && (u.Host != "" || database == ""):
		c.fail(path, "is incomplete: give sqlite:///path/to/file")
	case u.Scheme == "sqlite" && c.dbPasswordFile != "":
		c.fail("manager.db.password_file", "is set, and a sqlite database takes no password")
	case !validPort(u):
		c.fail(path, "has a port that is none: give one from 1 to 65535")
	}
	known := databaseParameters
	if u.Scheme == "sqlite" {
		known = nil
	}
	if err := checkParameters(u, known); err != nil {
		c.fail(path, "%v", err)
	}
	if password, ok := c.secret("manager.db.password_file", c.dbPasswordFile); ok {
		if err := withPassword(u, password); err != nil {
			c.fail(path, "%v", err)
		}
	}
	c.Store.URI = u.String()
}

func (c *checker) checkBroker() {
	const path = brokerURIKey
	if c.bad[path] {
		return
	}
	if len(c.Rabbit.URIs) == 0 {
		c.fail(path, "is not set: give amqp://user@host:5672/vhost here or in %s", EnvName(path))
		return
	}
	password, hasPassword := c.secret("manager.message_queue.password_file", c.brokerPasswordFile)
	complete := make([]string, 0, len(c.Rabbit.URIs))
	vhost := ""
	for i, s := range c.Rabbit.URIs {
		which := ""
		if len(c.Rabbit.URIs) > 1 {
			which = fmt.Sprintf("(number %d) ", i+1)
		}
		u, err := parseURI(s, "amqp", "amqps")
		if err != nil {
			c.fail(path, "%s%v", which, err)
			continue
		}
		if u.Hostname() == "" || strings.Contains(strings.Trim(u.EscapedPath(), "/"), "/") {
			c.fail(path, "%sis incomplete: give amqp://user:password@host:5672/vhost", which)
		} else if !validPort(u) {
			c.fail(path, "%shas a port that is none: give one from 1 to 65535", which)
		} else if other := strings.Trim(u.Path, "/"); i == 0 {
			vhost = other
		} else if other != vhost {
			// Each process takes an address by lot: they would not meet.
			c.fail(path, "%shas another virtual host than number 1, %q instead of %q: the addresses must be nodes of one cluster", which, other, vhost)
		}
		if u.Query().Has("heartbeat") {
			c.fail(path, "%shas the parameter heartbeat: give it in manager.message_queue.heartbeat instead", which)
		} else if err := checkParameters(u, brokerParameters); err != nil {
			c.fail(path, "%s%v", which, err)
		}
		if hasPassword {
			if err := withPassword(u, password); err != nil {
				c.fail(path, "%s%v", which, err)
			}
		}
		complete = append(complete, u.String())
	}
	c.Rabbit.URIs = complete
}

func (c *checker) checkAdmin() {
	const path = "rabbitmq.management_uri"
	if !c.bad[path] {
		u, err := parseURI(c.RabbitAdmin.ManagementURI, "http", "https")
		switch {
		case err != nil:
			c.fail(path, "%v", err)
		case u.Hostname() == "" || !validPort(u):
			c.fail(path, "is incomplete: give http://host:15672")
		case strings.Trim(u.Path, "/") == "api":
			c.fail(path, "ends with %s: leave that out, as in http://host:15672", u.Path)
		case u.User != nil:
			c.fail(path, "has a user: give it in rabbitmq.user and rabbitmq.password_file instead")
		}
	}
	if !c.uses(PartAdmin) {
		c.RabbitAdmin.Password = ""
		return
	}
	if c.adminPasswordFile != "" && c.RabbitAdmin.Password != "" {
		c.fail("rabbitmq.password_file", "is set, and rabbitmq.password too: give one of them")
		return
	}
	if password, ok := c.secret("rabbitmq.password_file", c.adminPasswordFile); ok {
		c.RabbitAdmin.Password = password
	}
}

// validPort tells whether the port of a URI, if it has one, is a port.
func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return true
	}
	port, err := net.LookupPort("tcp", u.Port())
	return err == nil && port > 0
}
