package e2e

import (
	"net/http"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// hasQueue reports whether RabbitMQ has a queue.
func (s *system) hasQueue(name string) bool {
	s.t.Helper()
	conn, err := amqp.Dial(s.amqp)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = ch.QueueDeclarePassive(name, true, false, false, false, nil)
	return err == nil
}

// After an endpoint is removed, later tasks for all end without it, and so do
// open tasks.
func TestRemoveEndpoint(t *testing.T) {
	s := newSystem(t)
	s.api()
	s.manager("console1")
	byhand := s.manager("byhand")
	env := append([]string{"TASKER_API_URL=" + s.base}, s.env...)
	code, output := run(t, env, "endpoints", "remove", "byhand")
	if code != 1 || !strings.Contains(output, "is alive") {
		t.Fatalf("exit %d: %s", code, output)
	}
	s.until("byhand's queue", func() bool { return s.hasQueue("tasker.worker.byhand") })
	byhand.stop()
	s.accept("worker", `{"identifier":"before"}`)
	s.accept("worker", `{"identifier":"listed","endpoints":["byhand","console1"]}`)
	s.awaitFor("/worker/before", "console1 to be done", func(a answer) bool { return a.state("console1") == "DONE" })
	s.awaitFor("/worker/listed", "console1 to be done", func(a answer) bool { return a.state("console1") == "DONE" })
	if code, output = run(t, env, "endpoints", "remove", "byhand"); code != 0 || !strings.Contains(output, "2 open tasks") {
		t.Fatalf("exit %d: %s", code, output)
	}
	s.await("/worker/before", "DONE")
	s.await("/worker/listed", "DONE")
	s.accept("worker", `{"identifier":"after"}`)
	s.await("/worker/after", "DONE")
	for _, taskType := range []string{"worker", "backup", "sleep"} {
		if s.hasQueue("tasker." + taskType + ".byhand") {
			t.Errorf("the queue of %s still exists", taskType)
		}
	}
	// It registers again, and does nothing from before.
	s.manager("byhand")
	s.accept("worker", `{"identifier":"anew"}`)
	s.awaitFor("/worker/anew", "byhand to be done", func(a answer) bool { return a.state("byhand") == "DONE" })
	var all answer
	if _, _, err := s.request(http.MethodGet, "/worker/before", "", &all); err != nil || all.state("byhand") != "" {
		t.Errorf("earlier task performed: %+v, %v", all, err)
	}
}

// A manager with --forget removes its endpoint: neither later tasks for all nor
// open tasks expect it.
func TestForget(t *testing.T) {
	s := newSystem(t)
	s.api()
	s.manager("console1")
	guest := s.manager("guest", "--forget")
	s.accept("worker", `{"identifier":"both"}`)
	s.await("/worker/both", "DONE")
	s.until("guest's queue", func() bool { return s.hasQueue("tasker.sleep.guest") })
	// Two are running, and the third waits for a slot.
	for _, identifier := range []string{"s1", "s2", "s3"} {
		s.accept("sleep", `{"identifier":"`+identifier+`","payload":{"seconds":8},"endpoints":["guest"]}`)
	}
	s.awaitFor("/sleep/s2", "guest to run it", func(a answer) bool { return a.state("guest") == "RUNNING" })
	s.awaitFor("/sleep/s3", "guest to have it", func(a answer) bool { return a.state("guest") == "RECEIVED" })
	if code := guest.stop(); code != 0 {
		t.Fatalf("exit %d:\n%s", code, guest.output())
	}
	s.accept("worker", `{"identifier":"after"}`)
	var after answer
	s.await("/worker/after", "DONE")
	if _, _, err := s.request(http.MethodGet, "/worker/after", "", &after); err != nil || after.state("guest") != "" {
		t.Errorf("guest still expected: %+v, %v", after, err)
	}
	s.await("/sleep/s2", "DONE")
	s.awaitFor("/sleep/s3", "it to be canceled", func(a answer) bool { return a.state("guest") == "CANCELED" })
	s.until("guest's queue to be deleted", func() bool { return !s.hasQueue("tasker.sleep.guest") })
}
