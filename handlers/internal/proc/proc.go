// Package proc runs one program: in a session and process group of its own, as
// another user where asked, within limits, and so that nothing of it is left
// afterwards. It knows nothing of handlers.
//
// All of it works on Linux. On other systems programs run and are stopped, and
// a Spec that asks for what is missing there is an error.
package proc

import (
	"context"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
)

// DefaultStopGrace is the time that a program has between TERM and KILL.
const DefaultStopGrace = 5 * time.Second

const (
	// leftoverGrace bounds the time between TERM and KILL for what a program
	// that has ended leaves behind.
	leftoverGrace = time.Second
	// pipeGrace is how long output is awaited of others that hold a pipe when
	// the program itself has ended.
	pipeGrace = 100 * time.Millisecond
)

// Spec says what to run and how.
type Spec struct {
	// Path is the program: an absolute path, or a name that is looked up in
	// the caller's PATH.
	Path string
	Args []string // without the program's name
	Dir  string   // where it starts; empty means where the caller is
	Env  []string // all of it, as NAME=value

	// Stdin is what the program reads; nil for nothing. A file is handed over
	// as it is, anything else copied, and closed in the end if it is a Closer.
	Stdin io.Reader
	// Stdout, Stderr and Extra take what the program writes to the file
	// descriptors 1, 2 and 3, each from one goroutine. Their errors do not
	// stop the program. Nil drops it; without Extra there is no descriptor 3.
	Stdout, Stderr, Extra io.Writer

	// User, by name or id, brings its groups along; Group replaces its main
	// one. Empty ones mean those of the caller.
	User, Group string
	Umask       *int // nil means the caller's
	Nice        int  // from -20 to 19; 0 means the caller's
	Limits      Limits
	// StopGrace is the time between TERM and KILL when the context has ended;
	// 0 means DefaultStopGrace.
	StopGrace time.Duration
	// Record, if set, is a path at which a note is kept, on Linux, as long as
	// anything of the program may be left, for [KillAbandoned]. Its name shall
	// be in the environment, less the extension.
	Record string
}

// Limits are resource limits, each of one process; 0 is none. What is above the
// caller's own limit means that one.
type Limits struct {
	Memory    int64         // address space, in bytes
	FileSize  int64         // of a file that it writes, in bytes
	Core      *int64        // of a core file, in bytes; nil is none
	OpenFiles int           // descriptors
	Processes int           // of the user in all, threads included; not held against root
	CPUTime   time.Duration // rounded up to seconds
}

// Exit is how a program ended.
type Exit struct {
	Code   int            // of a program that ended by itself
	Signal syscall.Signal // that killed it, or 0
	Core   bool           // it left a core file
	// Stopped tells that the context ended first, so that the program was
	// told to stop.
	Stopped bool
	// NotStarted reports that the program was not started, since its Limits
	// could not be set or the system refused it. Standard error says why.
	NotStarted bool
}

// Abandoned is a program whose caller died.
type Abandoned struct {
	Record  string // the path of its record
	Session int    // what was left of it, and was killed; 0 for nothing
}

// Process is a program that was started.
type Process struct {
	spec    *Spec
	process *os.Process
	exited  chan struct{} // the program has ended, and may not be reaped yet
	done    chan struct{} // everything is over
	exit    Exit          // by the time that done is closed
	wrapped bool          // another program sets its limits first
	cgroup  cgroup        // of the program, if it has one

	state   *os.ProcessState // when it is reaped
	waitErr error
}

// Run starts a program and waits for its end, as [Start] and [Process.Wait].
func Run(ctx context.Context, spec *Spec) (Exit, error) {
	p, err := Start(ctx, spec)
	if err != nil {
		return Exit{}, err
	}
	return p.Wait(), nil
}

// Start starts a program. The error is a [StartError] where the program cannot
// be started as it is, else the caller's system failed.
//
// When ctx ends, the program and all that it has started is told to end (TERM),
// and killed after StopGrace. When the program has ended, by itself or not, what
// is left of it goes the same way, within a second. On Linux that is the
// program's whole session, whatever process groups were made in it, on other
// systems its process group. What has left for a session of its own, a daemon,
// lives on, and nobody waits for it, even if it holds the program's output open;
// but where a cgroup is delegated to this process (on Linux, as systemd does with
// Delegate=yes), the program has a cgroup of its own, and all that is in it ends
// when the context ends.
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

// PID is the program's process id, and that of its group and session.
func (p *Process) PID() int { return p.process.Pid }

// Done is closed when the program has ended, and all has been told of it.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the program and of what it has started. Nothing is written
// to the Spec's writers any more when it returns.
func (p *Process) Wait() Exit {
	<-p.done
	return p.exit
}

// parent starts the program and stays until it ends, on a thread of its own:
// the system kills the program when the thread that started it ends, and umask
// and nice are a thread's, too.
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
		_ = p.record() // without it the program runs as well
	}
	started <- err
	if err == nil {
		p.awaitExit()
		close(p.exited)
	}
}

// startPatiently starts the program, and tries again for a while where its file
// is open for writing: it is being replaced, or another child that is just
// being started holds it.
func startPatiently(ctx context.Context, l *launch, attr *os.ProcAttr) (*os.Process, error) {
	const tries = 20
	for try := 1; ; try++ {
		closeInheritedOnExec() // each time: a library may have opened more
		process, err := os.StartProcess(l.path, l.argv, attr)
		if err == nil || try == tries || !isBusy(err) || !sleep(ctx, time.Duration(try)*time.Millisecond) {
			return process, err
		}
	}
}

// sleep waits, and tells whether ctx is still good.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// supervise sees to it that the program ends, and collects what it leaves.
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

// stop ends the program, and tells what it has started to end. It is false where
// the program has ended by itself just now.
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

// poll reports whether a condition comes true within the limit.
func poll(limit time.Duration, condition func() bool) bool {
	deadline := time.Now().Add(limit)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if condition() {
			return true
		}
		if !time.Now().Add(pause).Before(deadline) {
			return false
		}
		sleep(context.Background(), pause)
	}
}
