package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers/internal/proc"
)

// What the settings "stdin" and "result" take.
const (
	stdinPayload = "payload"
	stdinNone    = "none"

	resultAuto = "auto" // JSON where it is JSON, else text
	resultJSON = "json" // anything else is an error
	resultText = "text"
	resultNone = "none"
)

// What the setting "stderr" takes: what becomes of a run that ended well, and
// wrote to its standard error.
const (
	stderrIgnore  = "ignore"
	stderrWarn    = "warn"
	stderrFailure = "failure"
)

const (
	// defaultMaxOutput bounds a result, in bytes of JSON.
	defaultMaxOutput = 256 << 10
	maxMaxOutput     = 64 << 20
	// maxStopGrace lets TERM and KILL fit into the time after which a manager
	// abandons a handler, which is 10 s by default.
	maxStopGrace = 8 * time.Second
	// maxErrorTail bounds what is kept of the standard error, in bytes.
	maxErrorTail = 8 << 10
	// ownVariables begins the names of the variables that tell of the task.
	ownVariables = "TASKER_"
)

// processSettings are those settings that all handlers have that run a program
// for each task.
type processSettings struct {
	Stdin           string            `json:"stdin"`            // payload or none
	Directory       string            `json:"directory"`        // empty for a new one for each run
	Environment     map[string]string `json:"environment"`      // may hold ${name} of parameters
	EnvironmentFile secretFiles       `json:"environment_file"` // variables whose values are in files
	PassEnvironment []string          `json:"pass_environment"` // names of variables of the manager's own
	User            string            `json:"user"`
	Group           string            `json:"group"`
	Umask           octal             `json:"umask"`
	Nice            int               `json:"nice"`
	Limits          limitSettings     `json:"limits"`
	MaxOutput       Size              `json:"max_output"`
	StopGrace       Duration          `json:"stop_grace"`
	Result          string            `json:"result"` // auto, json, text or none
	Log             []string          `json:"log"`    // of stdout and stderr
	Stderr          string            `json:"stderr"` // ignore, warn or failure
	SuccessCodes    []int             `json:"success_codes"`
	PermanentCodes  []int             `json:"permanent_codes"`
	RebootCode      int               `json:"reboot_code"` // 0 for none
	RebootCommand   commandLine       `json:"reboot_command"`

	environment map[string]template
	abandoned   *sync.Once // see endAbandonedPrograms
}

type limitSettings struct {
	Memory    Size     `json:"memory"`
	OpenFiles int      `json:"open_files"`
	Processes int      `json:"processes"`
	CPUTime   Duration `json:"cpu_time"`
	FileSize  Size     `json:"file_size"`
	Core      *Size    `json:"core"`
}

func defaultProcess() processSettings {
	return processSettings{
		Stdin: stdinPayload, PassEnvironment: []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ"},
		MaxOutput: defaultMaxOutput, StopGrace: Duration(proc.DefaultStopGrace), Result: resultAuto, Stderr: stderrIgnore,
		Log: []string{tasker.StreamStdout, tasker.StreamStderr}, SuccessCodes: []int{0},
		abandoned: &sync.Once{},
	}
}

// check looks at the settings, and at nothing outside of them.
func (s *processSettings) check(declared parameters) error {
	var mistakes []error
	wrong := func(is bool, setting, format string, args ...any) {
		if is {
			mistakes = append(mistakes, fmt.Errorf("setting %q: %w", setting, fmt.Errorf(format, args...)))
		}
	}
	stdins, results := []string{stdinPayload, stdinNone}, []string{resultAuto, resultJSON, resultText, resultNone}
	wrong(!slices.Contains(stdins, s.Stdin), "stdin", "%q is neither %s nor %s", s.Stdin, stdinPayload, stdinNone)
	wrong(!slices.Contains(results, s.Result), "result", "%q is none of %s, %s, %s and %s", s.Result, resultAuto, resultJSON, resultText, resultNone)
	wrong(!slices.Contains([]string{stderrIgnore, stderrWarn, stderrFailure}, s.Stderr), "stderr", "%q is none of %s, %s and %s", s.Stderr, stderrIgnore, stderrWarn, stderrFailure)
	wrong(s.Directory != "" && !filepath.IsAbs(s.Directory), "directory", "%q is no absolute path", s.Directory)
	wrong(s.Nice < -20 || s.Nice > 19, "nice", "%d is not between -20 and 19", s.Nice)
	wrong(s.MaxOutput < minMaxOutput || s.MaxOutput > maxMaxOutput, "max_output", "%d is not between %d and %d bytes", s.MaxOutput, minMaxOutput, maxMaxOutput)
	wrong(s.StopGrace <= 0 || s.StopGrace > Duration(maxStopGrace), "stop_grace", "%v is not between 0s and %v", time.Duration(s.StopGrace), maxStopGrace)
	wrong(s.Limits.OpenFiles < 0 || s.Limits.Processes < 0, "limits", "open_files and processes are not to be negative")
	for _, stream := range s.Log {
		wrong(stream != tasker.StreamStdout && stream != tasker.StreamStderr, "log", "%q is neither %s nor %s", stream, tasker.StreamStdout, tasker.StreamStderr)
	}
	noCode := func(code int) bool { return code < 0 || code > 255 }
	for _, code := range s.SuccessCodes {
		wrong(noCode(code), "success_codes", "%d is no exit code", code)
	}
	for _, code := range s.PermanentCodes {
		wrong(noCode(code), "permanent_codes", "%d is no exit code", code)
	}
	wrong(noCode(s.RebootCode), "reboot_code", "%d is no exit code", s.RebootCode)
	wrong(s.RebootCode > 0 && slices.Contains(s.SuccessCodes, s.RebootCode), "reboot_code", "%d is one of success_codes as well", s.RebootCode)
	wrong(s.RebootCode == 0 && len(s.RebootCommand) > 0, "reboot_command", "it needs a reboot_code")
	if len(s.RebootCommand) > 0 {
		err := checkProgramName(s.RebootCommand[0])
		wrong(err != nil, "reboot_command", "%w", err)
	}
	return errors.Join(append(mistakes, s.checkEnvironment(declared))...)
}

