package testnodes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stopTimeout is how long a server may take to stop on TERM.
const stopTimeout = 30 * time.Second

// readyTimeout limits one readiness check, so that a lost answer is asked for
// again.
const readyTimeout = 10 * time.Second

// ErrRunning is returned by operations that need the server to be stopped.
var ErrRunning = errors.New("the server is running")

// node is a server: its current process, and how to start the next one.
type node struct {
	name    string
	log     string // receives its output
	command func() *exec.Cmd
	ready   func(context.Context) error

	mu      sync.Mutex
	process *Process // nil before the first start
}

// Start starts the server and waits until it is ready or ctx ends. On an error
// no process is left. If the server is running, Start does nothing.
func (n *node) Start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil && n.process.Alive() {
		return nil
	}
	log, err := os.OpenFile(n.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := n.command()
	cmd.Stdout, cmd.Stderr = log, log
	if n.process, err = StartProcess(cmd); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	if err := n.awaitReady(ctx); err != nil {
		n.process.Kill()
		return fmt.Errorf("start %s: %w; last lines of its log:\n%s", n.name, err, tail(n.log))
	}
	return nil
}

func (n *node) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, readyTimeout)
		err := n.ready(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-n.process.Exited():
			return fmt.Errorf("ended: %v", n.process.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("not ready in time: %w", err)
		case <-tick.C:
		}
	}
}

// current returns the latest process, or nil before the first start.
func (n *node) current() *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process
}

// PID returns the process id of the latest process, or 0.
func (n *node) PID() int {
	if p := n.current(); p != nil {
		return p.PID()
	}
	return 0
}

// Alive reports whether the server's process exists; a paused one does.
func (n *node) Alive() bool {
	p := n.current()
	return p != nil && p.Alive()
}

// Kill kills the server and waits until its process has ended.
func (n *node) Kill() {
	if p := n.current(); p != nil {
		p.Kill()
	}
}

// Stop sends TERM and waits. If the server does not stop, Stop kills it and
// returns an error.
func (n *node) Stop() error {
	p := n.current()
	if p == nil {
		return nil
	}
	if _, err := p.Stop(stopTimeout); err != nil {
		return fmt.Errorf("stop %s: %w", n.name, err)
	}
	return nil
}

// Pause stops the server with SIGSTOP, until Resume.
func (n *node) Pause() error { return n.signal((*Process).Pause) }

// Resume continues a paused server.
func (n *node) Resume() error { return n.signal((*Process).Resume) }

func (n *node) signal(send func(*Process) error) error {
	p := n.current()
	if p == nil {
		return nil
	}
	return send(p)
}

// FreePort returns a port on loopback that is not in use. It is below the range
// that Linux uses for outgoing connections, so that it stays free while a
// killed server is down.
func FreePort() (int, error) {
	for range 200 {
		port := 11000 + rand.IntN(14000)
		l, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port on loopback")
}

const loopback = "127.0.0.1"

// find returns the path of a program, looking also in sbin directories that are
// not in an ordinary user's PATH.
func find(name string, dirs ...string) (string, error) {
	if path, err := exec.LookPath(name); err == nil && len(dirs) == 0 {
		return path, nil
	}
	for _, dir := range append(dirs, "/usr/sbin", "/usr/local/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s not found: install its package", name)
}

func tail(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
