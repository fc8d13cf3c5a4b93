package e2e

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// letter is a dead letter in an API answer.
type letter struct {
	ID         int64
	Reason     string
	Queue      string
	Endpoint   string
	Body       string
	BodyBase64 string `json:"body_base64"`
	Truncated  bool
}

// deadLetters returns all dead letters from the API, newest first; ok is false
// if the API cannot be reached.
func (s *system) deadLetters() (all []letter, ok bool) {
	s.t.Helper()
	for path := "/v1/dead-letters?limit=200"; path != ""; {
		var page struct {
			DeadLetters []letter `json:"dead_letters"`
			Next        *string
		}
		code, _, err := s.request(http.MethodGet, path, "", &page)
		if err != nil || code != http.StatusOK {
			return nil, false
		}
		all = append(all, page.DeadLetters...)
		path = ""
		if page.Next != nil {
			path = "/v1/dead-letters?limit=200&cursor=" + *page.Next
		}
	}
	return all, true
}

// awaitLetter waits for a dead letter and returns it with its whole body.
func (s *system) awaitLetter(what string, is func(letter) bool) (l letter) {
	s.t.Helper()
	s.until("the dead letter of "+what, func() bool {
		all, _ := s.deadLetters()
		for _, l = range all {
			if is(l) {
				return true
			}
		}
		return false
	})
	var whole letter
	if code, _, err := s.request(http.MethodGet, fmt.Sprintf("/v1/dead-letters/%d", l.ID), "", &whole); err != nil || code != http.StatusOK {
		s.t.Fatalf("dead letter of %s: %d, %v", what, code, err)
	}
	return whole
}

// foreign returns a channel of another AMQP client.
func (s *system) foreign() *amqp.Channel {
	s.t.Helper()
	conn, err := amqp.Dial(s.amqp)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		s.t.Fatal(err)
	}
	return ch
}

func (s *system) publish(ch *amqp.Channel, exchange, key string, body string) {
	s.t.Helper()
	message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}
	if err := ch.PublishWithContext(s.t.Context(), exchange, key, true, false, message); err != nil {
		s.t.Fatal(err)
	}
}

// settle requeues or discards a letter and checks the status code.
func (s *system) settle(method, path string, want int) string {
	s.t.Helper()
	var problem struct{ Detail string }
	var into any
	if want >= 400 {
		into = &problem
	}
	code, _, err := s.request(method, path, "", into)
	if err != nil || code != want {
		s.t.Errorf("%s %s: %d, want %d, %v", method, path, code, want, err)
	}
	return problem.Detail
}

func requeue(l letter) (method, path string) {
	return http.MethodPost, fmt.Sprintf("/v1/dead-letters/%d/requeue", l.ID)
}

