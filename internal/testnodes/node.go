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

// stopPatience is how long a server may take to end when it is asked to.
const stopPatience = 30 * time.Second

// readyLimit bounds one question whether a server serves: a question that a
// busy machine answers later would be asked for ever.
const readyLimit = 10 * time.Second

// ErrRunning is the error of what takes a server that is stopped.
var ErrRunning = errors.New("the server is running")

// node is a server: the process that it is now, and how to start the next one.
type node struct {
	name    string
	log     string // the file that takes its output
	command func() *exec.Cmd
	ready   func(context.Context) error

	mu      sync.Mutex
	process *Process // nil before the first start
}

// Start starts the server and waits until it serves, or until ctx ends. On an
// error no process is left. It does nothing where the server runs.
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
		return fmt.Errorf("start %s: %w; its log ends with:\n%s", n.name, err, tail(n.log))
	}
	return nil
}

func (n *node) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, readyLimit)
		err := n.ready(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-n.process.Exited():
			return fmt.Errorf("it ended: %v", n.process.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("it is not ready in time: %w", err)
		case <-tick.C:
		}
	}
}

// current gives the process of the last start, nil before the first.
func (n *node) current() *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process
}

// PID is the process id of the server that runs, or ran last.
func (n *node) PID() int {
	if p := n.current(); p != nil {
		return p.PID()
	}
	return 0
}

// Alive tells whether the server's process exists; it may be paused.
func (n *node) Alive() bool {
	p := n.current()
	return p != nil && p.Alive()
}

// Kill ends the server as a power cut does, and waits until it is gone.
func (n *node) Kill() {
	if p := n.current(); p != nil {
		p.Kill()
	}
}

// Stop asks the server to end and waits. One that does not is killed, which is
// an error.
func (n *node) Stop() error {
	p := n.current()
	if p == nil {
		return nil
	}
	if _, err := p.Stop(stopPatience); err != nil {
		return fmt.Errorf("stop %s: %w", n.name, err)
	}
	return nil
}

// Pause stops the server where it is, until Resume.
func (n *node) Pause() error { return n.signal((*Process).Pause) }

// Resume lets a paused server go on.
func (n *node) Resume() error { return n.signal((*Process).Resume) }

func (n *node) signal(send func(*Process) error) error {
	p := n.current()
	if p == nil {
		return nil
	}
	return send(p)
}

// FreePort finds a port on loopback that nobody listens on. It is below those
// that Linux gives to outgoing connections, so that it is still free when a
// server that was killed starts again.
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

// find finds a program, also where an ordinary user's PATH does not look.
func find(name string, dirs ...string) (string, error) {
	if path, err := exec.LookPath(name); err == nil && len(dirs) == 0 {
		return path, nil
	}
	for _, dir := range append(dirs, "/usr/sbin", "/usr/local/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no program %s: install its package", name)
}

func tail(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
