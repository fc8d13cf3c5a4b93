package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

const groupConfiguration = "configuration"

// Settings are what the doctor needs to know of the configuration.
type Settings struct {
	Mode, File string
	// Error is what keeps the API from using this configuration, where the
	// rest of it can be used.
	Error error
	// Development tells that default passwords do no harm.
	Development bool
	TaskTypes   []string
	Listen      string
	Token       bool // every request needs one
	Insecure    bool // api.insecure
	Accounts    []Account
	// MaxOpenConns is how many connections to the database a process has.
	MaxOpenConns int
	// MaxBody and MaxResult bound, in bytes, a request's body and a result.
	MaxBody, MaxResult int64
	// QueueExpires is how long a queue outlives its consumer.
	QueueExpires time.Duration
	// QueueArguments and DeadArguments are those with which the queues of
	// endpoints, and the one of the dead letters, are declared.
	QueueArguments, DeadArguments map[string]any
	// WaitForEndpoints is the time in which every endpoint should have
	// received a task.
	WaitForEndpoints time.Duration
}

// Account is a user of a service. The password is looked at and never shown.
type Account struct {
	Key            string // of the configuration
	User, Password string
}

// defaultPasswords are those that RabbitMQ and the examples come with.
var defaultPasswords = []string{"guest", "tasker"}

func (e *examination) checkSettings(ctx context.Context) {
	s := e.Settings
	e.check(ctx, groupConfiguration, "file", func(context.Context) []Finding {
		if s.Error != nil {
			return one(Warning, "right on a machine that runs managers only; an API needs this mended",
				"%s cannot be used by an API here: %s", s.File, oneLine(s.Error))
		}
		return well("%s has no mistakes: mode %s, task types %s", s.File, s.Mode, some(s.TaskTypes))
	})
	e.check(ctx, groupConfiguration, "access", func(context.Context) []Finding { return s.access() })
	e.check(ctx, groupConfiguration, "passwords", func(context.Context) []Finding { return s.passwords() })
}

// access says who may run tasks.
func (s Settings) access() []Finding {
	addr, err := netip.ParseAddr(s.Listen)
	loopback := s.Listen == "localhost" || err == nil && addr.IsLoopback()
	switch {
	case s.Error != nil:
		return one(Note, "", "not checked: the API's part of the configuration cannot be read here")
	case s.Insecure && !loopback:
		return one(Warning, "name a file with a bearer token in api.token_file, and remove api.insecure",
			"api.insecure lets everybody who reaches %s run tasks", s.Listen)
	case s.Insecure:
		return one(Warning, "remove api.insecure: on a loopback address nothing needs it",
			"api.insecure is on: as soon as api.listen is changed, everybody may run tasks")
	case !loopback:
		return one(Note, "put a proxy that speaks TLS in front", "the API listens on %s and speaks no TLS: the token crosses the network as it is", s.Listen)
	case !s.Token:
		return one(OK, "", "the API listens on %s only; whoever can log in here may run tasks", s.Listen)
	}
	return well("the API listens on %s only, and asks for a token", s.Listen)
}

// passwords finds those that everybody knows.
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
		return well("none of them is a default one")
	case s.Development:
		return one(Note, "", "default passwords in %s: right for development only", some(keys))
	}
	return one(Warning, "choose another, such as openssl rand -hex 32 makes, and keep it in a password_file",
		"%s %s a password that everybody knows", some(keys), has(len(keys)))
}

func has(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

// oneLine joins the lines of an error that has several.
func oneLine(err error) string {
	return strings.Join(strings.Fields(fmt.Sprint(err)), " ")
}