func (s *processSettings) checkEnvironment(declared parameters) error {
	var mistakes []error
	for _, name := range s.PassEnvironment {
		if strings.HasPrefix(name, ownVariables) { // passwords are among them
			mistakes = append(mistakes, fmt.Errorf(`setting "pass_environment": %q: the names with %s are tasker's own`, name, ownVariables))
		}
	}
	s.environment = map[string]template{}
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		parsed, err := parseTemplate(s.Environment[name], declared)
		if wrong := checkVariable(name); wrong != nil {
			err = wrong
		} else if strings.ContainsRune(s.Environment[name], 0) {
			err = errors.New("it holds a NUL, which no variable can")
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf(`setting "environment": %q: %w`, name, err))
		}
		s.environment[name] = parsed.anywhere()
	}
	for _, name := range slices.Sorted(maps.Keys(s.EnvironmentFile)) {
		if err := checkVariable(name); err != nil {
			mistakes = append(mistakes, fmt.Errorf(`setting "environment_file": %q: %w`, name, err))
		}
	}
	return errors.Join(append(mistakes, s.EnvironmentFile.checkPaths("environment", s.Environment))...)
}

// checkVariable looks at the name of a variable.
func checkVariable(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "=\x00"):
		return errors.New("it cannot be the name of a variable")
	case strings.HasPrefix(name, ownVariables):
		return errors.New("the names with " + ownVariables + " are tasker's own")
	}
	return nil
}

// spec is the part of a run that is the same each time.
func (s *processSettings) spec(path string) *proc.Spec {
	spec := &proc.Spec{
		Path: path, Dir: s.Directory, User: s.User, Group: s.Group, Nice: s.Nice, StopGrace: time.Duration(s.StopGrace),
		Limits: proc.Limits{
			Memory: int64(s.Limits.Memory), FileSize: int64(s.Limits.FileSize), OpenFiles: s.Limits.OpenFiles,
			Processes: s.Limits.Processes, CPUTime: time.Duration(s.Limits.CPUTime), Core: (*int64)(s.Limits.Core),
		},
	}
	if s.Umask.set {
		spec.Umask = &s.Umask.bits
	}
	return spec
}

// checkHere tells whether the program, and what is to run for a reboot, could
// be started here.
func (s *processSettings) checkHere(path string, args ...string) error {
	spec := s.spec(path)
	spec.Args = args
	err := spec.Check()
	if err == nil && len(s.RebootCommand) > 0 {
		if err = (&proc.Spec{Path: s.RebootCommand[0], Args: s.RebootCommand[1:]}).Check(); err != nil {
			err = fmt.Errorf("reboot_command: %w", err)
		}
	}
	_, wrong := s.EnvironmentFile.read("environment")
	return errors.Join(err, wrong)
}

// notes says who can read what, where no user is set, and which limit is void.
func (s *processSettings) notes() []string {
	var notes []string
	if s.Limits.Processes > 0 && s.spec("").RunsAsRoot() {
		notes = append(notes, `the setting "limits.processes" is not held against root, whose rights its programs have, unless a cgroup is delegated to the manager: give them a user of their own`)
	}
	if s.User != "" {
		return notes
	}
	return append(notes, "no setting \"user\": its programs have the manager's rights, so they can read all that the manager can, "+
		"the passwords of the database and of RabbitMQ among it; give them a user of their own, for which the manager has to run as root")
}

// octal is a setting: text with an octal number, such as "027". A number would
// be read as a decimal one by some and as an octal one by others.
type octal struct {
	bits int
	set  bool
}

// UnmarshalJSON reads the text.
func (o *octal) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return fmt.Errorf(`%s is no text: give an octal number in quotes, such as "027"`, raw)
	}
	bits, err := strconv.ParseUint(text, 8, 9)
	if err != nil {
		return fmt.Errorf(`%q is not between "000" and "777"`, text)
	}
	*o = octal{int(bits), true}
	return nil
}
