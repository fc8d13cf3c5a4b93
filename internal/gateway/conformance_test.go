package gateway_test

import (
	"testing"

	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/ledger/ledgertest"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/testservices"
	"github.com/taskerhq/tasker/manager"
)

// What a manager relies on is the same beside the database and over the gateway.
func TestConformance(t *testing.T) {
	t.Parallel()
	databases := map[string]func(t *testing.T) *store.Store{
		"sqlite": newStore,
		"mysql":  func(t *testing.T) *store.Store { return openStore(t, testservices.MySQL(t)) },
	}
	ways := map[string]func(t *testing.T, s *store.Store) manager.Store{
		"store": func(_ *testing.T, s *store.Store) manager.Store {
			return manager.Store{
				Endpoints: s.Endpoints, Results: s.Inbox, Attempts: s.Attempts, Work: s.Attempts, Live: s.Live, Database: s.DB,
				Places: s.Inbox,
			}
		},
		"gateway": func(t *testing.T, s *store.Store) manager.Store {
			server := newServer(t, s, gateway.Config{})
			return partsOf(newClient(t, server, ledgertest.EndpointA, ledgertest.EndpointB))
		},
		"gateway over https": func(t *testing.T, s *store.Store) manager.Store {
			return partsOf(dial(t, listenTLS(t, newServer(t, s, gateway.Config{})), ledgertest.EndpointA, ledgertest.EndpointB))
		},
	}
	for kind, open := range databases {
		for way, parts := range ways {
			if kind == "mysql" && way == "gateway over https" {
				continue // the way does not depend on the database
			}
			t.Run(kind+"/"+way, func(t *testing.T) {
				t.Parallel()
				ledgertest.Test(t, func(t *testing.T) ledgertest.Subject {
					s := open(t)
					return ledgertest.Subject{Store: parts(t, s), Behind: storetest.Flatten(s)}
				})
			})
		}
	}
}

// partsOf returns what a manager needs of a client.
func partsOf(c *gateway.Client) manager.Store {
	return manager.Store{
		Endpoints: c.Endpoints, Results: c.Results, Attempts: c.Attempts, Work: c.Work, Live: c.Live, Database: c.Database,
		Places: c.Results, Pacer: c,
	}
}

// newServer runs a server beside a store for the time of the test.
func newServer(t *testing.T, s *store.Store, cfg gateway.Config) *gateway.Server {
	t.Helper()
	server := gateway.NewServer(cfg, storesOf(s), byName{}, &notes{}, testLog(t))
	run(t, server)
	return server
}
