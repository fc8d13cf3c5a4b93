package cli

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// asInit runs tasker as a child if this process is the first one of its container,
// and returns the child's exit code; otherwise ok is false. Orphans become children
// of process 1, which has to reap them. A process that starts programs cannot: it
// would steal the exit codes from those that wait for them. So process 1 only reaps,
// and passes signals on.
func asInit() (code int, ok bool) {
	if os.Getpid() != 1 {
		return 0, false
	}
	_ = keepPrivate(nil, nil) // its environment may hold secrets
	return initMain(), true
}

func initMain() int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	runtime.LockOSThread()
	child, err := startChild(isTerminal(os.Stdin))
	if err != nil { // not the terminal of this process, perhaps
		child, err = startChild(false)
	}
	if err != nil {
		_, _ = os.Stderr.WriteString("tasker: start as a child of process 1: " + err.Error() + "\n")
		return ExitFailure
	}
	go func() {
		for s := range signals {
			if sig, ok := s.(syscall.Signal); ok {
				_ = syscall.Kill(child, sig)
			}
		}
	}()
	return reapUntil(child)
}

// startChild starts this program again, in its own process group, so that the
// terminal's Ctrl-C reaches it only once.
func startChild(foreground bool) (pid int, err error) {
	return syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setpgid: true, Foreground: foreground}, // of descriptor 0
	})
}

// reapUntil reaps children until the given one has ended, and returns its exit code.
// The others end with process 1.
func reapUntil(child int) int {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return ExitFailure
		case pid != child:
		case status.Signaled():
			return 128 + int(status.Signal())
		case status.Exited():
			return status.ExitStatus()
		}
	}
}
