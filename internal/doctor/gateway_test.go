package doctor

import (
	"context"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

// fakeGateway answers what a test put into it.
type fakeGateway struct {
	reach, ask error
	ahead      time.Duration
}

var _ Gateway = fakeGateway{}

func (fakeGateway) Address() string               { return "https://g:8889" }
func (g fakeGateway) Reach(context.Context) error { return g.reach }

func (g fakeGateway) Ask(context.Context, string) (time.Duration, error) { return g.ahead, g.ask }

// A machine whose managers work over the gateway is examined without a database.
func TestGateways(t *testing.T) {
	t.Parallel()
	const (
		noAPI   = "note configuration/access: not checked: the configuration is that of managers only"
		noQueue = "note broker/queues: not checked"
		noDB    = "note database/all: not checked: the managers of this machine work over the gateway"
	)
	for name, test := range map[string]struct {
		gateways []Gateway
		names    []string
		want     string
	}{
		"well":            {[]Gateway{fakeGateway{}}, []string{"console1"}, ""},
		"without a name":  {[]Gateway{fakeGateway{}}, nil, "note gateway/token: not checked: name the endpoint of this machine with --endpoint"},
		"away":            {[]Gateway{fakeGateway{reach: errAway}}, []string{"console1"}, "problem gateway/connection: dial tcp"},
		"one of two away": {[]Gateway{fakeGateway{reach: errAway}, fakeGateway{}}, []string{"console1"}, "warning gateway/connection: dial tcp"},
		"an unknown token": {
			[]Gateway{fakeGateway{ask: tasker.Errorf(tasker.Unauthorized, "unknown token")}},
			[]string{"console1"},
			"problem gateway/token: unknown token",
		},
		"another's token": {
			[]Gateway{fakeGateway{ask: tasker.Errorf(tasker.Forbidden, "with the token of")}},
			[]string{"console1"},
			"problem gateway/token: with the token of",
		},
		"clock":        {[]Gateway{fakeGateway{ahead: -2 * time.Second}}, []string{"console1"}, "warning gateway/token: the database's clock and this machine's differ by 2s"},
		"wrong clock":  {[]Gateway{fakeGateway{ahead: time.Hour}}, []string{"console1"}, "problem gateway/token: the database's clock and this machine's differ by 1h0m0s"},
		"little wrong": {[]Gateway{fakeGateway{ahead: time.Second / 2}}, []string{"console1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := healthy()
			i.Database, i.Endpoints, i.Tasks, i.WithoutDatabase, i.Settings.ManagersOnly = nil, nil, nil, true, true
			i.Gateways, i.EndpointNames = test.gateways, test.names
			want := []string{noAPI}
			if test.want != "" {
				want = append(want, test.want)
			}
			wantFound(t, Run(t.Context(), i.Subject), append(want, noQueue, noDB)...)
		})
	}
}
