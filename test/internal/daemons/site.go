package daemons

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/identity"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/testnodes"
	"github.com/taskerhq/tasker/test/internal/noop"
)

// Site is where tasker's processes find the servers and each other.
type Site struct {
	MySQL, RabbitMQ string // addresses
	// Mode is that of the managers: config.ModeDatabase or config.ModeGateway.
	Mode  string
	Slots int
	// Persistent makes the messages of tasks persistent.
	Persistent bool

	urls     []string // of the APIs
	gateways []string
	tokens   string // directory with a file for each endpoint
}

// CheckMode returns an error unless a mode is one.
func CheckMode(mode string) error {
	if mode != config.ModeDatabase && mode != config.ModeGateway {
		return fmt.Errorf("invalid -mode: must be %s or %s", config.ModeDatabase, config.ModeGateway)
	}
	return nil
}

// URLs returns the addresses of the APIs.
func (s *Site) URLs() []string { return s.urls }

// AddAPI chooses the ports of an API process and returns its variables. All are added
// before the first manager's are asked for.
func (s *Site) AddAPI() ([]string, error) {
	port, err := testnodes.FreePort()
	if err != nil {
		return nil, err
	}
	environ := append(s.Database(), fmt.Sprintf("TASKER_API_PORT=%d", port))
	s.urls = append(s.urls, fmt.Sprintf("http://127.0.0.1:%d", port))
	if s.Mode != config.ModeGateway {
		return environ, nil
	}
	if port, err = testnodes.FreePort(); err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	s.gateways = append(s.gateways, "http://"+address)
	// All endpoints come from one address here.
	const connections = "=200000"
	return append(environ, "TASKER_GATEWAY_LISTEN="+address,
		"TASKER_GATEWAY_MAX_CONNECTIONS"+connections, "TASKER_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS"+connections), nil
}

// Database returns the variables of a process that uses the database.
func (s *Site) Database() []string {
	return []string{
		"TASKER_MANAGER_DB_URI=" + s.MySQL,
		"TASKER_MANAGER_MESSAGE_QUEUE_URI=" + s.RabbitMQ,
		fmt.Sprintf("TASKER_MANAGER_MESSAGE_QUEUE_PERSISTENT=%t", s.Persistent),
		noop.Types(s.Slots),
	}
}

// Manager returns the variables of the nth manager process. Over a gateway, managers
// prefer different ones.
func (s *Site) Manager(n int) []string {
	if s.Mode != config.ModeGateway {
		return s.Database()
	}
	first := n % len(s.gateways)
	addresses := append(append([]string{}, s.gateways[first:]...), s.gateways[:first]...)
	return []string{
		"TASKER_MANAGER_MODE=" + s.Mode,
		"TASKER_MANAGER_GATEWAY_ADDRESSES=" + strings.Join(addresses, ","),
		"TASKER_MANAGER_GATEWAY_TOKEN_FILE=" + filepath.Join(s.tokens, "{endpoint}"),
		"TASKER_MANAGER_MESSAGE_QUEUE_URI=" + s.RabbitMQ,
		noop.Types(s.Slots),
	}
}

// IssueTokens gives each endpoint a token, if the managers need one, and keeps it in a
// file of a directory of the group.
func (s *Site) IssueTokens(ctx context.Context, g *Group, endpoints []string) (err error) {
	if s.Mode != config.ModeGateway {
		return nil
	}
	s.tokens = filepath.Join(g.dir, "tokens")
	if err := os.Mkdir(s.tokens, 0o700); err != nil {
		return err
	}
	st, err := store.Open(store.Config{URI: s.MySQL}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, name := range endpoints {
		group.Go(func() error {
			token := identity.NewToken()
			digest, err := identity.Sum(token)
			if err != nil {
				return err
			}
			if _, err := st.Tokens.AddToken(ctx, name, digest[:]); err != nil {
				return fmt.Errorf("add a token of %s: %w", name, err)
			}
			return os.WriteFile(filepath.Join(s.tokens, name), []byte(token+"\n"), 0o600)
		})
	}
	return group.Wait()
}
