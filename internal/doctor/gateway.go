package doctor

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
)

const groupGateway = "gateway"

// Gateway is one address of the gateway, as the managers of this machine see it.
type Gateway interface {
	Address() string
	// Reach returns an error unless a gateway answers there, over a connection that
	// a manager accepts.
	Reach(ctx context.Context) error
	// Ask sends a request as an endpoint, and returns by how much the database's
	// clock is ahead of this machine's.
	Ask(ctx context.Context, endpoint string) (ahead time.Duration, err error)
}

// checkGateways asks each address as a manager does. A manager needs only one.
func (e *examination) checkGateways(ctx context.Context) {
	var bad []int // places in the report
	answers := false
	for _, g := range e.Gateways {
		reached := e.check(ctx, groupGateway, "connection", func(ctx context.Context) []Finding {
			if err := g.Reach(ctx); err != nil {
				bad = append(bad, len(e.report.Checks))
				return failed(ctx, err, "check that it runs, that this machine can reach it, and that its certificate is valid "+
					"for this address (manager.gateway.ca_file)")
			}
			return okay("the gateway answers at %s", g.Address())
		})
		answers = answers || reached
		if !reached {
			continue
		}
		if len(e.EndpointNames) == 0 {
			e.skip(groupGateway, "token", "name the endpoint of this machine with --endpoint")
		}
		for _, name := range e.EndpointNames {
			e.check(ctx, groupGateway, "token", func(ctx context.Context) []Finding { return e.askGateway(ctx, g, name) })
		}
	}
	if answers {
		for _, i := range bad {
			e.report.Checks[i].Level = Warning
		}
	}
}

// askGateway checks the token of an endpoint, and the clock.
func (e *examination) askGateway(ctx context.Context, g Gateway, name string) []Finding {
	ahead, err := g.Ask(ctx, name)
	switch tasker.CodeOf(err) {
	case "":
	case tasker.Unauthorized:
		return failed(ctx, err, "put the token that tasker endpoints add "+name+", or rotate "+name+
			", prints into manager.gateway.token_file")
	case tasker.Forbidden:
		return failed(ctx, err, "manager.gateway.token_file has the token of another endpoint")
	default:
		return failed(ctx, err, "see the log of the gateway")
	}
	found := okay("%s takes the token of %s", g.Address(), name)
	if ahead.Abs() >= skewWarning {
		level := Warning
		if ahead.Abs() >= skewProblem {
			level = Problem
		}
		found = append(found, one(level, "synchronize the clocks of the machines (chrony, systemd-timesyncd)",
			"the database's clock and this machine's differ by %s. tasker uses the database's: "+
				"only the times in this machine's logs are wrong",
			ahead.Abs().Round(time.Millisecond))...)
	}
	return found
}
