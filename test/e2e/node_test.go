package e2e

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/testservices"
)

// nodeTypes has a type that Go managers perform by cat.
const nodeTypes = `TASKER_TASK_TYPES=[{name: job, handler: exec, settings: {command: [cat]}}]`

// nodeSlots is the number of slots in testdata/node/handlers.js.
const nodeSlots = 3

// aboveDoubles is an id that JavaScript cannot tell from the previous one.
const aboveDoubles = 1<<53 + 1

// The example endpoint in JavaScript works beside a manager in Go: tasks for all
// and for some, failures, retries, duplicates, kills and a faulty gateway. All task
// ids are above 2^53.
func TestNodeEndpoint(t *testing.T) {
	t.Parallel()
	program := needNode(t)
	s := newSystem(t, nodeTypes)
	gate := newFaultyGateway(s)
	s.api()
	s.manager("go1")
	node := newNode(s, gate, program)
	p := node.start()

	// A broadcast, whose payload arrives byte for byte.
	const payload = `{"do":"echo","n":12345678901234567890,"x":1.50}`
	s.accept("job", `{"identifier":"all","payload":`+payload+`}`)
	a := s.await("/job/all", "DONE")
	if len(a.TaskResponseList) != 2 || a.Task.ID != aboveDoubles {
		t.Errorf("%+v", a)
	}
	if body := s.text("/job/all/results/node1"); !strings.Contains(body, `"payload":`+payload) {
		t.Errorf("the result of node1 is another one: %s", body)
	}

	s.accept("job", `{"identifier":"fails","endpoints":["node1"],"payload":{"do":"fail","errnr":42,"message":"disk full"}}`)
	if r := s.await("/job/fails", "FAILED").TaskResponseList[0]; r.Errnr != 42 || r.Errmsg == nil || *r.Errmsg != "disk full" || r.Attempt != 1 {
		t.Errorf("%+v", r)
	}
	s.accept("job", `{"identifier":"flaky","endpoints":["node1"],"payload":{"do":"flaky","until":3}}`)
	if r := s.await("/job/flaky", "DONE").TaskResponseList[0]; r.Attempt != 3 {
		t.Errorf("%+v", r)
	}
	if body := s.text("/job/flaky/results/node1"); !strings.Contains(body, "not yet: attempt 2") {
		t.Errorf("no history: %s", body)
	}

	node.duplicates()
	node.underFaults()
	node.killedInARun(p)
	node.killedBeforeTheEndIsStored()

	p = node.start()
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after TERM", code)
	}
	node.noSecondRun()
}

