package proc

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
)

// StartError is the reason why a program cannot be started as its Spec says.
type StartError struct {
	// NotFound reports whether the program, or its interpreter, does not exist.
	NotFound bool
	// TooLong reports whether the arguments and the environment are too long.
	TooLong bool
	msg     string
	err     error // or nil
}

func (e *StartError) Error() string { return e.msg }
func (e *StartError) Unwrap() error { return e.err }

func cannot(err error, format string, args ...any) *StartError {
	return &StartError{msg: fmt.Sprintf(format, args...), err: err}
}

func notFound(err error, format string, args ...any) *StartError {
	return &StartError{NotFound: true, msg: fmt.Sprintf(format, args...), err: err}
}

// launch is a Spec in the form that the system takes.
type launch struct {
	path string
	argv []string
	env  []string // not nil
	sys  *syscall.SysProcAttr
}

func (s *Spec) launch() (*launch, error) {
	path, err := lookPath(s.Path)
	if err != nil {
		return nil, err
	}
	l := &launch{path: path, argv: append([]string{path}, s.Args...), env: append([]string{}, s.Env...)}
	if l.sys, err = s.attributes(); err != nil {
		return nil, err
	}
	if err := s.trusted(path); err != nil {
		return nil, err
	}
	if s.Limits == (Limits{}) {
		return l, nil
	}
	// The error of a program that another one executes is only text: check the
	// program first.
	if err := checkProgram(path); err != nil {
		return nil, err
	}
	wrapper, err := s.Limits.wrapper()
	if err != nil {
		return nil, err
	}
	l.path, l.argv = wrapper[0], append(wrapper, l.argv...)
	return l, nil
}

// Check returns what would keep the program from being started now.
func (s *Spec) Check() error {
	l, err := s.launch()
	if err == nil && s.Limits == (Limits{}) {
		err = checkProgram(l.path)
	}
	return errors.Join(err, checkDir(s.Dir))
}

// lookPath returns the path of a program.
func lookPath(name string) (string, error) {
	switch {
	case name == "" || strings.ContainsRune(name, 0):
		return "", notFound(nil, "invalid program %q", name)
	case filepath.IsAbs(name):
		return name, nil
	case filepath.Base(name) != name:
		return "", notFound(nil, "invalid program %s: must be an absolute path, or a name to be found in PATH", name)
	}
	path, err := exec.LookPath(name)
	switch {
	case errors.Is(err, exec.ErrDot): // in the current directory, which is never meant
		err = exec.ErrNotFound
		fallthrough
	case err != nil:
		return "", notFound(err, "program %s not found in PATH%s", name, listed(name))
	}
	return path, nil
}

// listed returns how to write arguments, if a name seems to contain some.
func listed(name string) string {
	program, _, found := strings.Cut(name, " ")
	if !found {
		return ""
	}
	return fmt.Sprintf(": write arguments as a list, such as [%s, ...]", program)
}

// checkProgram returns why the system would not execute the file.
func checkProgram(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return notFound(err, "program %s not found%s", path, listed(path))
	case err != nil:
		return cannot(err, "cannot examine the program: %v", err)
	case info.IsDir():
		return cannot(nil, "%s is a directory, not a program", path)
	case !info.Mode().IsRegular() || !executable(info):
		return cannot(nil, "%s is not executable (its mode is %v)", path, info.Mode())
	}
	if name := interpreter(path); name != "" {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return notFound(err, "the interpreter of %s does not exist: %s", path, name)
		}
	}
	return nil
}

// interpreter returns the program in the first line of a script, or an empty string.
func interpreter(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close() //nolint:errcheck // only read
	line, _ := bufio.NewReader(io.LimitReader(file, 256)).ReadString('\n')
	rest, ok := strings.CutPrefix(line, "#!")
	if fields := strings.Fields(rest); ok && len(fields) > 0 {
		return fields[0]
	}
	return ""
}

func checkDir(dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return cannot(err, "the directory %s does not exist", dir)
	case err != nil:
		return cannot(err, "cannot examine the directory: %v", err)
	case !info.IsDir():
		return cannot(nil, "%s is not a directory", dir)
	}
	return nil
}

// explain returns why a program did not start.
func (s *Spec) explain(err error) error {
	if _, ok := errors.AsType[*StartError](err); ok {
		return err
	}
	if found := checkDir(s.Dir); found != nil {
		return found
	}
	path, lost := lookPath(s.Path)
	if found := cmp.Or(lost, checkProgram(path)); found != nil {
		return found
	}
	if e, ok := s.reason(path, err); ok {
		return e
	}
	return fmt.Errorf("start %s: %w", path, err)
}

// LookupUser returns a user by name or id. The error is a [StartError].
func LookupUser(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if byID, errID := user.LookupId(name); errID == nil {
			return byID, nil
		}
		return nil, cannot(err, "unknown user %s", name)
	}
	return u, nil
}

func runGroup(name string) (*user.Group, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		if byID, errID := user.LookupGroupId(name); errID == nil {
			return byID, nil
		}
		return nil, cannot(err, "unknown group %s", name)
	}
	return g, nil
}
