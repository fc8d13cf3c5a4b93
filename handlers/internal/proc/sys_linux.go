package proc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func (s *Spec) attributes() (*syscall.SysProcAttr, error) {
	credential, err := s.credential()
	if err != nil {
		return nil, err
	}
	// A session of its own is a group of its own, and has no terminal that a
	// program could ask for a password.
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: credential}, nil
}

// prepareThread gives the calling thread what the program shall inherit, and
// tells whether it has changed the thread.
func (s *Spec) prepareThread() (changed bool, err error) {
	if s.Umask != nil {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return false, cannot(err, "the umask cannot be set for one program here: unshare: %v", err)
		}
		changed = true
		unix.Umask(*s.Umask)
	}
	if s.Nice != 0 {
		changed = true
		if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), s.Nice); err != nil {
			return changed, cannot(err, "the nice value %d is not allowed: %v", s.Nice, err)
		}
	}
	return changed, nil
}

// awaitExit waits for the end of the program and leaves it to be reaped.
func (p *Process) awaitExit() {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return // an error is told by reap
		}
	}
}

func (p *Process) reap() { p.state, p.waitErr = p.process.Wait() }

// wrapper is the command that gives a program its limits.
func (l *Limits) wrapper() ([]string, error) {
	path, err := exec.LookPath("prlimit")
	if err != nil {
		return nil, notFound(err, "limits need the program prlimit, of util-linux, which is not in PATH")
	}
	command := []string{path}
	add := func(option string, resource int, soft, hard int64) {
		// More than the caller may have cannot be given, and need not be.
		var own unix.Rlimit
		if unix.Getrlimit(resource, &own) == nil && own.Max < uint64(hard) {
			hard = int64(own.Max)
			soft = min(soft, hard)
		}
		command = append(command, "--"+option+"="+strconv.FormatInt(soft, 10)+":"+strconv.FormatInt(hard, 10))
	}
	if l.Memory > 0 {
		add("as", unix.RLIMIT_AS, l.Memory, l.Memory)
	}
	if l.FileSize > 0 {
		add("fsize", unix.RLIMIT_FSIZE, l.FileSize, l.FileSize)
	}
	if l.Core != nil {
		add("core", unix.RLIMIT_CORE, *l.Core, *l.Core)
	}
	if l.OpenFiles > 0 {
		add("nofile", unix.RLIMIT_NOFILE, int64(l.OpenFiles), int64(l.OpenFiles))
	}
	if l.Processes > 0 {
		add("nproc", unix.RLIMIT_NPROC, int64(l.Processes), int64(l.Processes))
	}
	if l.CPUTime > 0 {
		// At the first limit XCPU says what is wrong, at the second there is only KILL.
		seconds := int64(math.Ceil(l.CPUTime.Seconds()))
		add("cpu", unix.RLIMIT_CPU, seconds, seconds+2)
	}
	return append(command, "--"), nil
}

// isWrapper reports whether the process, which has ended and is not reaped, never
// became another program than the wrapper: a process keeps the name of what it
// executed last. What the program itself writes says nothing.
func (p *Process) isWrapper() bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.process.Pid) + "/stat")
	return err == nil && bytes.Contains(stat, []byte("(prlimit)")) && filepath.Base(p.spec.Path) != "prlimit"
}

// reason tells what an error of the start means.
func (s *Spec) reason(path string, err error) (*StartError, bool) {
	switch {
	case errors.Is(err, syscall.E2BIG):
		e := cannot(err, "the arguments and the environment of %s are too long", path)
		e.TooLong = true
		return e, true
	case errors.Is(err, syscall.ENOEXEC):
		return cannot(err, "%s is no program for this machine, and has no first line with #!", path), true
	case errors.Is(err, syscall.ENOENT):
		return notFound(err, "%s, or what it needs to be loaded, does not exist", path), true
	case errors.Is(err, syscall.EACCES):
		who := ""
		if s.User != "" {
			who = " to the user " + s.User
		}
		return cannot(err, "it is not allowed%s to execute %s in the directory %s", who, path, s.dirName()), true
	case errors.Is(err, syscall.ETXTBSY):
		return cannot(err, "%s is open for writing", path), true
	}
	return nil, false
}

func (s *Spec) dirName() string {
	if s.Dir == "" {
		return "that it starts in"
	}
	return s.Dir
}

func isBusy(err error) bool { return errors.Is(err, syscall.ETXTBSY) }

// set tells how the program ended.
func (e *Exit) set(state *os.ProcessState, err error) {
	if err != nil { // somebody else has reaped it
		e.Code = -1
		return
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		e.Code = -1
	case status.Signaled():
		e.Signal, e.Core = status.Signal(), status.CoreDump()
	default:
		e.Code = status.ExitStatus()
	}
}

// String says it in words, such as "exit code 3" and "killed by SIGSEGV".
func (e Exit) String() string {
	if e.Signal == 0 {
		return "exit code " + strconv.Itoa(e.Code)
	}
	name := unix.SignalName(e.Signal)
	if name == "" {
		name = fmt.Sprintf("signal %d", int(e.Signal))
	}
	s := "killed by " + name
	switch {
	case e.Signal == syscall.SIGXCPU:
		s += ": it used more CPU time than its limit"
	case e.Signal == syscall.SIGXFSZ:
		s += ": it wrote a file larger than its limit"
	case e.Signal == syscall.SIGKILL && !e.Stopped:
		s += ": by somebody, or for lack of memory"
	}
	if e.Core {
		s += " (core dumped)"
	}
	return s
}
