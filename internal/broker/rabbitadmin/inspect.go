package rabbitadmin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/taskerhq/tasker"
)

// queuesPerPage keeps responses small; RabbitMQ's maximum is 500.
const queuesPerPage = 500

// Queue is a queue as it was declared.
type Queue struct {
	Name      string         `json:"name"`
	Type      string         `json:"type"` // classic or quorum
	Durable   bool           `json:"durable"`
	Arguments map[string]any `json:"arguments"`
}

// Queues returns all queues of a virtual host.
func (c *Client) Queues(ctx context.Context, vhost string) ([]Queue, error) {
	var list []Queue
	for number := 1; ; number++ {
		var page struct {
			Items []Queue `json:"items"`
			Count int     `json:"page_count"`
		}
		path := "/api/queues/" + url.PathEscape(vhost) + "?disable_stats=true&page_size=" +
			strconv.Itoa(queuesPerPage) + "&page=" + strconv.Itoa(number)
		if _, err := c.call(ctx, http.MethodGet, path, nil, &page); err != nil {
			return nil, fmt.Errorf("list the queues of the virtual host %q: %w", vhost, err)
		}
		list = append(list, page.Items...)
		if number >= page.Count {
			return list, nil
		}
	}
}

// Exchange is an exchange as it was declared.
type Exchange struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Durable bool   `json:"durable"`
}

// Exchanges returns all exchanges of a virtual host, RabbitMQ's own included.
func (c *Client) Exchanges(ctx context.Context, vhost string) ([]Exchange, error) {
	var list []Exchange
	path := "/api/exchanges/" + url.PathEscape(vhost) + "?disable_stats=true"
	if _, err := c.call(ctx, http.MethodGet, path, nil, &list); err != nil {
		return nil, fmt.Errorf("list the exchanges of the virtual host %q: %w", vhost, err)
	}
	return list, nil
}

// Binding is a binding from an exchange to a queue.
type Binding struct {
	Queue string `json:"destination"`
	Key   string `json:"routing_key"`
}

// Bindings returns the bindings from an exchange, none if it does not exist.
func (c *Client) Bindings(ctx context.Context, vhost, exchange string) ([]Binding, error) {
	var list []Binding
	path := "/api/exchanges/" + url.PathEscape(vhost) + "/" + url.PathEscape(exchange) + "/bindings/source"
	if _, err := c.call(ctx, http.MethodGet, path, nil, &list); err != nil && tasker.CodeOf(err) != tasker.NotFound {
		return nil, fmt.Errorf("list the bindings of the exchange %s: %w", exchange, err)
	}
	return list, nil
}

// UserPermissions returns the permissions of a user in a virtual host. The
// error is [tasker.NotFound] if there are none, or no such user or virtual
// host.
func (c *Client) UserPermissions(ctx context.Context, vhost, user string) (Permissions, error) {
	var p Permissions
	path := "/api/permissions/" + url.PathEscape(vhost) + "/" + url.PathEscape(user)
	if _, err := c.call(ctx, http.MethodGet, path, nil, &p); err != nil {
		return Permissions{}, fmt.Errorf("read the permissions of the user %q in the virtual host %q: %w", user, vhost, err)
	}
	return p, nil
}

// Node is a server of the cluster. Sizes are in bytes, and 0 if RabbitMQ does
// not report them.
type Node struct {
	Name          string
	Running       bool
	MemoryAlarm   bool // accepts no messages because of low memory
	DiskAlarm     bool // accepts no messages because of low disk space
	DiskFree      int64
	DiskFreeLimit int64
	Partitions    []string // nodes in a network partition from this one
}

// UnmarshalJSON decodes a node. What RabbitMQ does not know is left out, or is
// a word instead of a number.
func (n *Node) UnmarshalJSON(b []byte) error {
	var raw struct {
		Name          string   `json:"name"`
		Running       bool     `json:"running"`
		MemoryAlarm   bool     `json:"mem_alarm"`
		DiskAlarm     bool     `json:"disk_free_alarm"`
		DiskFree      any      `json:"disk_free"`
		DiskFreeLimit any      `json:"disk_free_limit"`
		Partitions    []string `json:"partitions"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	if raw.Name == "" {
		return errors.New("node without a name")
	}
	free, _ := raw.DiskFree.(float64)
	limit, _ := raw.DiskFreeLimit.(float64)
	*n = Node{raw.Name, raw.Running, raw.MemoryAlarm, raw.DiskAlarm, int64(free), int64(limit), raw.Partitions}
	return nil
}

// Nodes returns the servers of the cluster, including those that are down.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var list []Node
	if _, err := c.call(ctx, http.MethodGet, "/api/nodes", nil, &list); err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	return list, nil
}
