package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/taskerhq/tasker/internal/testnodes"
)

// link is a proxied connection from one process to one server.
type link struct {
	proxy           *toxiproxy.Proxy
	process, server string
}

// links creates links; each can be cut and slowed separately.
type links struct {
	server *toxiproxy.ApiServer
	all    map[string]*link // by the name of the proxy
}

func newLinks() *links {
	zerolog.SetGlobalLevel(zerolog.Disabled) // the toxics do not use the proxy server's logger
	return &links{toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), map[string]*link{}}
}

// add creates a link of a process to an address of a server and returns the
// address for the process to use.
func (l *links) add(process, server, address string) (string, error) {
	port, err := testnodes.FreePort()
	if err != nil {
		return "", err
	}
	name := process + "/" + server + "/" + address
	proxy := toxiproxy.NewProxy(l.server, name, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), address)
	if err := proxy.Start(); err != nil {
		return "", err
	}
	l.all[name] = &link{proxy, process, server}
	return proxy.Listen, nil
}

// of returns the links to a server: that of one process, or all if process is
// empty.
func (l *links) of(process, server string) []*link {
	var found []*link
	for _, link := range l.all {
		if link.server == server && (process == "" || link.process == process) {
			found = append(found, link)
		}
	}
	return found
}

// heal removes all faults from all links.
func (l *links) heal(ctx context.Context) error {
	for _, link := range l.all {
		link.heal(ctx)
		if err := link.restore(); err != nil {
			return err
		}
	}
	return nil
}

func (l *links) close() {
	for _, link := range l.all {
		link.proxy.Stop()
	}
}

// cut closes all connections and refuses new ones.
func (l *link) cut() { l.proxy.Stop() }

// restore ends cut.
func (l *link) restore() error {
	l.proxy.Lock()
	enabled := l.proxy.Enabled
	l.proxy.Unlock()
	if enabled {
		return nil
	}
	return l.proxy.Start()
}

// addToxic adds a toxic in both directions.
func (l *link) addToxic(toxic string, attributes map[string]any) error {
	for _, stream := range []string{"upstream", "downstream"} {
		document, err := json.Marshal(map[string]any{
			"name": toxic + "-" + stream, "type": toxic, "stream": stream, "attributes": attributes,
		})
		if err != nil {
			return err
		}
		if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(string(document))); err != nil {
			return fmt.Errorf("%s for %s: %w", toxic, l.proxy.Name, err)
		}
	}
	return nil
}

// heal removes all toxics.
func (l *link) heal(ctx context.Context) { l.proxy.Toxics.ResetToxics(ctx) }
