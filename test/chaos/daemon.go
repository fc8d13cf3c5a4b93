package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/testnodes"
)

// daemon is an API or a manager: its current process, and how to start the next
// one. A fault holds busy while it acts on the daemon.
type daemon struct {
	name    string
	manager bool
	log     string // the log of all its processes
	command func() *exec.Cmd
	busy    sync.Mutex

	mu      sync.Mutex
	process *testnodes.Process
}

// spawn starts a process of the daemon without making it the current one.
func (d *daemon) spawn() (*testnodes.Process, error) {
	log, err := os.OpenFile(d.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := d.command()
	cmd.Stdout, cmd.Stderr = log, log
	p, err := testnodes.StartProcess(cmd)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", d.name, err)
	}
	_, err = fmt.Fprintf(log, "{\"time\":%q,\"msg\":\"chaos: process started\",\"pid\":%d}\n", time.Now().Format(time.RFC3339Nano), p.PID())
	return p, err
}

// start starts the daemon's next process.
func (d *daemon) start() error {
	p, err := d.spawn()
	if err == nil {
		d.setCurrent(p)
	}
	return err
}

// setCurrent makes a process the daemon's current one.
func (d *daemon) setCurrent(p *testnodes.Process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.process = p
}

// current returns the daemon's latest process.
func (d *daemon) current() *testnodes.Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.process
}

// sleep waits for d, and reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
