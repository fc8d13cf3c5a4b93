// Package daemons runs tasker's processes for the bench and fleet commands, and waits
// for them.
package daemons

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/testnodes"
)

// Group is a number of child processes, each with a directory of its own. They end
// with this process.
type Group struct {
	dir  string
	keep bool
	fail context.CancelCauseFunc

	mu  sync.Mutex
	all []*testnodes.Process
}

// NewGroup returns a group with its files in dir, or, if that is empty, in a directory
// that [Group.Stop] removes. If a process ends before that, fail is called with its
// last words.
func NewGroup(dir string, fail context.CancelCauseFunc) (g *Group, err error) {
	g = &Group{dir: dir, keep: dir != "", fail: fail}
	if g.keep {
		return g, os.MkdirAll(dir, 0o700)
	}
	g.dir, err = os.MkdirTemp("", "tasker-daemons-")
	return g, err
}

// Command is a process to start.
type Command struct {
	Name    string   // of its directory
	Args    []string // of this program
	Environ []string
	Stdout  io.Writer // nil means that it goes where standard error goes: to a file
}

// Start starts this program in a directory of its own and returns its process ID.
func (g *Group) Start(c Command) (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	dir := filepath.Join(g.dir, c.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	path := filepath.Join(dir, "output")
	output, err := os.Create(path) //nolint:gosec // in our own directory
	if err != nil {
		return 0, err
	}
	defer func() { _ = output.Close() }()
	cmd := exec.Command(self, c.Args...) //nolint:gosec,noctx // it is this program; Stop ends it
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TASKER_LOG_FORMAT=json"}, c.Environ...)
	cmd.Stdout, cmd.Stderr = output, output
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	process, err := testnodes.StartProcess(cmd)
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", c.Name, err)
	}
	g.mu.Lock()
	g.all = append(g.all, process)
	g.mu.Unlock()
	go func() {
		<-process.Exited()
		g.fail(fmt.Errorf("%s ended: %s: %s", c.Name, process.Ending(), tail(path)))
	}()
	return process.PID(), nil
}

// tail returns the last lines of a file.
func tail(path string) []byte {
	said, err := os.ReadFile(path) //nolint:gosec // in our own directory
	if err != nil {
		return nil
	}
	return said[max(0, len(said)-2000):]
}

// Stop ends all processes, and kills those that take longer than the timeout, which
// is an error.
func (g *Group) Stop(timeout time.Duration) error {
	g.mu.Lock()
	all := g.all
	g.mu.Unlock()
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for i, process := range all {
		group.Go(func() { _, errs[i] = process.Stop(timeout) })
	}
	group.Wait()
	if !g.keep {
		errs = append(errs, os.RemoveAll(g.dir))
	}
	return errors.Join(errs...)
}
