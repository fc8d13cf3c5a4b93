package endpointcheck

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// process is the endpoint's.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// startProcess starts the endpoint in a directory of its own, which is the same after
// a kill.
func startProcess(cfg Config, dir string, setup Setup) (*process, error) {
	args := setup.expand(cfg.Command)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Dir = cfg.Environ, filepath.Join(dir, "endpoint")
	if err := os.MkdirAll(cmd.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the endpoint's directory: %w", err)
	}
	cmd.Stdout, cmd.Stderr = cfg.Log, cfg.Log
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the endpoint: %w", err)
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait()
	}()
	return p, nil
}

// ended reports whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// kill kills the process and what it has started.
func (p *process) kill() {
	killGroup(p.cmd)
	<-p.exited
}
