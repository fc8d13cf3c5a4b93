package rabbit

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/x/certfile"
)

const (
	defaultCheck   = 5 * time.Minute // each is some ten declarations
	defaultConfirm = 10 * time.Second
	defaultAnswer  = 30 * time.Second // many may declare at once
	defaultName    = "tasker"
	dialTimeout    = 10 * time.Second
	// x-expires is in milliseconds, in 32 bits.
	maxQueueExpires = (1<<32 - 1) * time.Millisecond
)

// normalize checks cfg and fills in defaults. Its errors name the wrong key and
// never contain a password.
func (cfg Config) normalize() (Config, []address, error) {
	if len(cfg.URIs) == 0 {
		return cfg, nil, errors.New("rabbitmq: no URIs")
	}
	addresses := make([]address, 0, len(cfg.URIs))
	for i, uri := range cfg.URIs {
		a, err := cfg.parseAddress(uri)
		if err != nil {
			return cfg, nil, fmt.Errorf("rabbitmq: URI %d: %w", i+1, err)
		}
		addresses = append(addresses, a)
	}
	switch cfg.QueueType {
	case "":
		cfg.QueueType = amqp.QueueTypeClassic
	case amqp.QueueTypeClassic, amqp.QueueTypeQuorum:
	default:
		return cfg, nil, fmt.Errorf("rabbitmq: invalid queue type %q: must be %q or %q", cfg.QueueType, amqp.QueueTypeClassic,
			amqp.QueueTypeQuorum)
	}
	if cfg.QueueExpires == 0 {
		cfg.QueueExpires = DefaultQueueExpires
	}
	if cfg.QueueExpires < time.Millisecond || cfg.QueueExpires > maxQueueExpires {
		return cfg, nil, fmt.Errorf("rabbitmq: invalid queue expiry %s: must be between 1ms and %s", cfg.QueueExpires, maxQueueExpires)
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = DefaultHeartbeat
	}
	if cfg.Heartbeat < time.Second {
		return cfg, nil, fmt.Errorf("rabbitmq: invalid heartbeat %s: must be at least 1s", cfg.Heartbeat)
	}
	if cfg.CheckTopology == 0 {
		cfg.CheckTopology = defaultCheck
	}
	if cfg.CheckTopology < time.Millisecond {
		return cfg, nil, fmt.Errorf("rabbitmq: invalid topology check %s: must be at least 1ms", cfg.CheckTopology)
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if cfg.AnswerTimeout == 0 {
		cfg.AnswerTimeout = defaultAnswer
	}
	if cfg.ConfirmTimeout == 0 {
		cfg.ConfirmTimeout = defaultConfirm
	}
	if cfg.ConfirmTimeout < 10*time.Millisecond {
		return cfg, nil, fmt.Errorf("rabbitmq: invalid confirm timeout %s: must be at least 10ms", cfg.ConfirmTimeout)
	}
	if cfg.ConnectionName == "" {
		cfg.ConnectionName = defaultName
	}
	return cfg, addresses, nil
}

// address is a node's URI, and its form without the password.
type address struct {
	uri     string
	shown   string
	timeout time.Duration // of the dial and of the handshake
	secure  bool          // it has TLS, with these files
	files   certfile.ClientFiles
	client  *certfile.Client // of the files; see [secure]
}

func (cfg Config) parseAddress(uri string) (address, error) {
	// The errors of url.Parse quote parts of the URI, such as the password.
	if _, err := url.Parse(uri); err != nil {
		return address{}, errors.New("must be an amqp:// or amqps:// address " +
			"(with special characters in the user and password percent-encoded)")
	}
	parsed, err := amqp.ParseURI(uri)
	if err != nil {
		return address{}, err
	}
	a := address{uri: uri, timeout: dialTimeout, secure: parsed.Scheme == "amqps", files: cfg.filesOf(parsed)}
	if parsed.ConnectionTimeout > 0 {
		a.timeout = time.Duration(parsed.ConnectionTimeout) * time.Millisecond
	}
	shown := url.URL{
		Scheme: parsed.Scheme,
		User:   shownUser(parsed),
		Host:   net.JoinHostPort(parsed.Host, strconv.Itoa(parsed.Port)),
		Path:   "/",
	}
	if parsed.Vhost != "/" {
		shown.Path += parsed.Vhost
	}
	a.shown = shown.String()
	return a, nil
}

// shownUser returns the user of an address; none if the certificate says who it is.
func shownUser(uri amqp.URI) *url.Userinfo {
	if slices.Equal(uri.AuthMechanism, []string{"EXTERNAL"}) {
		return nil
	}
	return url.User(uri.Username)
}
