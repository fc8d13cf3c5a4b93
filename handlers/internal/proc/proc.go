// Package proc runs one program: in its own session and process group, optionally as
// another user and within limits, and so that nothing of it keeps running
// afterwards. It does not depend on handlers.
//
// On Linux all of it works. On other systems programs run and are stopped, and a
// Spec that needs anything else is an error.
package proc

import (
	"context"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/taskerhq/tasker/internal/x/clock"
)

// DefaultStopGrace is the default time between TERM and KILL.
const DefaultStopGrace = 5 * time.Second

const (
	// leftoverGrace bounds the time between TERM and KILL for what a program left
	// running when it exited.
	leftoverGrace = time.Second
	// pipeGrace is how long output is read from other processes that hold a pipe
	// open after the program has exited.
	pipeGrace = 100 * time.Millisecond
)

// Spec is what to run, and how.
type Spec struct {
	// Path is the program: an absolute path, or a name that is looked up in
	// the caller's PATH.
	Path string
	Args []string // without the program's name
	Dir  string   // working directory; empty means the caller's
	Env  []string // all variables, as NAME=value

	// Stdin is what the program reads; nil for nothing. A file is passed on as it
	// is. Anything else is copied, and closed in the end if it is a Closer.
	Stdin io.Reader
	// Stdout, Stderr and Extra receive what the program writes to the file
	// descriptors 1, 2 and 3, each from one goroutine. Their errors do not
	// stop the program. Nil discards it; without Extra there is no descriptor 3.
	Stdout, Stderr, Extra io.Writer

	// User, by name or id, comes with its groups; Group replaces its primary
	// one. Empty means the caller's.
	User, Group string
	Umask       *int // nil means the caller's
	Nice        int  // from -20 to 19; 0 means the caller's
	Limits      Limits
	// StopGrace is the time between TERM and KILL when the context has ended;
	// 0 means DefaultStopGrace.
	StopGrace time.Duration
	// Record, if set, is the path of a record for [KillAbandoned]. On Linux it
	// exists as long as anything of the program may run. A variable must have the
	// path without its extension.
	Record string
}

// Limits are resource limits of each process; 0 is no limit. One above the caller's own
// limit is reduced to that.
type Limits struct {
	Memory    int64         // address space, in bytes
	FileSize  int64         // of a file that it writes, in bytes
	Core      *int64        // of a core file, in bytes; nil is none
	OpenFiles int           // number of descriptors
	Processes int           // of the user in total, including threads; has no effect on root
	CPUTime   time.Duration // rounded up to seconds
}

// Exit is how a program exited.
type Exit struct {
	Code   int            // exit code, unless it was killed
	Signal syscall.Signal // the signal that killed it, or 0
	Core   bool           // it wrote a core file
	// Stopped reports whether the context ended first, so that the program was
	// stopped.
	Stopped bool
	// NotStarted reports whether the program did not start because its Limits
	// could not be set, or the system refused. Standard error says why.
	NotStarted bool
}

// Abandoned is a program whose caller died.
type Abandoned struct {
	Record  string // path of its record
	Session int    // the session that was killed, or 0 if nothing was left of it
}

// Process is a running program.
type Process struct {
	spec    *Spec
	process *os.Process
	exited  chan struct{} // closed when the program has exited; it may not be reaped yet
	done    chan struct{} // closed when nothing is left of it
	exit    Exit          // valid once done is closed
	wrapped bool          // another program sets its limits and then executes it
	cgroup  cgroup        // empty for none

	state   *os.ProcessState // once it is reaped
	waitErr error
}

// Run is [Start] and [Process.Wait].
func Run(ctx context.Context, spec *Spec) (Exit, error) {
	p, err := Start(ctx, spec)
	if err != nil {
		return Exit{}, err
	}
	return p.Wait(), nil
}

