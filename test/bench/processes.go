package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/testnodes"
	"github.com/taskerhq/tasker/test/internal/noop"
)

// processes are tasker's processes: an API, and a manager for each endpoint.
type processes struct {
	dir           string
	all           []*testnodes.Process
	api, managers []int // process IDs
	polls         atomic.Int64
}

// startProcesses starts tasker as a fleet runs it: an API process and a manager
// process for each endpoint. It waits until all consume and the API is ready.
func startProcesses(ctx context.Context, s *services, opts options, endpoints int) (_ *system, err error) {
	if err := migrate(ctx, s.mysql); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tasker-bench-")
	if err != nil {
		return nil, err
	}
	p := &processes{dir: dir}
	life, end := context.WithCancelCause(ctx)
	sys := &system{ctx: life, parts: p}
	sys.stop = sync.OnceValue(func() error {
		end(context.Canceled)
		return errors.Join(p.stop(), os.RemoveAll(dir))
	})
	w, err := newWatcher(s.mysql, endpoints, &p.polls)
	if err != nil {
		return nil, errors.Join(err, sys.stop())
	}
	sys.await = w.wait
	stop := sys.stop
	sys.stop = sync.OnceValue(func() error { return errors.Join(stop(), w.close()) })
	if err := p.start(sys, s, opts, endpoints, end); err != nil {
		return nil, errors.Join(err, sys.stop())
	}
	return sys, nil
}

func (p *processes) start(sys *system, s *services, opts options, endpoints int, fail context.CancelCauseFunc) error {
	port, err := testnodes.FreePort()
	if err != nil {
		return err
	}
	sys.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	pid, err := p.run(fail, "api", append(s.environ(opts), fmt.Sprintf("TASKER_API_PORT=%d", port)), "api")
	if err != nil {
		return err
	}
	p.api = []int{pid}
	for i := range endpoints {
		name := endpointName(i)
		pid, err := p.run(fail, name, s.environ(opts), "manager", "--endpoint", name)
		if err != nil {
			return err
		}
		p.managers = append(p.managers, pid)
	}
	ctx, cancel := context.WithTimeoutCause(sys.ctx, 3*time.Minute, errors.New("processes not ready within three minutes"))
	defer cancel()
	if err := awaitConsumers(ctx, s.rabbit, noop.Type, endpoints, endpointName); err != nil {
		return err
	}
	return sys.apiReady(ctx)
}

// run starts a tasker process in a directory of its own. If it ends before it is
// stopped, fail is called.
func (p *processes) run(fail context.CancelCauseFunc, name string, env []string, args ...string) (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	dir := filepath.Join(p.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	output, err := os.Create(filepath.Join(dir, "output")) //nolint:gosec // in our own directory
	if err != nil {
		return 0, err
	}
	defer func() { _ = output.Close() }()
	cmd := exec.Command(self, append([]string{noop.Command}, args...)...) //nolint:gosec,noctx // it is this program; stop ends it
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TASKER_LOG_FORMAT=json"}, env...)
	cmd.Stdout, cmd.Stderr = output, output
	process, err := testnodes.StartProcess(cmd)
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", name, err)
	}
	p.all = append(p.all, process)
	go func() {
		<-process.Exited()
		said, _ := os.ReadFile(filepath.Join(dir, "output"))
		fail(fmt.Errorf("%s ended: %s: %s", name, process.Ending(), said[max(0, len(said)-2000):]))
	}()
	return process.PID(), nil
}

// stop ends all processes, first the managers.
func (p *processes) stop() error {
	errs := make([]error, len(p.all))
	var group sync.WaitGroup
	for i, process := range p.all {
		group.Go(func() { _, errs[i] = process.Stop(time.Minute) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// awaitConsumers waits until the queue of every endpoint has a consumer.
func awaitConsumers(ctx context.Context, uri, taskType string, endpoints int, name func(int) string) (err error) {
	conn, err := amqp.Dial(uri)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for i := range endpoints {
		queue := broker.Queue{TaskType: taskType, Endpoint: name(i)}.Name()
		err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
			ch, err := conn.Channel() // a missing queue closes the channel
			if err != nil {
				return false, err
			}
			q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
			if err != nil {
				return false, nil //nolint:nilerr // no queue yet
			}
			return q.Consumers > 0, ch.Close()
		})
		if err != nil {
			return fmt.Errorf("wait for a consumer of %s: %w", queue, err)
		}
	}
	return nil
}
