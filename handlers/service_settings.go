package handlers

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/taskerhq/tasker/handlers/internal/proc"
)

// maxRestartPause bounds the pause before a process that fails is started
// again.
const maxRestartPause = 30 * time.Second

// maxServiceGrace lets a canceled request's time, and then TERM and KILL, fit
// into the time after which a manager abandons a handler.
const maxServiceGrace = 6 * time.Second

// serviceSettings are the settings of the handler "service"; docs/handlers.md
// tells of each. Those of its process have the names that exec gives them.
type serviceSettings struct {
	Command      commandLine `json:"command"`
	Processes    int         `json:"processes"`
	Concurrency  int         `json:"concurrency"` // requests that one process has at once
	MaxRequests  int         `json:"max_requests"`
	IdleTimeout  Duration    `json:"idle_timeout"`
	MaxLine      Size        `json:"max_line"`
	RestartPause Duration    `json:"restart_pause"`

	Directory       string            `json:"directory"`
	Environment     map[string]string `json:"environment"`
	EnvironmentFile secretFiles       `json:"environment_file"`
	PassEnvironment []string          `json:"pass_environment"`
	User            string            `json:"user"`
	Group           string            `json:"group"`
	Umask           octal             `json:"umask"`
	Nice            int               `json:"nice"`
	Limits          limitSettings     `json:"limits"`
	StopGrace       Duration          `json:"stop_grace"`

	process processSettings // the same, as exec has them
}

func readServiceSettings(settings Settings) (serviceSettings, error) {
	p := defaultProcess()
	c := serviceSettings{
		Processes: 1, Concurrency: 1, MaxLine: 2 << 20, RestartPause: Duration(time.Second),
		PassEnvironment: p.PassEnvironment, StopGrace: p.StopGrace,
	}
	if err := settings.Decode(&c); err != nil {
		return c, err
	}
	var mistakes []error
	wrong := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	for _, n := range []struct {
		name             string
		value, low, high int64
	}{
		{"processes", int64(c.Processes), 1, 256},
		{"concurrency", int64(c.Concurrency), 1, 1024},
		{"max_requests", int64(c.MaxRequests), 0, 1 << 40},
		{"max_line", int64(c.MaxLine), 1 << 10, 64 << 20},
	} {
		if n.value < n.low || n.value > n.high {
			wrong("setting %q is %d: give %d to %d", n.name, n.value, n.low, n.high)
		}
	}
	grace := time.Duration(c.StopGrace)
	if grace <= 0 || grace > maxServiceGrace {
		wrong("setting \"stop_grace\" is %v: give a duration above 0s, up to %v", grace, maxServiceGrace)
	}
	if len(c.Command) == 0 {
		wrong(`setting "command" is missing: give a program and its arguments, such as [python3, /opt/handler.py]`)
	} else if err := checkProgramName(c.Command[0]); err != nil {
		wrong("setting \"command\": %w", err)
	} else if name := readsProgram(c.Command); name != "" {
		wrong("setting \"command\": %s would run its standard input, which is the requests, as a program: name a script after it", name)
	}
	p.EnvironmentFile = c.EnvironmentFile
	p.Directory, p.Environment, p.PassEnvironment = c.Directory, c.Environment, c.PassEnvironment
	p.User, p.Group, p.Umask, p.Nice, p.Limits, p.StopGrace = c.User, c.Group, c.Umask, c.Nice, c.Limits, c.StopGrace
	if grace <= 0 || grace > maxServiceGrace {
		p.StopGrace = defaultProcess().StopGrace // its mistake is told above
	}
	c.process = p
	return c, errors.Join(append(mistakes, c.process.check(nil))...)
}

// spec is what to run; a directory of its own, where it is to have one, is for
// the caller to make.
func (c *serviceSettings) spec() *proc.Spec {
	spec := c.process.spec(c.Command[0])
	spec.Args = c.Command[1:]
	return spec
}

// The directory of a process, and the variable that tells its path.
const (
	servicePrefix   = "tasker-service-"
	serviceVariable = ownVariables + "SERVICE_DIR"
)

// makeDir makes a directory for a process, where it starts if the settings name
// no other one, and gives what removes it. By its name is known what a process
// leaves behind when the manager is killed.
func makeDir(spec *proc.Spec) (remove func(), err error) {
	uid, gid, other, err := spec.Owner()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", servicePrefix)
	if err != nil {
		return nil, fmt.Errorf("make its directory: %w", err)
	}
	if other {
		if err := os.Lchown(dir, uid, gid); err != nil {
			_ = os.RemoveAll(dir)
			return nil, fmt.Errorf("make its directory: %w", err)
		}
	}
	if spec.Dir == "" {
		spec.Dir = dir
	}
	spec.Env, spec.Record = append(spec.Env, serviceVariable+"="+dir), dir+recordExt
	return func() { _ = os.RemoveAll(dir) }, nil
}
