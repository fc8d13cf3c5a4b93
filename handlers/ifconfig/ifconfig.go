// Package ifconfig is the handler that lists the network interfaces of its
// machine.
package ifconfig

import (
	"context"
	"fmt"
	"net"

	"github.com/taskerhq/tasker/handlers"
)

// New returns the handler that lists the network interfaces, one entry for each
// address:
//
//	{"Interfaces":[{"interface_name":"lo","ip_network":"127.0.0.1/8","mac_address":""}]}
//
// It has no settings, and its payload is null or an empty object.
func New(settings handlers.Settings) (handlers.Handler, error) {
	if err := settings.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	return handlers.Described(handlers.Typed(list), handlers.Description{
		Description: "Lists the network interfaces of the machine.",
		Usage:       `It needs no payload. The result has "Interfaces": the name, the network and the hardware address of each.`,
		Schema: handlers.Result(`{"$schema":"https://json-schema.org/draft/2020-12/schema",` +
			`"type":["object","null"],"additionalProperties":false}`),
		Example: handlers.Result(`{}`),
	}), nil
}

// address is one address of a network interface.
type address struct {
	Name    string `json:"interface_name"`
	Network string `json:"ip_network"`  // the address with the length of its prefix
	MAC     string `json:"mac_address"` // empty if the interface has none
}

type result struct {
	Interfaces []address
}

func list(context.Context, *handlers.Request, struct{}) (result, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return result{}, fmt.Errorf("list network interfaces: %w", err)
	}
	found := []address{}
	for _, one := range interfaces {
		addresses, err := one.Addrs()
		if err != nil {
			return result{}, fmt.Errorf("list addresses of %s: %w", one.Name, err)
		}
		for _, a := range addresses {
			found = append(found, address{one.Name, a.String(), one.HardwareAddr.String()})
		}
	}
	return result{found}, nil
}