// Start starts a program. The error is a [StartError] if the program cannot be started
// as its Spec says; any other error is a failure of the caller's system.
//
// When ctx ends, the program and everything that it has started get TERM, and KILL
// after StopGrace. When the program has exited, what is left of it is ended in
// the same way, within a second. On Linux that is the program's whole session,
// including its process groups; on other systems it is its process group. A
// daemon, which has its own session, keeps running, and nobody waits for it, even
// if it holds the program's output open. But if a cgroup is delegated to this
// process (on Linux, by systemd with Delegate=yes), the program has its own
// cgroup, and everything in it ends when the context ends.
// On Linux the program is killed when the caller dies.
//
// [Process.Wait] must be called, or the context must end.
func Start(ctx context.Context, spec *Spec) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	l, err := spec.launch()
	if err != nil {
		return nil, err
	}
	pipes, err := openStreams(spec)
	if err != nil {
		return nil, err
	}
	p := &Process{spec: spec, wrapped: spec.Limits != (Limits{}), exited: make(chan struct{}), done: make(chan struct{})}
	started := make(chan error, 1)
	go p.parent(ctx, l, pipes.child, started)
	err = <-started
	pipes.closeChild()
	if err != nil {
		pipes.abandon()
		return nil, spec.explain(err)
	}
	pipes.start()
	go p.supervise(ctx, pipes)
	return p, nil
}

// PID returns the program's process id, which is also that of its group and session.
func (p *Process) PID() int { return p.process.Pid }

// Done is closed when the program, and what it left running, has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the program and of what it has started. After it has
// returned, nothing is written to the Spec's writers.
func (p *Process) Wait() Exit {
	<-p.done
	return p.exit
}

// parent starts the program and waits for its exit, on its own thread: the system kills
// the program when the thread that started it ends, and umask and nice belong to
// the thread.
func (p *Process) parent(ctx context.Context, l *launch, files []*os.File, started chan<- error) {
	runtime.LockOSThread()
	changed, err := p.spec.prepareThread()
	if !changed { // else the thread ends with this goroutine
		defer runtime.UnlockOSThread()
	}
	if err == nil {
		p.process, err = p.start(ctx, l, &os.ProcAttr{Dir: p.spec.Dir, Env: l.env, Files: files, Sys: l.sys})
	}
	if err == nil {
		_ = p.record() // the program can run without it
	}
	started <- err
	if err == nil {
		p.awaitExit()
		close(p.exited)
	}
}

// startRetrying starts the program. It retries for a while if its file is open for
// writing: because it is being replaced, or by another child that is just being
// started.
func startRetrying(ctx context.Context, l *launch, attr *os.ProcAttr) (*os.Process, error) {
	const tries = 20
	for try := 1; ; try++ {
		closeInheritedOnExec() // each time: a library may have opened more
		process, err := os.StartProcess(l.path, l.argv, attr)
		if err == nil || try == tries || !isBusy(err) || clock.Sleep(ctx, time.Duration(try)*time.Millisecond) != nil {
			return process, err
		}
	}
}

// supervise stops the program when ctx ends, and ends what it leaves running.
func (p *Process) supervise(ctx context.Context, pipes *streams) {
	defer close(p.done)
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.exit.Stopped = p.stop()
	}
	unstarted := p.wrapped && p.isWrapper()
	p.sweep()
	p.forget()
	pipes.finish(pipeGrace)
	p.exit.set(p.state, p.waitErr)
	p.exit.NotStarted = unstarted && p.exit.Code != 0
}

// stop ends the program, and sends TERM to what it has started. It returns false if the
// program has just exited by itself.
func (p *Process) stop() bool {
	select {
	case <-p.exited:
		return false
	default:
	}
	p.signal(syscall.SIGTERM)
	grace := time.NewTimer(p.stopGrace())
	defer grace.Stop()
	select {
	case <-p.exited:
	case <-grace.C:
		p.signal(syscall.SIGKILL)
		<-p.exited
	}
	return true
}

func (p *Process) stopGrace() time.Duration {
	if p.spec.StopGrace > 0 {
		return p.spec.StopGrace
	}
	return DefaultStopGrace
}

// poll reports whether a condition becomes true within the limit.
func poll(limit time.Duration, condition func() bool) bool {
	deadline := time.Now().Add(limit)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if condition() {
			return true
		}
		if !time.Now().Add(pause).Before(deadline) {
			return false
		}
		time.Sleep(pause)
	}
}
