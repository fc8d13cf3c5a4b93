package handlers

import (
	"context"
	"fmt"
	"net"
)

// NewIfconfig makes the handler that answers with the network interfaces of
// its machine, one entry for each of their addresses:
//
//	{"Interfaces":[{"interface_name":"lo","ip_network":"127.0.0.1/8","mac_address":""}]}
//
// It has no settings, and its payload is nothing or an empty object.
func NewIfconfig(settings Settings) (Handler, error) {
	if err := settings.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	return Described(Typed(ifconfig), Description{
		Description: "Tells the addresses of the machine's network interfaces.",
		Usage:       `It needs no payload. It answers with "Interfaces": the name, the network and the hardware address of each.`,
		Schema: Result(`{"$schema":"https://json-schema.org/draft/2020-12/schema",` +
			`"type":["object","null"],"additionalProperties":false}`),
		Example: Result(`{}`),
	}), nil
}

// interfaceAddress is one address of a network interface.
type interfaceAddress struct {
	Name    string `json:"interface_name"`
	Network string `json:"ip_network"`  // the address with the length of its prefix
	MAC     string `json:"mac_address"` // empty where the interface has none
}

type interfaceList struct {
	Interfaces []interfaceAddress
}

func ifconfig(context.Context, *Request, struct{}) (interfaceList, error) {
	all, err := net.Interfaces()
	if err != nil {
		return interfaceList{}, fmt.Errorf("list the network interfaces: %w", err)
	}
	list := []interfaceAddress{}
	for _, one := range all {
		addresses, err := one.Addrs()
		if err != nil {
			return interfaceList{}, fmt.Errorf("list the addresses of %s: %w", one.Name, err)
		}
		for _, address := range addresses {
			list = append(list, interfaceAddress{one.Name, address.String(), one.HardwareAddr.String()})
		}
	}
	return interfaceList{list}, nil
}
