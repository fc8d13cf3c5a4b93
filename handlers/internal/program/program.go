// Package program has the settings that the handlers which run programs share:
// in what environment, with whose rights and within which limits one runs.
package program

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/check"
	"github.com/taskerhq/tasker/handlers/internal/param"
	"github.com/taskerhq/tasker/handlers/internal/proc"
	"github.com/taskerhq/tasker/handlers/internal/secretfiles"
)

// OwnVariables begins the names of the variables that describe a task.
const OwnVariables = "TASKER_"

// Settings are the settings of one program. Use [Defaults], decode into it, and
// call [Settings.Validate] before anything else.
type Settings struct {
	Directory       string            `json:"directory"`        // empty for a new one
	Environment     map[string]string `json:"environment"`      // may contain parameters
	EnvironmentFile secretfiles.Files `json:"environment_file"` // variables whose values are in files
	PassEnvironment []string          `json:"pass_environment"` // variables of the manager
	User            string            `json:"user"`
	Group           string            `json:"group"`
	Umask           *handlers.Mode    `json:"umask"`
	Nice            int               `json:"nice"`
	Limits          Limits            `json:"limits"`
	StopGrace       handlers.Duration `json:"stop_grace"`

	environment map[string]param.Template
}

// Limits are resource limits; 0 is no limit.
type Limits struct {
	Memory    handlers.Size     `json:"memory"`
	OpenFiles int               `json:"open_files"`
	Processes int               `json:"processes"`
	CPUTime   handlers.Duration `json:"cpu_time"`
	FileSize  handlers.Size     `json:"file_size"`
	Core      *handlers.Size    `json:"core"`
}

// Defaults returns the settings of a program for which nothing is set.
func Defaults() Settings {
	return Settings{
		PassEnvironment: []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ"},
		StopGrace:       handlers.Duration(proc.DefaultStopGrace),
	}
}

// Validate checks the settings, and nothing outside of them. maxStopGrace must
// leave time for TERM and KILL before a manager abandons the handler, which it
// does after 10 s by default.
func (s *Settings) Validate(declared param.Set, maxStopGrace time.Duration) error {
	var c check.Settings
	c.Want(s.Directory == "" || filepath.IsAbs(s.Directory), "directory", "must be an absolute path, got %q", s.Directory)
	c.Want(s.Nice >= -20 && s.Nice <= 19, "nice", "must be -20 to 19, got %d", s.Nice)
	c.Want(s.StopGrace > 0 && time.Duration(s.StopGrace) <= maxStopGrace, "stop_grace",
		"must be more than 0s and at most %v, got %v", maxStopGrace, time.Duration(s.StopGrace))
	c.Want(s.Limits.OpenFiles >= 0 && s.Limits.Processes >= 0, "limits", "open_files and processes must not be negative")
	return errors.Join(c.Err(), s.validateEnvironment(declared))
}

func (s *Settings) validateEnvironment(declared param.Set) error {
	var mistakes []error
	wrong := func(setting, name string, err error) {
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("setting %q: %q: %w", setting, name, err))
		}
	}
	for _, name := range s.PassEnvironment {
		if strings.HasPrefix(name, OwnVariables) { // some hold passwords
			wrong("pass_environment", name, errOwnVariable)
		}
	}
	s.environment = map[string]param.Template{}
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		parsed, err := declared.Text(s.Environment[name])
		if invalid := checkVariable(name); invalid != nil {
			err = invalid
		} else if strings.ContainsRune(s.Environment[name], 0) {
			err = errors.New("contains NUL, which a variable cannot")
		}
		wrong("environment", name, err)
		s.environment[name] = parsed
	}
	for _, name := range slices.Sorted(maps.Keys(s.EnvironmentFile)) {
		wrong("environment_file", name, checkVariable(name))
	}
	return errors.Join(append(mistakes, s.EnvironmentFile.Check("environment", s.Environment))...)
}

var errOwnVariable = errors.New("names that begin with " + OwnVariables + " are reserved")

func checkVariable(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "=\x00"):
		return errors.New("invalid name of a variable")
	case strings.HasPrefix(name, OwnVariables):
		return errOwnVariable
	}
	return nil
}

// Spec returns what to run, without the environment.
func (s *Settings) Spec(command Command) *proc.Spec {
	spec := &proc.Spec{
		Path: command[0], Args: command[1:],
		Dir: s.Directory, User: s.User, Group: s.Group, Nice: s.Nice, StopGrace: time.Duration(s.StopGrace),
		Limits: proc.Limits{
			Memory: int64(s.Limits.Memory), FileSize: int64(s.Limits.FileSize), OpenFiles: s.Limits.OpenFiles,
			Processes: s.Limits.Processes, CPUTime: time.Duration(s.Limits.CPUTime), Core: (*int64)(s.Limits.Core),
		},
	}
	if s.Umask != nil {
		umask := int(*s.Umask)
		spec.Umask = &umask
	}
	return spec
}

// CheckHere reports what would keep a program from being started on this machine.
func (s *Settings) CheckHere(command Command) error {
	_, err := s.EnvironmentFile.Read("environment")
	return errors.Join(s.Spec(command).Check(), err)
}

// Notes returns what an administrator should know about the rights of the
// program.
func (s *Settings) Notes() []string {
	var notes []string
	if s.Limits.Processes > 0 && s.Spec(Command{""}).RunsAsRoot() {
		notes = append(notes, `the setting "limits.processes" has no effect on root, as which its programs run, `+
			`unless a cgroup is delegated to the manager: set "user"`)
	}
	if s.User == "" {
		notes = append(notes, `the setting "user" is not set: its programs run with the manager's rights and can read what `+
			`the manager can, `+
			`including the passwords of the database and of RabbitMQ; set it to another user, for which the manager must run as root`)
	}
	return notes
}

// Variables returns the environment, without the variables that describe a task.
// values are those of the parameters.
func (s *Settings) Variables(values map[string]string) (map[string]string, error) {
	env := map[string]string{}
	for _, name := range s.PassEnvironment {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
		}
	}
	if s.User != "" {
		u, err := proc.LookupUser(s.User)
		if err != nil {
			return nil, err
		}
		env["HOME"], env["USER"], env["LOGNAME"] = u.HomeDir, u.Username, u.Username
	}
	for name, value := range s.environment {
		text, ok, err := value.Expand(values)
		if err != nil {
			return nil, handlers.Permanent(fmt.Errorf("variable %s: %w", name, err))
		}
		if delete(env, name); ok {
			env[name] = text
		}
	}
	secrets, err := s.EnvironmentFile.Read("environment")
	if err != nil {
		return nil, handlers.WithCode(ErrnrNotUsable, err)
	}
	maps.Copy(env, secrets)
	return env, nil
}

// Environ returns variables in the form of [proc.Spec], sorted.
func Environ(variables map[string]string) []string {
	list := make([]string, 0, len(variables))
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		list = append(list, name+"="+variables[name])
	}
	return list
}
