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

// daemon is the place of an API or a manager: the process that plays it now,
// and how to start the next one. Whoever does something to it holds busy.
type daemon struct {
	name    string
	manager bool
	log     string // the file that takes the log of each of its processes
	command func() *exec.Cmd
	busy    sync.Mutex

	mu      sync.Mutex
	process *testnodes.Process
}

// spawn starts a process that plays the daemon, and does not say that it is
// the one.
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
	_, err = fmt.Fprintf(log, "{\"time\":%q,\"msg\":\"chaos: a process starts\",\"pid\":%d}\n", time.Now().Format(time.RFC3339Nano), p.PID())
	return p, err
}

// start starts the daemon's next process.
func (d *daemon) start() error {
	p, err := d.spawn()
	if err == nil {
		d.play(p)
	}
	return err
}

// play makes a process the one that plays the daemon.
func (d *daemon) play(p *testnodes.Process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.process = p
}

// current is the process that plays the daemon, or played it last.
func (d *daemon) current() *testnodes.Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.process
}

// pause waits for a time, and tells whether ctx lasted as long.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
