//go:build cluster

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/testnodes"
)

// nodes is a RabbitMQ cluster.
type nodes struct {
	t   *testing.T
	all []*testnodes.RabbitMQ
}

// startNodes starts three nodes and waits until they form a cluster.
func startNodes(t *testing.T) *nodes {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	dir := t.TempDir()
	epmd, err := testnodes.StartEPMD(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(epmd.Kill)
	c := &nodes{t: t}
	peers := []string{"one", "two", "three"}
	for _, name := range peers {
		home := filepath.Join(dir, name)
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		node, err := testnodes.NewRabbitMQ(ctx, home, testnodes.RabbitMQOptions{Name: name, Peers: peers, EPMD: epmd})
		if err != nil {
			t.Fatal(err)
		}
		c.all = append(c.all, node)
		t.Cleanup(func() {
			node.Close()
			if t.Failed() {
				if log, err := os.ReadFile(filepath.Join(home, "rabbitmq.log")); err == nil {
					t.Logf("--- node %s:\n%s", name, tail(string(log), 3000))
				}
			}
		})
	}
	var starting sync.WaitGroup
	for _, node := range c.all {
		starting.Go(func() {
			if err := node.Start(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	c.untilWhole()
	return c
}

// uris returns the nodes' addresses, as in a configuration.
func (c *nodes) uris() string {
	var uris []string
	for _, node := range c.all {
		uris = append(uris, node.URI())
	}
	return strings.Join(uris, ",")
}

// ask calls a node's management API.
func (c *nodes) ask(node *testnodes.RabbitMQ, path string, into any) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, node.ManagementURI()+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// running returns how many running nodes a node sees, including itself. It
// returns an error if the node sees a partition.
func (c *nodes) running(node *testnodes.RabbitMQ) (count int, err error) {
	var seen []struct {
		Running    bool
		Partitions []string
	}
	if err := c.ask(node, "/api/nodes", &seen); err != nil {
		return 0, err
	}
	for _, n := range seen {
		if len(n.Partitions) > 0 {
			return 0, fmt.Errorf("partitions: %v", n.Partitions)
		}
		if n.Running {
			count++
		}
	}
	return count, nil
}

// untilWhole waits until each node sees all nodes.
func (c *nodes) untilWhole() {
	c.t.Helper()
	var last string
	until(c.t, "the cluster to be complete", func() bool {
		for _, node := range c.all {
			n, err := c.running(node)
			if last = fmt.Sprintf("%s sees %d nodes, %v", node.NodeName(), n, err); n != len(c.all) || err != nil {
				return false
			}
		}
		return true
	}, &last)
}

// untilAwake waits until a node and the others see each other, even as
// partitioned.
func (c *nodes) untilAwake(node *testnodes.RabbitMQ) {
	c.t.Helper()
	var last string
	until(c.t, node.NodeName()+" to be awake", func() bool {
		var seen []struct {
			Running    bool
			Partitions []string
		}
		err := c.ask(node, "/api/nodes", &seen)
		last = fmt.Sprint(seen, err)
		running := 0
		for _, n := range seen {
			if n.Running {
				running++
			}
		}
		return running == len(c.all)
	}, &last)
	c.t.Logf("%s woke up: %s", node.NodeName(), last)
}

type queue struct {
	Name, Type, Leader, Node string
	Members, Online          []string
	Messages, Consumers      int
}

// queues returns the durable queues as a node sees them.
func (c *nodes) queues(node *testnodes.RabbitMQ) (durable []queue, err error) {
	var all []struct {
		queue
		Durable bool
	}
	if err := c.ask(node, "/api/queues/tasker", &all); err != nil {
		return nil, err
	}
	for _, q := range all {
		if q.Durable {
			durable = append(durable, q.queue)
		}
	}
	return durable, nil
}

// untilReplicated waits until there are count durable queues, all quorum queues
// with a leader and all members online.
func (c *nodes) untilReplicated(count int) {
	c.t.Helper()
	var last string
	until(c.t, "the queues to have all their members", func() bool {
		list, err := c.queues(c.all[0])
		last = fmt.Sprintf("%d queues, want %d: %+v, %v", len(list), count, list, err)
		for _, q := range list {
			if q.Type != "quorum" || q.Leader == "" || len(q.Members) != len(c.all) || len(q.Online) != len(c.all) {
				return false
			}
		}
		return len(list) == count
	}, &last)
}

// publisher returns the node through which the API publishes, or nil if the
// others see no such connection.
func (c *nodes) publisher() *testnodes.RabbitMQ {
	var connections []struct {
		Node       string
		Properties struct {
			Name string `json:"connection_name"`
		} `json:"client_properties"`
	}
	if err := c.ask(c.all[0], "/api/connections", &connections); err != nil {
		c.t.Log(err)
		return nil
	}
	for _, conn := range connections {
		for _, node := range c.all {
			if conn.Properties.Name == "tasker api (publish)" && conn.Node == node.NodeName() {
				return node
			}
		}
	}
	return nil
}