// needNode returns the directory of the example with what it needs. It skips the
// test without Node.js, except where services are required.
func needNode(t *testing.T) (program string) {
	t.Helper()
	testservices.NeedNode(t)
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "endpoint.js"} {
		data, err := os.ReadFile(filepath.Join("../../examples/endpoint-node", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return filepath.Join(dir, "endpoint.js")
}

// text returns the body of an answer as it is.
func (s *system) text(path string) string {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.base+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(body)
}

// faultyGateway is a gateway that can be away, and whose answers can be lost.
type faultyGateway struct {
	url    string
	away   atomic.Bool
	faults atomic.Bool
	served atomic.Int64
}

// byToken is an authenticator: the token of an endpoint is "token-" and its name.
type byToken struct{}

func (byToken) Endpoint(_ context.Context, token string) (string, error) {
	name, ok := strings.CutPrefix(token, "token-")
	if !ok {
		return "", tasker.Errorf(tasker.Unauthorized, "unknown token")
	}
	return name, nil
}

type noNotes struct{}

func (noNotes) Notify(context.Context, string, []byte) error { return nil }

// newFaultyGateway starts a gateway on the database of a system, whose ids of tasks
// begin above those that JavaScript can tell apart.
func newFaultyGateway(s *system) *faultyGateway {
	s.t.Helper()
	log := slog.New(slog.NewTextHandler(s.t.Output(), nil))
	db, err := store.Open(store.Config{URI: s.mysql}, log)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := db.Tasks.CountFrom(s.t.Context(), aboveDoubles); err != nil {
		s.t.Fatal(err)
	}
	server := gateway.NewServer(gateway.Config{Heartbeat: 300 * time.Millisecond}, gateway.Stores{
		Endpoints: db.Endpoints, Results: db.Inbox, Attempts: db.Attempts, Work: db.Attempts, Live: db.Live, Database: db.DB,
	}, byToken{}, noNotes{}, log)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { server.Run(ctx) })
	g := &faultyGateway{}
	listener := httptest.NewServer(g.handler(server.Handler()))
	g.url = listener.URL
	s.t.Cleanup(func() {
		listener.Close()
		cancel()
		running.Wait()
		_ = db.Close()
	})
	return g
}

func (g *faultyGateway) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := g.served.Add(1)
		switch {
		case g.away.Load(), g.faults.Load() && n%7 == 0:
			w.Header().Set("Content-Type", "text/html") // a proxy
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "<html>503</html>")
		case g.faults.Load() && n%4 == 0:
			next.ServeHTTP(httptest.NewRecorder(), r) // done, and the answer is lost
			panic(http.ErrAbortHandler)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// node is the endpoint node1.
type node struct {
	s       *system
	gateway *faultyGateway
	program string
	dir     string // with its token, its spool and its runs
}

func newNode(s *system, gate *faultyGateway, program string) *node {
	s.t.Helper()
	n := &node{s: s, gateway: gate, program: program, dir: s.t.TempDir()}
	if err := os.WriteFile(filepath.Join(n.dir, "token"), []byte("token-node1\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// start starts the endpoint, and waits until it consumes.
func (n *node) start() *process {
	n.s.t.Helper()
	handlers, err := filepath.Abs("testdata/node/handlers.js")
	if err != nil {
		n.s.t.Fatal(err)
	}
	command := exec.Command("node", n.program, handlers)
	command.Dir = n.dir
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "TASKER_ENDPOINT=node1", "TASKER_GATEWAY=" + n.gateway.url, "TASKER_RABBITMQ=" + n.s.amqp,
		"RUNS=" + filepath.Join(n.dir, "runs"),
	}
	p := launch(n.s.t, "node1", command)
	n.s.until("node1 to consume", func() bool {
		select {
		case <-p.exited:
			n.s.t.Fatalf("node1 ended:\n%s", p.output())
		default:
		}
		return strings.Contains(p.output(), `"subscribed"`)
	})
	return p
}

// runs returns how often each attempt of a task began.
func (n *node) runs() map[string]int {
	n.s.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.dir, "runs"))
	if err != nil {
		n.s.t.Fatal(err)
	}
	runs := map[string]int{}
	for line := range strings.Lines(string(data)) {
		runs[strings.TrimSpace(line)]++
	}
	return runs
}

func (n *node) noSecondRun() {
	n.s.t.Helper()
	for run, times := range n.runs() {
		if times != 1 {
			n.s.t.Errorf("began %d times: %s", times, run)
		}
	}
}

// duplicates sends messages of a task again that has ended and of one that runs, and
// messages that are wrong.
func (n *node) duplicates() {
	s := n.s
	s.t.Helper()
	s.accept("job", `{"identifier":"runs","endpoints":["node1"],"payload":{"do":"sleep","ms":1500}}`)
	running := s.awaitFor("/job/runs", "run", func(a answer) bool { return a.state("node1") == "RUNNING" }).Task.ID
	conn, err := amqp.Dial(s.amqp)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	channel, err := conn.Channel()
	if err != nil {
		s.t.Fatal(err)
	}
	message := func(id int64, identifier, taskType string) string {
		return fmt.Sprintf(`{"v":1,"task_id":%d,"identifier":%q,"type":%q,"payload":null,"start_time":"2026-05-06T01:14:24Z"}`, id, identifier, taskType)
	}
	bodies := map[string]string{ // to the reason of the dead letter
		message(aboveDoubles, "all", "job"): "", message(running, "runs", "job"): "",
		message(aboveDoubles-1, "all", "job"): "not found", message(aboveDoubles, "all", "other"): "wrong task type",
		message(aboveDoubles, "other", "job"): "but the message says", `{"v":9,"type":"job"}`: "unknown version", "hello": "JSON",
	}
	for body := range bodies {
		for range 3 {
			err := channel.PublishWithContext(s.t.Context(), "tasker.job", "endpoint.node1", true, false, amqp.Publishing{Body: []byte(body)})
			if err != nil {
				s.t.Fatal(err)
			}
		}
	}
	for body, reason := range bodies {
		if reason == "" {
			continue
		}
		l := s.awaitLetter(body, func(l letter) bool { return l.Body == body })
		if !strings.Contains(l.Reason, reason) || l.Queue != "tasker.job.node1" {
			s.t.Errorf("the letter of %s: %+v", body, l)
		}
	}
	s.await("/job/runs", "DONE")
	n.noSecondRun()
}

// underFaults has answers lost, and requests refused, while tasks come.
func (n *node) underFaults() {
	s := n.s
	s.t.Helper()
	n.gateway.faults.Store(true)
	const tasks = 30
	for i := range tasks {
		s.accept("job", fmt.Sprintf(`{"identifier":"f%d","payload":{"do":"flaky","until":%d}}`, i, 1+i%2))
	}
	for i := range tasks {
		a := s.await(fmt.Sprintf("/job/f%d", i), "DONE")
		for _, r := range a.TaskResponseList {
			if r.Endpoint == "node1" && r.Attempt != 1+i%2 {
				s.t.Errorf("f%d: %+v", i, r)
			}
		}
	}
	n.gateway.faults.Store(false)
	n.noSecondRun()
}

// killedInARun kills the endpoint while it runs one task and another one waits; its
// next process adopts both.
func (n *node) killedInARun(p *process) {
	s := n.s
	s.t.Helper()
	const tasks = nodeSlots + 2
	for i := range tasks {
		s.accept("job", fmt.Sprintf(`{"identifier":"k%d","endpoints":["node1"],"payload":{"do":"sleep","ms":600000}}`, i))
	}
	running, waiting := n.awaitSlots(tasks)
	p.kill() // -9
	s.accept("job", `{"identifier":"meanwhile","payload":{"do":"echo"}}`)
	p = n.start()
	s.await("/job/meanwhile", "DONE")
	for _, path := range running {
		if r := s.await(path, "DONE").TaskResponseList[0]; r.Attempt != 2 {
			s.t.Errorf("%s: %+v", path, r)
		}
		if body := s.text(path + "/results/node1"); !strings.Contains(body, `"errnr":-6`) {
			s.t.Errorf("the interruption is not in the history: %s", body)
		}
	}
	for _, path := range waiting { // they begin with the attempt that sleeps
		s.awaitFor(path, "run", func(a answer) bool { return a.state("node1") == "RUNNING" })
	}
	p.kill()
	p = n.start()
	for _, path := range waiting {
		s.await(path, "DONE")
	}
	p.kill()
}

// awaitSlots waits until the tasks k0 and so on take all slots, and returns the paths
// of those that run and of those that wait.
func (n *node) awaitSlots(tasks int) (running, waiting []string) {
	n.s.t.Helper()
	n.s.until("the slots to be taken", func() bool {
		running, waiting = nil, nil
		for i := range tasks {
			path := fmt.Sprintf("/job/k%d", i)
			switch n.s.awaitFor(path, "be recorded", func(a answer) bool { return a.state("node1") != "" }).state("node1") {
			case "RUNNING":
				running = append(running, path)
			case "RECEIVED":
				waiting = append(waiting, path)
			}
		}
		return len(running) == nodeSlots && len(running)+len(waiting) == tasks
	})
	return running, waiting
}

// killedBeforeTheEndIsStored kills the endpoint after a handler has ended, while the
// gateway is away; the next process stores that end and runs nothing.
func (n *node) killedBeforeTheEndIsStored() {
	s := n.s
	s.t.Helper()
	p := n.start()
	s.accept("job", `{"identifier":"kept","endpoints":["node1"],"payload":{"do":"sleep","ms":1000}}`)
	id := s.awaitFor("/job/kept", "run", func(a answer) bool { return a.state("node1") == "RUNNING" }).Task.ID
	n.gateway.away.Store(true)
	s.until("the end to be on disk", func() bool {
		_, err := os.Stat(filepath.Join(n.dir, "spool", fmt.Sprintf("%d-1.json", id)))
		return err == nil
	})
	p.kill()
	n.gateway.away.Store(false)
	p = n.start()
	if r := s.await("/job/kept", "DONE").TaskResponseList[0]; r.Attempt != 1 {
		s.t.Errorf("%+v", r)
	}
	if left, err := os.ReadDir(filepath.Join(n.dir, "spool")); err != nil || len(left) > 0 {
		s.t.Errorf("left in the spool: %v, %v", left, err)
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.exited
}
