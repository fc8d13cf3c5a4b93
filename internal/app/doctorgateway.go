package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/doctor"
	"github.com/taskerhq/tasker/internal/gateway"
)

// gatewayProbe examines one address of the gateway.
type gatewayProbe struct {
	cfg     config.Config // with this address only
	address string
}

var _ doctor.Gateway = gatewayProbe{}

// gatewayProbes returns one for each configured address.
func gatewayProbes(cfg config.Config) []doctor.Gateway {
	var list []doctor.Gateway
	for _, address := range cfg.GatewayClient.Addresses {
		one := cfg
		one.GatewayClient.Addresses = []string{address}
		list = append(list, gatewayProbe{one, address})
	}
	return list
}

// Address returns the address.
func (p gatewayProbe) Address() string { return p.address }

// Reach asks whether the gateway lives.
func (p gatewayProbe) Reach(ctx context.Context) error {
	conf, err := gatewayClientTLS(p.cfg)
	if err != nil {
		return err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(p.address, "/")+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return tasker.WrapError(tasker.Unavailable, err, "no answer from "+p.address)
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if response.StatusCode != http.StatusOK || !strings.Contains(string(body), `"alive"`) {
		return tasker.Errorf(tasker.Unavailable, "unexpected answer from %s, which may be a proxy and not a gateway: %s",
			p.address, response.Status)
	}
	return nil
}

// Ask sends a request that reads one row at most.
func (p gatewayProbe) Ask(ctx context.Context, endpoint string) (ahead time.Duration, err error) {
	c, err := newGatewayClient(p.cfg, []string{endpoint})
	if err != nil {
		return 0, tasker.WrapError(tasker.Unauthorized, err, "no token")
	}
	defer c.Close()
	if err := probeGateway(ctx, c, endpoint, p.cfg.TaskTypes[0].Name); err != nil {
		return 0, err
	}
	return time.Until(c.Database.Now()), nil
}

// probeGateway sends a request about an endpoint that reads one row at most.
func probeGateway(ctx context.Context, c *gateway.Client, endpoint, taskType string) error {
	_, _, err := c.Work.NextRetry(ctx, endpoint, taskType)
	return err
}
