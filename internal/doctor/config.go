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
	Insecure     bool // api.insecure
	Accounts     []Account
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
	e.check(ctx, groupConfiguration, "passwords", func(context.Context) []Finding { return s.passwords() })
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
	case s.Insecure && !loopback:
		return one(Warning, "set api.token_file to a file with a bearer token, and remove api.insecure",
			"api.insecure lets everybody who can reach %s run tasks", s.Listen)
	case s.Insecure:
		return one(Warning, "remove api.insecure: a loopback address does not need it",
			"api.insecure is set: once api.listen is changed, everybody may run tasks")
	case !loopback:
		return one(Note, "put a TLS proxy in front", "the API listens on %s without TLS: the token crosses the network unencrypted",
			s.Listen)
	case !s.Token:
		return one(OK, "", "the API listens on %s only; every user of this machine may run tasks", s.Listen)
	}
	return okay("the API listens on %s only, and requires a token", s.Listen)
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
