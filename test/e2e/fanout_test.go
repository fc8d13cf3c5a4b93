package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/wire"
)

// audience is endpoints of the type worker without managers. Each has a queue,
// which keeps what was sent to it.
type audience struct {
	t         *testing.T
	channel   *amqp.Channel
	endpoints []string
}

// newAudience registers endpoints and declares their queues.
func (s *system) newAudience(size int) *audience {
	t := s.t
	t.Helper()
	db, err := store.Open(store.Config{URI: s.mysql}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	conn, err := amqp.Dial(s.amqp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	a := &audience{t: t}
	if a.channel, err = conn.Channel(); err != nil {
		t.Fatal(err)
	}
	exchange := broker.ExchangeName("worker")
	a.must(a.channel.ExchangeDeclare(exchange, amqp.ExchangeDirect, true, false, false, false, nil))
	for i := range size {
		name := fmt.Sprintf("host%04d", i)
		a.endpoints = append(a.endpoints, name)
		_, err := db.Endpoints.AcquireEndpoint(t.Context(), tasker.Endpoint{
			Name: name, Manager: "01AAAAAAAAAAAAAAAAAAAAAAAA", TaskTypes: []string{"worker"}, Protocol: wire.Version,
		}, time.Hour)
		a.must(err)
		queue := broker.Queue{TaskType: "worker", Endpoint: name}
		_, err = a.channel.QueueDeclare(queue.Name(), true, false, false, false, nil)
		a.must(err)
		for _, key := range queue.Keys() {
			a.must(a.channel.QueueBind(queue.Name(), key, exchange, false, nil))
		}
	}
	return a
}

func (a *audience) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// messages returns how many messages the queue of an endpoint has.
func (a *audience) messages(endpoint string) int {
	a.t.Helper()
	q, err := a.channel.QueueDeclarePassive(broker.Queue{TaskType: "worker", Endpoint: endpoint}.Name(), true, false, false, false, nil)
	a.must(err)
	return q.Messages
}

// drain returns the ids of the messages in the queue of an endpoint, and empties it.
func (a *audience) drain(endpoint string) (ids []string) {
	a.t.Helper()
	n := a.messages(endpoint)
	queue := broker.Queue{TaskType: "worker", Endpoint: endpoint}.Name()
	deliveries, err := a.channel.Consume(queue, queue, true, false, false, false, nil)
	a.must(err)
	for range n {
		d, ok := <-deliveries
		if !ok {
			a.t.Fatal("channel closed by RabbitMQ")
		}
		ids = append(ids, d.MessageId)
	}
	a.must(a.channel.Cancel(queue, false))
	return ids
}

// another starts a second API process, which reaches RabbitMQ directly.
func (s *system) another() (*system, *process) {
	s.t.Helper()
	port := freePort(s.t)
	other := *s
	other.base = "http://127.0.0.1:" + port
	other.env = append(slices.Clone(s.env), "TASKER_API_PORT="+port, "TASKER_MANAGER_MESSAGE_QUEUE_URI="+s.amqp)
	return &other, other.api()
}

// notReady waits until an API says that RabbitMQ takes no messages.
func (s *system) notReady() {
	s.t.Helper()
	s.until("the API to be told of the alarm", func() bool {
		code, _, err := s.request(http.MethodGet, "/readyz", "", nil)
		return err == nil && code == http.StatusServiceUnavailable
	})
}

// A memory alarm of RabbitMQ comes while broadcasts for many queues are on their
// way: more than may await a confirm at once, so that another process tries to send
// the rest. After the alarm all of them are sent without any help, and no queue has
// a second copy: a message whose confirm is late is not published again.
func TestAlarmDuringBroadcasts(t *testing.T) {
	t.Parallel()
	const endpoints, tasks = 300, 40
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	node := ownRabbitMQ(ctx, t)
	s := newSystemOn(t, node.URI(), "TASKER_API_WAIT_FOR_ENDPOINTS_TIMEOUT=1h", "TASKER_API_PUBLISH_TIMEOUT=500ms",
		"TASKER_MANAGER_MESSAGE_QUEUE_HEARTBEAT=2m")
	apis := []*process{s.api()}
	other, second := s.another()
	apis = append(apis, second)
	all := s.newAudience(endpoints)
	s.accept("worker", `{"identifier":"before"}`)
	s.await("/worker/before", "SENT")

	if err := node.Alarm(ctx, true); err != nil {
		t.Fatal(err)
	}
	s.broker.Hold() // until all have been published that may be
	var posts sync.WaitGroup
	for i := range tasks {
		posts.Go(func() {
			var task struct{ Status string }
			code, _, err := s.request(http.MethodPost, "/worker", fmt.Sprintf(`{"identifier":"task%d"}`, i), &task)
			if err != nil || code != http.StatusCreated || task.Status != "CREATED" {
				t.Errorf("task %d: %d %s, %v", i, code, task.Status, err)
			}
		})
	}
	posts.Wait()
	other.notReady() // it has tried to send some
	s.broker.Release()
	s.notReady()
	if err := node.Alarm(ctx, false); err != nil {
		t.Fatal(err)
	}
	for i := range tasks {
		s.await(fmt.Sprintf("/worker/task%d", i), "SENT")
	}
	for _, p := range apis {
		if code := p.stop(); code != 0 {
			t.Errorf("the API exits with %d", code)
		}
	}
	for _, endpoint := range all.endpoints {
		ids := all.drain(endpoint)
		published := len(ids)
		slices.Sort(ids)
		if ids = slices.Compact(ids); published != tasks+1 || len(ids) != tasks+1 {
			t.Errorf("%s has %d messages of %d tasks, want one of each of %d", endpoint, published, len(ids), tasks+1)
		}
	}
}

// A task with a payload of 1 MiB for hundreds of listed endpoints is sent little by
// little, while other tasks are accepted and sent. Over a lost connection it keeps
// what was confirmed.
func TestLargeTaskYields(t *testing.T) {
	t.Parallel()
	const endpoints, others, payload = 250, 10, 1 << 20
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	s := newSystemOn(t, ownRabbitMQ(ctx, t).URI(), "TASKER_API_WAIT_FOR_ENDPOINTS_TIMEOUT=1h", "TASKER_API_PUBLISH_TIMEOUT=500ms",
		"TASKER_API_MAX_BODY=2097152", "TASKER_API_MESSAGE_PAYLOAD=2097152", "TASKER_MANAGER_MESSAGE_QUEUE_HEARTBEAT=2m")
	api := s.api()
	all := s.newAudience(endpoints)
	s.accept("worker", `{"identifier":"before"}`)
	s.await("/worker/before", "SENT")

	s.broker.Allow(0)
	s.accept("worker", `{"identifier":"large","payload":"`+strings.Repeat("x", payload)+`","endpoints":["`+
		strings.Join(all.endpoints, `","`)+`"]}`)
	for i := range others {
		// Enough for what lies in buffers before the other task, and in all too little
		// for the large one.
		s.broker.Allow(24 * payload)
		name := fmt.Sprint("task", i)
		s.accept("worker", `{"identifier":"`+name+`"}`)
		s.await("/worker/"+name, "SENT")
		if i == others/2 {
			s.broker.Cut()
			s.broker.Restore()
		}
	}
	var large answer
	if _, _, err := s.request(http.MethodGet, "/worker/large/summary", "", &large); err != nil || large.Task.Status != "CREATED" {
		t.Errorf("the large task is %q before all its messages were published, %v", large.Task.Status, err)
	}
	s.broker.AllowAll()
	s.await("/worker/large", "SENT")
	if code := api.stop(); code != 0 {
		t.Errorf("the API exits with %d", code)
	}
	again := 0
	for _, endpoint := range all.endpoints {
		n := all.messages(endpoint) - (others + 1)
		if n < 1 || n > 2 {
			t.Errorf("%s has %d messages of the large task", endpoint, n)
		}
		again += n - 1
	}
	if again > 4 { // bytes on their way are bounded: see sliceBytes in internal/dispatch
		t.Errorf("%d messages published again after a lost connection", again)
	}
}
