package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/x/trust"
)

// Warnings returns what works but is unsafe: others could read a secret or run
// tasks. Each is one line that names the key, where it was set, and what to do,
// without any secret.
func (c Config) Warnings() []string { return slices.Clone(c.warnings) }

// UnsafeAddresses returns those of the warnings that are about connections to other
// hosts, which somebody on the way could read or take over.
func (c Config) UnsafeAddresses() []string { return slices.Clone(c.unsafe) }

// warner collects warnings about a valid configuration.
type warner struct {
	*checker
	found problems
}

func (w *warner) warn(path, format string, args ...any) {
	w.found.add(w.sources[path], path+": "+format, args...)
}

// warn returns warnings about a valid configuration.
func (c *checker) warn() []string {
	w := &warner{checker: c}
	w.warnOfAPI()
	others := len(w.found.list)
	if c.uses(PartDatabase) {
		w.warnOfAddress("manager.db.uri", c.Store.URI)
	}
	if c.uses(PartBroker) {
		for _, uri := range c.Rabbit.URIs {
			w.warnOfAddress(brokerURIKey, uri)
		}
	}
	if c.uses(PartAdmin) && c.RabbitAdmin.Password != "" {
		w.warnOfAddress("rabbitmq.management_uri", c.RabbitAdmin.ManagementURI)
	}
	c.unsafe = slices.Clone(w.found.list[others:])
	w.warnOfGateway()
	w.warnOfCertificates(time.Now())
	w.warnOfReaders()
	w.warnOfDir(spoolKey, w.Manager.SpoolDir, "others can put results there")
	w.warnOfSignatures()
	return w.found.list
}

func (w *warner) warnOfAPI() {
	if !w.uses(PartAPI) {
		return
	}
	w.warnOfTokens(time.Now())
	anybody := w.tokenFile == "" && w.accessFile == ""
	switch open := !isLoopback(w.API.Listen); {
	case open && anybody && w.API.TLS.ClientCAFile != "": // who has a certificate may
	case open && anybody:
		w.warn("api.insecure", "anybody who can reach %s may run tasks: listen on 127.0.0.1, or set api.token_file", w.API.Listen)
	case open && !w.API.TLS.On():
		w.warn("api.listen", "token and payloads arrive at %s in clear text: set %s and %s, or put a proxy with TLS in front, "+
			"and listen on 127.0.0.1", w.API.Listen, apiCertKey, apiKeyKey)
	case anybody && w.Mode != DefaultMode:
		w.warn(tokenFileKey, "not set: every user of this machine may run tasks")
	}
}

// TokenEnds is how long before its end a token is warned of.
const TokenEnds = 14 * day

// EndingTokens returns the tokens of the access file that end soon, or have ended.
func (c Config) EndingTokens(now time.Time) []access.Token {
	if c.API.Access == nil {
		return nil
	}
	return c.API.Access.Ending(now, TokenEnds)
}

// warnOfTokens warns of tokens of the access file that end soon, or have ended.
func (w *warner) warnOfTokens(now time.Time) {
	for _, token := range w.EndingTokens(now) {
		at := token.Expires.Format(time.RFC3339)
		if now.Before(token.Expires) {
			w.warn(accessFileKey, "%s ends at %s: tasker auth token prints another one", token, at)
		} else {
			w.warn(accessFileKey, "%s ended at %s: remove it from %s", token, at, w.AccessFile)
		}
	}
}

// warnOfAddress warns of connections that others can read.
func (w *warner) warnOfAddress(path, uri string) {
	u, err := url.Parse(uri)
	if err != nil || isLoopback(u.Hostname()) {
		return
	}
	host := u.Hostname()
	const clear = "passwords and payloads cross the network in clear text"
	switch u.Scheme {
	case "mysql":
		switch strings.ToLower(u.Query().Get("tls")) {
		case "true":
		case "skip-verify":
			w.warn(path, "tls=skip-verify does not check the certificate of %s, which anybody on the way can impersonate: use "+
				"tls=true", host)
		case "preferred":
			w.warn(path, "tls=preferred lets anybody on the way to %s turn TLS off: use tls=true", host)
		default:
			w.warn(path, "%s is another host, and %s: add ?tls=true", host, clear)
		}
	case "amqp":
		w.warn(path, "%s is another host, and %s: use amqps://", host, clear)
	case "http":
		w.warn(path, "%s is another host, and %s: use https://", host, clear)
	}
}

// warnOfReaders warns of secrets in a file that every user can read.
func (w *warner) warnOfReaders() {
	if len(*w.files) == 0 {
		return
	}
	own := (*w.files)[0]
	if own.info == nil || own.info.Mode().Perm()&0o004 == 0 {
		return
	}
	var holders []string
	for _, s := range w.settings {
		if s.from.file == own.path && s.holdsSecret() {
			holders = append(holders, s.path)
		}
	}
	for _, t := range w.TaskTypes {
		if w.entries[t.Name].from.file == own.path && holdsSecret(t.Settings) {
			holders = append(holders, w.entries[t.Name].path+".settings")
		}
	}
	if len(holders) > 0 {
		w.found.add(source{},
			"%s: readable by every user (its mode is %v), with secrets in %s: chmod o-r %s, or move the secrets to files of their own",
			own.path, own.info.Mode(), strings.Join(holders, ", "), own.path)
	}
}

// holdsSecret reports whether the value contains a secret.
func (s setting) holdsSecret() bool {
	return strings.Contains(fmt.Sprint(s.value), Masked)
}

func holdsSecret(settings map[string]any) bool {
	masked, _ := maskSettings(settings).(map[string]any)
	return containsMask(masked)
}

func containsMask(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), containsMask)
	case []any:
		return slices.ContainsFunc(v, containsMask)
	case string:
		return strings.Contains(v, Masked)
	}
	return false
}

// warnOfDir warns of a directory of the manager that others can change. danger says what
// they can do.
func (w *warner) warnOfDir(path, dir, danger string) {
	if _, err := os.Stat(dir); err != nil {
		return // the manager makes it
	}
	if wrong, ok := errors.AsType[*trust.Error](trust.Check(dir)); ok {
		w.warn(path, "%s: %v", danger, wrong)
	}
}

// isLoopback reports whether a host is this machine, without asking a name
// server.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// serviceAddress reports whether a variable's value is what Kubernetes sets for
// a Service: TASKER_API_PORT=tcp://10.0.0.1:80 for one named tasker-api.
func serviceAddress(name, value string) bool {
	u, err := url.Parse(value)
	if err != nil || !strings.HasSuffix(name, "_PORT") || !slices.Contains([]string{"tcp", "udp", "sctp"}, u.Scheme) {
		return false
	}
	_, _, err = net.SplitHostPort(u.Host)
	return err == nil
}