func discard(l letter) (method, path string) {
	return http.MethodDelete, fmt.Sprintf("/v1/dead-letters/%d", l.ID)
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.api()
	manager := s.manager("console1")
	s.post("worker", `{"identifier":"before"}`)
	s.await("/worker/before", "DONE")
	ch := s.foreign()

	// A malformed message becomes a dead letter with its reason, byte for byte.
	// Requeued, it becomes a new one; discarded, it is gone.
	malformed := "malformed \xff" + strings.Repeat("x", 5000)
	s.publish(ch, "tasker.worker", "endpoint.console1", malformed)
	first := s.awaitLetter("the malformed message", func(l letter) bool { return l.Truncated })
	if body, err := base64.StdEncoding.DecodeString(first.BodyBase64); err != nil || string(body) != malformed ||
		first.Endpoint != "console1" || !strings.Contains(first.Reason, "UTF-8") && !strings.Contains(first.Reason, "JSON") {
		t.Errorf("%+v, %v", first, err)
	}
	method, path := requeue(first)
	s.settle(method, path, http.StatusNoContent)
	again := s.awaitLetter("the requeued message", func(l letter) bool { return l.ID > first.ID })
	method, path = discard(again)
	s.settle(method, path, http.StatusNoContent)
	s.settle(method, path, http.StatusNotFound)

	// A message that an administrator rejected by mistake returns to its queue
	// and is performed.
	if code := manager.stop(); code != 0 {
		t.Errorf("exit %d", code)
	}
	s.post("worker", `{"identifier":"rejected","endpoints":["console1"]}`)
	var d amqp.Delivery
	s.until("the message", func() (ok bool) {
		var err error
		if d, ok, err = ch.Get("tasker.worker.console1", false); err != nil {
			t.Fatal(err)
		}
		return ok
	})
	if err := d.Reject(false); err != nil {
		t.Fatal(err)
	}
	rejected := s.awaitLetter("the rejected message", func(l letter) bool { return l.Reason == "rejected" })
	if rejected.Endpoint != "console1" || rejected.Body != string(d.Body) {
		t.Errorf("%+v", rejected)
	}
	env := append([]string{"TASKER_API_URL=" + s.base}, s.env...)
	code, output := run(t, env, "dead-letters", "requeue", fmt.Sprint(rejected.ID), "4711")
	if code != 1 || !strings.Contains(output, fmt.Sprintf("dead letter %d: requeued", rejected.ID)) ||
		!strings.Contains(output, "dead letter 4711 not found") {
		t.Errorf("exit %d:\n%s", code, output)
	}
	if back, ok, err := ch.Get("tasker.worker.console1", false); err != nil || !ok || string(back.Body) != string(d.Body) {
		t.Errorf("not in its queue: %t, %v", ok, err)
	} else if err := back.Nack(false, true); err != nil {
		t.Error(err)
	}
	s.manager("console1")
	if a := s.await("/worker/rejected", "DONE"); a.TaskResponseList[0].Attempt != 1 {
		t.Errorf("%+v", a)
	}

	// A letter whose queue no longer exists cannot be requeued.
	args := amqp.Table{"x-dead-letter-exchange": "tasker.dead"}
	if _, err := ch.QueueDeclare("tasker.worker.ghost", true, false, false, false, args); err != nil {
		t.Fatal(err)
	}
	s.publish(ch, "", "tasker.worker.ghost", "a ghost's")
	s.until("the ghost's message", func() (ok bool) {
		var err error
		if d, ok, err = ch.Get("tasker.worker.ghost", false); err != nil {
			t.Fatal(err)
		}
		return ok
	})
	if err := d.Reject(false); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDelete("tasker.worker.ghost", false, false, false); err != nil {
		t.Fatal(err)
	}
	ghost := s.awaitLetter("the ghost", func(l letter) bool { return l.Endpoint == "ghost" })
	method, path = requeue(ghost)
	if detail := s.settle(method, path, http.StatusConflict); !strings.Contains(detail, "endpoint ghost has no queue") {
		t.Errorf("detail %q", detail)
	}
	if code, output := run(t, env, "dead-letters", "list"); code != 0 || !strings.Contains(output, "tasker.worker.ghost") {
		t.Errorf("exit %d:\n%s", code, output)
	}
	if code, output := run(t, env, "dead-letters", "discard", "--all", "--yes"); code != 0 {
		t.Errorf("exit %d:\n%s", code, output)
	}
	if all, ok := s.deadLetters(); !ok || len(all) != 0 {
		t.Errorf("left: %+v", all)
	}
}

// The API is killed while messages come in from a manager and from a foreign
// client: no letter is lost. Those of the manager exist once; one of the
// foreign client may exist twice, since nothing identifies it before it has an
// id.
func TestDeadLettersOfAKilledAPI(t *testing.T) {
	t.Parallel()
	const (
		each  = 300
		kills = 6
	)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newSystem(t)
	api := s.api()
	s.manager("console1")
	s.post("worker", `{"identifier":"before"}`)
	s.await("/worker/before", "DONE") // creates its queue and the dead letters' queue

	sent := make(chan error, 1)
	ch := s.foreign()
	go func() {
		for i := range each {
			for exchange, body := range map[string]string{"tasker.worker": "by a manager %d", "tasker.dead": "foreign %d"} {
				m := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Appendf(nil, body, i)}
				if err := ch.PublishWithContext(t.Context(), exchange, "endpoint.console1", true, false, m); err != nil {
					sent <- err
					return
				}
			}
			select {
			case <-time.After(5 * time.Millisecond): // spread over the API's kills
			case <-t.Context().Done():
			}
		}
		sent <- nil
	}()
	for range kills {
		select {
		case <-time.After(time.Duration(random.IntN(300)) * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the test was canceled")
		}
		api.kill()
		api = s.api()
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}

	// Count each letter once RabbitMQ has no more of them.
	look := s.foreign()
	for waiting := 1; waiting > 0; {
		s.until("the letters to be stored", func() bool {
			q, err := look.QueueDeclarePassive("tasker.dead", true, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			all, _ := s.deadLetters()
			return q.Messages == 0 && len(all) >= 2*each
		})
		if code := api.stop(); code != 0 {
			t.Errorf("exit %d", code)
		}
		q, err := look.QueueDeclarePassive("tasker.dead", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		waiting = q.Messages // those that the API gave back
		api = s.api()
	}
	all, ok := s.deadLetters()
	if !ok {
		t.Fatal("cannot list the dead letters")
	}
	times := map[string]int{}
	for _, l := range all {
		times[l.Body]++
	}
	for i := range each {
		if n := times[fmt.Sprintf("by a manager %d", i)]; n != 1 {
			t.Errorf("letter %d of the manager exists %d times", i, n)
		}
		if n := times[fmt.Sprintf("foreign %d", i)]; n < 1 {
			t.Errorf("foreign letter %d is lost", i)
		}
	}
	t.Logf("%d letters, %d of them twice", len(all), len(all)-2*each)
}
