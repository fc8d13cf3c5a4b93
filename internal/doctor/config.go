package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

const groupConfiguration = "configuration"

// Settings are the parts of the configuration that the checks use.
type Settings struct {
	Mode, File string
	// Error is why the API cannot use this configuration, if the rest of it is
	// valid.
	Error error
	// Development reports that default passwords are fine.
	Development bool
	// ManagersOnly reports that the configuration is that of managers, and of no API.
	ManagersOnly bool
	TaskTypes    []string
	Listen       string
	Token        bool // every request needs one
	// Tokens are those of people that end soon, or have ended.
	Tokens   []Token
	Insecure bool // api.insecure
	// TLS reports that the API speaks TLS, and ClientCertificates that its clients
	// need certificates.
	TLS, ClientCertificates bool
	// Certificates are those of the servers of this machine, and its own at others.
	Certificates []Certificate
	// UnsafeAddresses are warnings about connections to other hosts.
	UnsafeAddresses []string
	Accounts        []Account
	// MaxOpenConns bounds the database connections of a process.
	MaxOpenConns int
	// MaxBody and MaxResult bound, in bytes, a request's body and a result.
	MaxBody, MaxResult int64
	// QueueExpires is how long a queue outlives its consumer.
	QueueExpires time.Duration
	// QueueArguments and DeadArguments are the arguments with which the queues of
	// endpoints, and the one of dead letters, are declared.
	QueueArguments, DeadArguments map[string]any
	// WaitForEndpoints is the time in which every endpoint should have
	// received a task.
	WaitForEndpoints time.Duration
}

// Account is a user of a service. The password is checked and never printed.
type Account struct {
	Key            string // of the configuration
	User, Password string
}

// Token is somebody's token, and says when it ends. What describes it without it.
type Token struct {
	What string
	End  time.Time
}

// Certificate is one of this machine, and says when it is valid.
type Certificate struct {
	Key, File  string // of the configuration, and the path
	Begin, End time.Time
}

// defaultPasswords are those of RabbitMQ and of the examples.
var defaultPasswords = []string{"guest", "tasker"}

func (e *examination) checkSettings(ctx context.Context) {
	s := e.Settings
	e.check(ctx, groupConfiguration, "file", func(context.Context) []Finding {
		if s.Error != nil {
			return one(Warning, "fine on a machine that only runs managers; an API needs this fixed",
				"%s is invalid for an API: %s", s.File, oneLine(s.Error))
		}
		return okay("%s is valid: mode %s, task types %s", s.File, s.Mode, some(s.TaskTypes))
	})
	e.check(ctx, groupConfiguration, "access", func(context.Context) []Finding { return s.access() })
	if len(s.Tokens) > 0 {
		e.check(ctx, groupConfiguration, "tokens", func(context.Context) []Finding { return s.tokens(time.Now()) })
	}
	e.check(ctx, groupConfiguration, "passwords", func(context.Context) []Finding { return s.passwords() })
	if len(s.UnsafeAddresses) > 0 {
		e.check(ctx, groupConfiguration, "network", func(context.Context) (found []Finding) {
			for _, warning := range s.UnsafeAddresses {
				found = append(found, one(Warning, "", "%s", warning)...)
			}
			return found
		})
	}
	if len(s.Certificates) > 0 {
		e.check(ctx, groupConfiguration, "certificates", func(context.Context) []Finding { return s.certificates(time.Now()) })
	}
}

// access checks who may run tasks.
func (s Settings) access() []Finding {
	addr, err := netip.ParseAddr(s.Listen)
	loopback := s.Listen == "localhost" || err == nil && addr.IsLoopback()
	switch {
	case s.ManagersOnly:
		return one(Note, "", "not checked: the configuration is that of managers only")
	case s.Error != nil:
		return one(Note, "", "not checked: the API's part of the configuration cannot be read")
	case s.Insecure && !loopback && !s.ClientCertificates:
		return one(Warning, "set api.token_file to a file with a bearer token, and remove api.insecure",
			"api.insecure lets everybody who can reach %s run tasks", s.Listen)
	case s.Insecure && loopback:
		return one(Warning, "remove api.insecure: a loopback address does not need it",
			"api.insecure is set: once api.listen is changed, everybody may run tasks")
	case !loopback && !s.TLS:
		return one(Note, "set api.tls.cert_file and api.tls.key_file, or put a TLS proxy in front",
			"the API listens on %s without TLS: the token crosses the network unencrypted", s.Listen)
	case !loopback:
		return okay("the API listens on %s with TLS, and requires %s", s.Listen, s.credentials())
	case !s.Token && !s.ClientCertificates:
		return one(OK, "", "the API listens on %s only; every user of this machine may run tasks", s.Listen)
	}
	return okay("the API listens on %s only, and requires %s", s.Listen, s.credentials())
}

// credentials says what the API requires of its clients.
func (s Settings) credentials() string {
	switch {
	case !s.ClientCertificates:
		return "a token"
	case !s.Token:
		return "a client certificate"
	}
	return "a client certificate and a token"
}

// tokens tells of those that end.
func (s Settings) tokens(now time.Time) (findings []Finding) {
	for _, t := range s.Tokens {
		end := t.End.Format(time.RFC3339)
		if now.Before(t.End) {
			findings = append(findings, one(Warning, "tasker auth token prints another one", "%s ends at %s", t.What, end)...)
		} else {
			findings = append(findings, one(Note, "remove it from api.access_file", "%s ended at %s", t.What, end)...)
		}
	}
	return findings
}

// certificates finds those that the other side refuses, or will soon.
func (s Settings) certificates(now time.Time) (findings []Finding) {
	for _, c := range s.Certificates {
		switch left := c.End.Sub(now); {
		case left <= 0:
			findings = append(findings, one(Problem, "renew it: it is read again when its files change", "%s: %s ended at %s",
				c.Key, c.File, c.End.Format(time.RFC3339))...)
		case now.Before(c.Begin):
			findings = append(findings, one(Problem, "check the clock of this machine, or take another certificate",
				"%s: %s begins at %s", c.Key, c.File, c.Begin.Format(time.RFC3339))...)
		case left < 7*24*time.Hour:
			findings = append(findings, one(Warning, "renew it: it is read again when its files change", "%s: %s ends at %s",
				c.Key, c.File, c.End.Format(time.RFC3339))...)
		}
	}
	if len(findings) == 0 {
		return okay("valid for a week at least")
	}
	return findings
}

// passwords finds well-known passwords.
func (s Settings) passwords() []Finding {
	var keys []string
	for _, a := range s.Accounts {
		for _, known := range defaultPasswords {
			if a.Password == known {
				keys = append(keys, a.Key)
			}
		}
	}
	switch {
	case len(keys) == 0:
		return okay("no default passwords")
	case s.Development:
		return one(Note, "", "default passwords in %s: fine for development only", some(keys))
	}
	return one(Warning, "choose another, for example with openssl rand -hex 32, and keep it in a password_file",
		"%s %s a well-known password", some(keys), has(len(keys)))
}

func has(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

// oneLine joins the lines of an error.
func oneLine(err error) string {
	return strings.Join(strings.Fields(fmt.Sprint(err)), " ")
}
