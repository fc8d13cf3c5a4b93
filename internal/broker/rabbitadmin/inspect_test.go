package rabbitadmin_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/broker/rabbitadmin"
	"github.com/taskerhq/tasker/internal/testservices"
)

// TestInspect reads the driver's declarations from a real RabbitMQ.
func TestInspect(t *testing.T) {
	t.Parallel()
	uri := testservices.RabbitMQ(t)
	at, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	vhost := strings.TrimPrefix(at.Path, "/")
	b, err := rabbit.New(rabbit.Config{URIs: []string{uri}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	if err := b.Declare(t.Context(), "worker"); err != nil {
		t.Fatal(err)
	}
	management, err := url.Parse(os.Getenv(testservices.EnvRabbitMQManagement))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := management.User.Password()
	c, err := rabbitadmin.New("http://"+management.Host, management.User.Username(), password)
	if err != nil {
		t.Fatal(err)
	}

	queues, err := c.Queues(t.Context(), vhost)
	dead := rabbitadmin.Queue{Name: "tasker.dead", Type: "classic", Durable: true, Arguments: map[string]any{"x-queue-type": "classic"}}
	if err != nil || !reflect.DeepEqual(queues, []rabbitadmin.Queue{dead}) {
		t.Errorf("queues: %+v, %v", queues, err)
	}
	exchanges, err := c.Exchanges(t.Context(), vhost)
	if err != nil || !slices.Contains(exchanges, rabbitadmin.Exchange{Name: "tasker.worker", Type: "direct", Durable: true}) {
		t.Errorf("exchanges: %+v, %v", exchanges, err)
	}
	bindings, err := c.Bindings(t.Context(), vhost, "tasker.dead")
	if err != nil || !slices.Equal(bindings, []rabbitadmin.Binding{{Queue: "tasker.dead"}}) {
		t.Errorf("bindings: %+v, %v", bindings, err)
	}
	if bindings, err = c.Bindings(t.Context(), vhost, "tasker.none"); err != nil || len(bindings) != 0 {
		t.Errorf("bindings of nothing: %+v, %v", bindings, err)
	}
	p, err := c.UserPermissions(t.Context(), vhost, at.User.Username())
	if err != nil || p != (rabbitadmin.Permissions{Configure: ".*", Write: ".*", Read: ".*"}) {
		t.Errorf("permissions: %+v, %v", p, err)
	}
	if _, err = c.UserPermissions(t.Context(), vhost, "nobody"); tasker.CodeOf(err) != tasker.NotFound {
		t.Errorf("permissions of nobody: %v", err)
	}
	nodes, err := c.Nodes(t.Context())
	if err != nil || len(nodes) == 0 || !nodes[0].Running || nodes[0].Name == "" {
		t.Errorf("nodes: %+v, %v", nodes, err)
	}
}

func TestQueuesComeInPages(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := r.URL.Query().Get("page")
		_, _ = fmt.Fprintf(w, `{"page_count":3,"items":[{"name":"q%s"}]}`, page)
	}))
	t.Cleanup(server.Close)
	c, err := rabbitadmin.New(server.URL, "boss", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	queues, err := c.Queues(t.Context(), "/")
	if err != nil || len(queues) != 3 || queues[2].Name != "q3" {
		t.Errorf("%+v, %v", queues, err)
	}
}

func TestNodesAsRabbitMQTellsThem(t *testing.T) {
	t.Parallel()
	const told = `[{"name":"rabbit@a","running":true,"mem_alarm":true,"disk_free_alarm":true,"disk_free":40000000,"disk_free_limit":50000000,
		"partitions":["rabbit@b"],"mem_used":1},
		{"name":"rabbit@b","running":false},
		{"name":"rabbit@c","running":true,"disk_free":"disk_free_monitoring_disabled","disk_free_limit":"disk_free_monitoring_disabled"}]`
	got, err := answering(t, 200, told).Nodes(t.Context())
	want := []rabbitadmin.Node{
		{
			Name: "rabbit@a", Running: true, MemoryAlarm: true, DiskAlarm: true, DiskFree: 40000000, DiskFreeLimit: 50000000,
			Partitions: []string{"rabbit@b"},
		},
		{Name: "rabbit@b"},
		{Name: "rabbit@c", Running: true},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := answering(t, 200, `[{"running":true}]`).Nodes(t.Context()); err == nil {
		t.Error("a node without a name was taken")
	}
}
