package endpointcheck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/identity"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// firstID is the id of the first task: above what a double holds exactly.
	firstID = 1<<53 + 1
	// heartbeat is the time between two heartbeats that the gateway wants.
	heartbeat = 500 * time.Millisecond
)

// stage is tasker's side.
type stage struct {
	cfg     Config
	dir     string
	setup   Setup
	store   *store.Store
	broker  *rabbit.Broker
	probe   *rabbit.Probe
	front   *front
	process *process
	results []Result
	tasks   int // so far

	mu      sync.Mutex
	letters []broker.DeadLetter
	closers []func()
}

// auth knows the one token.
type auth struct{ endpoint, token string }

// Endpoint implements [gateway.Authenticator].
func (a auth) Endpoint(_ context.Context, given string) (string, error) {
	if given != a.token {
		return "", tasker.Errorf(tasker.Unauthorized, "unknown token")
	}
	return a.endpoint, nil
}

type silent struct{}

// Notify implements [gateway.Notifier].
func (silent) Notify(context.Context, string, []byte) error { return nil }

// newStage starts tasker's side.
func newStage(ctx context.Context, cfg Config, dir string) (s *stage, err error) {
	s = &stage{cfg: cfg, dir: dir}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	log := slog.New(slog.DiscardHandler)
	if err := s.openStore(ctx, log); err != nil {
		return nil, err
	}
	if err := s.openBroker(ctx, log); err != nil {
		return nil, err
	}
	token := identity.NewToken()
	address, err := s.serve(ctx, token, log)
	if err != nil {
		return nil, err
	}
	s.setup = Setup{
		Endpoint: cfg.Endpoint, TaskType: cfg.TaskType, Gateway: "http://" + address, TokenFile: filepath.Join(dir, "token"),
		RabbitMQ: cfg.RabbitMQ,
	}
	return s, os.WriteFile(s.setup.TokenFile, []byte(token+"\n"), 0o600)
}

func (s *stage) openStore(ctx context.Context, log *slog.Logger) (err error) {
	s.store, err = store.Open(store.Config{URI: "sqlite://" + filepath.Join(s.dir, "tasker.db")}, log)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() { _ = s.store.Close() })
	if _, _, err := s.store.Schema.Migrate(ctx); err != nil {
		return err
	}
	return s.store.Tasks.CountFrom(ctx, firstID)
}

// openBroker connects to RabbitMQ, and refuses a virtual host that is in use.
func (s *stage) openBroker(ctx context.Context, log *slog.Logger) error {
	conf := rabbit.Config{URIs: []string{s.cfg.RabbitMQ}, ConnectionName: "tasker endpoint-check"}
	probes, err := rabbit.Probes(conf)
	if err != nil {
		return err
	}
	s.probe = probes[0]
	s.closers = append(s.closers, s.probe.Close)
	if _, err := s.probe.Connect(ctx); err != nil {
		return err
	}
	for _, name := range []string{broker.DeadExchange, s.queue().Name()} {
		messages, consumers, _, err := s.probe.Queue(ctx, name)
		if err != nil {
			return err
		}
		if messages+consumers > 0 {
			return tasker.Errorf(tasker.Conflict, "virtual host in use: queue %s has %d messages and %d consumers: use a new virtual host",
				name, messages, consumers)
		}
	}
	if s.broker, err = rabbit.New(conf, log); err != nil {
		return err
	}
	s.closers = append(s.closers, func() { _ = s.broker.Close() })
	go func() { _ = s.broker.ConsumeDeadLetters(ctx, s.takeLetter) }()
	return s.broker.Declare(ctx, s.cfg.TaskType)
}

func (s *stage) takeLetter(_ context.Context, l broker.DeadLetter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letters = append(s.letters, l)
	return nil
}

// lettersOf returns the dead letters with a body.
func (s *stage) lettersOf(body []byte) (list []broker.DeadLetter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.letters {
		if bytes.Equal(l.Body, body) {
			list = append(list, l)
		}
	}
	return list
}

// serve starts the gateway behind the front.
func (s *stage) serve(ctx context.Context, token string, log *slog.Logger) (address string, err error) {
	server := gateway.NewServer(gateway.Config{Heartbeat: heartbeat}, gateway.Stores{
		Endpoints: s.store.Endpoints, Results: s.store.Inbox, Attempts: s.store.Attempts, Work: s.store.Attempts, Live: s.store.Live,
		Database: s.store.DB,
	}, auth{s.cfg.Endpoint, token}, silent{}, log)
	s.front = &front{next: server.Handler()}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return "", fmt.Errorf("listen for the gateway: %w", err)
	}
	if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		_ = listener.Close()
		return "", tasker.Errorf(tasker.Invalid, "invalid address %s: the gateway of the check listens on loopback only", s.cfg.Listen)
	}
	front := &http.Server{
		Handler: s.front, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	group.Go(func() { server.Run(running) })
	group.Go(func() { _ = front.Serve(listener) })
	s.closers = append(s.closers, func() {
		_ = front.Close()
		stop()
		group.Wait()
	})
	return listener.Addr().String(), nil
}

func (s *stage) close() {
	if s.process != nil {
		s.process.kill()
	}
	for _, closer := range slices.Backward(s.closers) {
		closer()
	}
}

func (s *stage) queue() broker.Queue {
	return broker.Queue{TaskType: s.cfg.TaskType, Endpoint: s.cfg.Endpoint}
}

