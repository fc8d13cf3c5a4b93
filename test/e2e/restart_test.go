package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/testnodes"
)

// ownRabbitMQ starts a RabbitMQ server for one test.
func ownRabbitMQ(ctx context.Context, t *testing.T) *testnodes.RabbitMQ {
	t.Helper()
	return startRabbitMQ(ctx, t, testnodes.RabbitMQOptions{})
}

func startRabbitMQ(ctx context.Context, t *testing.T, opts testnodes.RabbitMQOptions) *testnodes.RabbitMQ {
	t.Helper()
	if _, err := exec.LookPath("rabbitmq-server"); err != nil {
		if _, err := exec.LookPath("/usr/lib/rabbitmq/bin/rabbitmq-server"); err != nil {
			t.Skip("rabbitmq-server is not installed")
		}
	}
	node, err := testnodes.StartRabbitMQ(ctx, t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	return node
}

// queued returns how many messages the queues of an endpoint hold.
func queued(t *testing.T, node *testnodes.RabbitMQ, endpoint string) (messages int) {
	t.Helper()
	code, _, err := request(t, node.ManagementURI(), http.MethodGet, "/api/queues/tasker", "", nil)
	if err != nil || code != http.StatusOK {
		t.Fatalf("list the queues: %d, %v", code, err)
	}
	var queues []struct {
		Name     string
		Messages int
	}
	if _, _, err := request(t, node.ManagementURI(), http.MethodGet, "/api/queues/tasker", "", &queues); err != nil {
		t.Fatal(err)
	}
	for _, q := range queues {
		if q.Name == "tasker.worker."+endpoint {
			messages += q.Messages
		}
	}
	return messages
}

// RabbitMQ restarts with messages in its queues, and loses them. Every endpoint
// still gets its tasks, once: one that was frozen meanwhile, one that was down, and
// one that was subscribed all the time.
func TestRestartLosesMessages(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	node := ownRabbitMQ(ctx, t)
	// Nothing else than the subscription makes an endpoint look for its tasks.
	s := newSystemOn(t, node.URI(), "TASKER_MANAGER_CATCH_UP=1h", "TASKER_MANAGER_LEASE=10m", "TASKER_RECONCILE_LOST_AFTER=10m")
	s.api()
	s.manager("subscribed")
	frozen, down := s.manager("frozen"), s.manager("down")
	s.accept("worker", `{"identifier":"before"}`)
	s.await("/worker/before", "DONE")
	if code := down.stop(); code != 0 {
		t.Fatalf("the manager exits with %d", code)
	}
	if err := frozen.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = frozen.cmd.Process.Signal(syscall.SIGCONT) })
	const tasks = 10
	for i := range tasks {
		s.accept("worker", fmt.Sprintf(`{"identifier":"task%d"}`, i))
		s.awaitFor(fmt.Sprintf("/worker/task%d", i), "be sent", func(a answer) bool {
			return a.Task.Status == "SENT" && a.state("subscribed") == "DONE"
		})
	}
	s.until("the messages to wait", func() bool { return queued(t, node, "down") == tasks })
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := node.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if n := queued(t, node, "down"); n != 0 {
		t.Errorf("RabbitMQ kept %d messages: they are persistent", n)
	}
	if err := frozen.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.manager("down")
	for i := range tasks {
		a := s.await(fmt.Sprintf("/worker/task%d", i), "DONE")
		for _, r := range a.TaskResponseList {
			if len(a.TaskResponseList) != 3 || r.Attempt != 1 {
				encoded, _ := json.Marshal(a)
				t.Fatalf("%s", encoded)
			}
		}
	}
}
