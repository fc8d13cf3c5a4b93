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
	// A new session is a new group as well, and has no terminal on which a program
	// could ask for a password.
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: credential}, nil
}

// prepareThread sets what the program inherits from the calling thread, and reports
// whether it has changed the thread.
func (s *Spec) prepareThread() (changed bool, err error) {
	if s.Umask != nil {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return false, cannot(err, "cannot set the umask of one program: unshare: %v", err)
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

// awaitExit waits until the program has exited, without reaping it.
func (p *Process) awaitExit() {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return // reap reports an error
		}
	}
}

func (p *Process) reap() { p.state, p.waitErr = p.process.Wait() }

// wrapper returns the command that sets the limits and then executes a program.
func (l *Limits) wrapper() ([]string, error) {
	path, err := exec.LookPath("prlimit")
	if err != nil {
		return nil, notFound(err, "limits need the program prlimit (of util-linux), which is not in PATH")
	}
	command := []string{path}
	add := func(option string, resource int, soft, hard int64) {
		// A limit above the caller's own cannot be set, and has no effect.
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
		// The soft limit sends XCPU, which names the reason; the hard limit only KILL.
		seconds := int64(math.Ceil(l.CPUTime.Seconds()))
		add("cpu", unix.RLIMIT_CPU, seconds, seconds+2)
	}
	return append(command, "--"), nil
}

// isWrapper reports whether the process, which has exited but is not reaped, never
// executed another program than the wrapper: it has the name of what it executed
// last. Standard error is no proof, since the program could write the same.
func (p *Process) isWrapper() bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.process.Pid) + "/stat")
	return err == nil && bytes.Contains(stat, []byte("(prlimit)")) && filepath.Base(p.spec.Path) != "prlimit"
}

// reason returns what an error of the start means.
func (s *Spec) reason(path string, err error) (*StartError, bool) {
	switch {
	case errors.Is(err, syscall.E2BIG):
		e := cannot(err, "the arguments and the environment of %s are too long", path)
		e.TooLong = true
		return e, true
	case errors.Is(err, syscall.ENOEXEC):
		return cannot(err, "%s is not a program for this machine, and has no first line with #!", path), true
	case errors.Is(err, syscall.ENOENT):
		return notFound(err, "%s, or a file that is needed to load it, does not exist", path), true
	case errors.Is(err, syscall.EACCES):
		who := "this user"
		if s.User != "" {
			who = "user " + s.User
		}
		return cannot(err, "%s may not execute %s in %s", who, path, s.dirName()), true
	case errors.Is(err, syscall.ETXTBSY):
		return cannot(err, "%s is open for writing", path), true
	}
	return nil, false
}

func (s *Spec) dirName() string {
	if s.Dir == "" {
		return "the working directory"
	}
	return s.Dir
}

func isBusy(err error) bool { return errors.Is(err, syscall.ETXTBSY) }

// set sets how the program exited.
func (e *Exit) set(state *os.ProcessState, err error) {
	if err != nil { // it was reaped by somebody else
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

// String returns a description such as "exit code 3" or "killed by SIGSEGV".
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
		s += ": CPU time limit exceeded"
	case e.Signal == syscall.SIGXFSZ:
		s += ": file size limit exceeded"
	case e.Signal == syscall.SIGKILL && !e.Stopped:
		s += ", by a user or for lack of memory"
	}
	if e.Core {
		s += " (core dumped)"
	}
	return s
}
