package service

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/check"
	"github.com/taskerhq/tasker/handlers/internal/interpreter"
	"github.com/taskerhq/tasker/handlers/internal/proc"
	"github.com/taskerhq/tasker/handlers/internal/program"
)

const (
	// maxRestartPause bounds the pause before a failing process is started again.
	maxRestartPause = 30 * time.Second
	// maxStopGrace leaves time for a canceled request, and then for TERM and
	// KILL, before the manager abandons the handler.
	maxStopGrace = 6 * time.Second
)

// settings are described in docs/handlers.md.
type settings struct {
	Command      program.Command   `json:"command"`
	Processes    int               `json:"processes"`
	Concurrency  int               `json:"concurrency"` // requests in flight per process
	MaxRequests  int               `json:"max_requests"`
	IdleTimeout  handlers.Duration `json:"idle_timeout"`
	MaxLine      handlers.Size     `json:"max_line"`
	RestartPause handlers.Duration `json:"restart_pause"`
	program.Settings
}

func readSettings(s handlers.Settings) (settings, error) {
	conf := settings{
		Processes: 1, Concurrency: 1, MaxLine: 2 << 20, RestartPause: handlers.Duration(time.Second), Settings: program.Defaults(),
	}
	if err := s.Decode(&conf); err != nil {
		return conf, err
	}
	var c check.Settings
	between := func(setting string, value, low, high int64) {
		c.Want(value >= low && value <= high, setting, "must be %d to %d, got %d", low, high, value)
	}
	between("processes", int64(conf.Processes), 1, 256)
	between("concurrency", int64(conf.Concurrency), 1, 1024)
	between("max_requests", int64(conf.MaxRequests), 0, 1<<40)
	between("max_line", int64(conf.MaxLine), 1<<10, 64<<20)
	err := checkCommand(conf.Command)
	c.Want(err == nil, "command", "%w", err)
	return conf, errors.Join(c.Err(), conf.Validate(nil, maxStopGrace))
}

func checkCommand(command program.Command) error {
	if len(command) == 0 {
		return errors.New(`must be a program and its arguments, such as [python3, /opt/handler.py]`)
	}
	if name := interpreter.ExecutesStdin(command); name != "" {
		return fmt.Errorf("%s would execute its standard input, which is the requests: add the script as an argument", name)
	}
	return command.Check()
}

// The directory of a process, and the variable with its path.
const (
	dirPrefix   = "tasker-service-"
	dirVariable = program.OwnVariables + "SERVICE_DIR"
)

// makeDir makes a directory for a process, and returns a function that removes
// it. The process starts there unless the settings name another directory. Its
// name identifies what the process leaves running if the manager is killed.
func makeDir(spec *proc.Spec) (remove func(), err error) {
	uid, gid, other, err := spec.Owner()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return nil, fmt.Errorf("make the directory of the process: %w", err)
	}
	if other {
		if err := os.Lchown(dir, uid, gid); err != nil {
			_ = os.RemoveAll(dir)
			return nil, fmt.Errorf("make the directory of the process: %w", err)
		}
	}
	if spec.Dir == "" {
		spec.Dir = dir
	}
	spec.Env, spec.Record = append(spec.Env, dirVariable+"="+dir), dir+program.RecordExt
	return func() { _ = os.RemoveAll(dir) }, nil
}