// report notes the result of a check.
func (s *stage) report(check, expected string, ok bool, seen string, args ...any) {
	outcome := Failed
	if ok {
		outcome = Passed
	}
	s.add(Result{Check: check, Outcome: outcome, Expected: expected, Seen: fmt.Sprintf(seen, args...)})
}

func (s *stage) skip(check, expected string) {
	s.add(Result{Check: check, Outcome: Skipped, Expected: expected, Seen: "no command: the check cannot kill the endpoint"})
}

func (s *stage) add(r Result) {
	s.results = append(s.results, r)
	if s.cfg.Report != nil {
		s.cfg.Report(r)
	}
}

// until waits until a condition holds, or patience ends. It reports whether it holds.
func (s *stage) until(ctx context.Context, holds func() bool) bool {
	for deadline := time.Now().Add(s.cfg.Patience); ; {
		if holds() {
			return true
		}
		if time.Now().After(deadline) || clock.Sleep(ctx, 20*time.Millisecond) != nil {
			return holds()
		}
	}
}

// task is a task for the endpoint.
type task struct {
	tasker.Task
	file string // to which its handler adds a line for each run
}

// create stores a task whose handler takes a time.
func (s *stage) create(ctx context.Context, takes time.Duration) (task, error) {
	s.tasks++
	file := filepath.Join(s.dir, fmt.Sprintf("runs-%d", s.tasks))
	name, err := json.Marshal(file)
	if err != nil {
		return task{}, fmt.Errorf("encode a file's name: %w", err)
	}
	stored, _, err := s.store.Tasks.CreateTask(ctx, tasker.Task{
		Type: s.cfg.TaskType, Identifier: fmt.Sprintf("check-%d", s.tasks), Endpoints: []string{s.cfg.Endpoint},
		Payload: fmt.Appendf(nil, `{"file": %s, "ms": %d, "big": 12345678901234567890, "decimal": 1.50}`, name, takes.Milliseconds()),
	})
	return task{stored, file}, err
}

// publish sends the task's message.
func (s *stage) publish(ctx context.Context, t task) error {
	body, err := wire.Form{Version: wire.Version, MaxPayload: wire.DefaultMaxPayload}.Encode(t.Task)
	if err == nil {
		err = s.send(ctx, body)
	}
	return err
}

// send publishes a message for the endpoint.
func (s *stage) send(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Patience)
	defer cancel()
	_, err := s.broker.Publish(ctx, broker.Publication{
		TaskType: s.cfg.TaskType, Target: broker.To(s.cfg.Endpoint), MessageID: "check", Body: body,
	})
	return err
}

// post creates a task and publishes it.
func (s *stage) post(ctx context.Context, takes time.Duration) (task, error) {
	t, err := s.create(ctx, takes)
	if err == nil {
		err = s.publish(ctx, t)
	}
	return t, err
}

// runs returns how often the task's handler began.
func (*stage) runs(t task) int {
	data, err := os.ReadFile(t.file)
	if err != nil {
		return 0
	}
	return strings.Count(string(data), "\n")
}

// result returns the endpoint's result for a task; its state is empty before it is recorded.
func (s *stage) result(ctx context.Context, t task) tasker.TaskResult {
	result, err := s.store.Results.FindResult(ctx, t.ID, s.cfg.Endpoint)
	if err != nil {
		return tasker.TaskResult{}
	}
	return result
}

// done waits for the end of a task, and returns it as text.
func (s *stage) done(ctx context.Context, t task) (ok bool, seen string) {
	s.until(ctx, func() bool { return s.result(ctx, t).State.Finished() })
	result := s.result(ctx, t)
	state := string(result.State)
	if state == "" {
		state = "no result"
	}
	if result.Errmsg != "" {
		state += ": " + result.Errmsg
	}
	runs := s.runs(t)
	return result.State == tasker.ResultDone && runs == 1, fmt.Sprintf("%s, %d runs, attempt %d", state, runs, result.Attempt)
}

// ready returns the number of messages in the endpoint's queue that nobody holds.
func (s *stage) ready(ctx context.Context) (messages, consumers int) {
	messages, consumers, _, err := s.probe.Queue(ctx, s.queue().Name())
	if err != nil {
		return -1, -1
	}
	return messages, consumers
}

// start starts the endpoint, or asks for it, and waits until it consumes.
func (s *stage) start(ctx context.Context) (err error) {
	if len(s.cfg.Command) > 0 {
		if s.process, err = startProcess(s.cfg, s.dir, s.setup); err != nil {
			return err
		}
	}
	consumes := s.until(ctx, func() bool {
		_, consumers := s.ready(ctx)
		return consumers > 0 || s.process != nil && s.process.ended()
	})
	if s.process != nil && s.process.ended() {
		return errors.New("the endpoint ended by itself: see its output")
	}
	if !consumes {
		return fmt.Errorf("the endpoint does not consume from queue %s after %v", s.queue().Name(), s.cfg.Patience)
	}
	return nil
}

// kill kills the endpoint, and ends its lease, as if that had expired.
func (s *stage) kill(ctx context.Context) error {
	s.process.kill()
	s.until(ctx, func() bool { _, consumers := s.ready(ctx); return consumers == 0 })
	return s.store.Endpoints.ReleaseEndpoints(ctx, s.manager(), []string{s.cfg.Endpoint})
}

// manager returns the id of the manager that registered last.
func (s *stage) manager() string {
	list := s.front.since(0, func(r *request) bool { return r.operation == protocol.OpRegister && r.status == http.StatusOK })
	if len(list) == 0 {
		return ""
	}
	var registered protocol.Register
	_ = json.Unmarshal(list[len(list)-1].body, &registered)
	return registered.Manager
}
