package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/proc"
	"github.com/taskerhq/tasker/handlers/internal/program"
)

const (
	// killGrace is the time between TERM and KILL for a process that has had
	// stop_grace already.
	killGrace = time.Second
	// maxLine bounds a line of standard error, and maxErrorTail what is kept of
	// it, in bytes.
	maxLine, maxErrorTail = 16 << 10, 8 << 10
)

// process is one process, with its requests.
type process struct {
	conf    *settings
	process *proc.Process
	stdin   *os.File
	queue   chan []byte   // lines for the standard input
	hangUp  chan struct{} // closed to close the standard input
	stop    context.CancelFunc
	exited  chan struct{} // closed in the end; what follows is then final

	mu       sync.Mutex
	calls    map[string]*call
	begun    int
	answered int   // requests that it ended
	closing  bool  // it takes no more requests
	finished bool  // it was told to exit
	failure  error // why it exited without being told to
	invalid  int   // invalid messages in a row
	// idle finishes the process, stopTimer stops it; nil until they are needed.
	idle, stopTimer *time.Timer

	// Used by the readers of the process's output only.
	line        []byte // the line of standard output so far
	stderr      proc.Tail
	stderrLines proc.Lines
}

// call is a request that a process has.
type call struct {
	id       string
	req      *handlers.Request
	warnings int      // guarded by the process's mu
	end      chan end // of capacity 1
}

// end is how a request ended.
type end struct {
	result handlers.Result
	err    error
	died   bool // the process exited
}

// startProcess starts a process. running counts its goroutines.
func startProcess(conf *settings, running *sync.WaitGroup) (*process, error) {
	spec := conf.Spec(conf.Command)
	env, err := conf.Variables(nil)
	if err != nil {
		return nil, program.StartError(err)
	}
	spec.Env = program.Environ(env)
	removeDir, err := makeDir(spec)
	if err != nil {
		return nil, program.StartError(err)
	}
	p, err := launch(conf, spec)
	if err != nil {
		removeDir()
		return nil, err
	}
	running.Go(p.write)
	running.Go(func() {
		exit := p.process.Wait()
		removeDir()
		p.ended(exit)
	})
	return p, nil
}

func launch(conf *settings, spec *proc.Spec) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the process: %w", err)
	}
	defer r.Close() //nolint:errcheck // the process has a copy
	// The process outlives the request that it was started for.
	ctx, stop := context.WithCancel(context.Background())
	p := &process{
		conf: conf, stdin: w, queue: make(chan []byte, 2*conf.Concurrency+1), hangUp: make(chan struct{}),
		stop: stop, exited: make(chan struct{}), calls: map[string]*call{},
		stderr: proc.Tail{Limit: maxErrorTail},
	}
	p.stderrLines = proc.Lines{Limit: maxLine, Each: p.stderrLine}
	spec.Stdin, spec.Stdout, spec.Stderr, spec.StopGrace = r, writerFunc(p.readStdout), io.MultiWriter(&p.stderr, &p.stderrLines), killGrace
	if p.process, err = proc.Start(ctx, spec); err != nil {
		stop()
		_ = w.Close()
		return nil, program.StartError(err)
	}
	return p, nil
}

// begin assigns a request to the process. It returns nil if the process takes no
// more requests.
func (p *process) begin(req *handlers.Request) *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return nil
	}
	if p.idle != nil {
		p.idle.Stop()
	}
	p.begun++
	c := &call{id: strconv.Itoa(p.begun), req: req, end: make(chan end, 1)}
	p.calls[c.id] = c
	if p.conf.MaxRequests > 0 && p.begun >= p.conf.MaxRequests {
		p.closing = true
	}
	return c
}

// forget removes a request whose end nobody awaits any more.
func (p *process) forget(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, c.id)
	switch {
	case len(p.calls) > 0:
	case p.closing:
		p.finishLocked()
	case p.conf.IdleTimeout > 0:
		if p.idle == nil {
			p.idle = time.AfterFunc(time.Duration(p.conf.IdleTimeout), p.finishIdle)
		} else {
			p.idle.Reset(time.Duration(p.conf.IdleTimeout))
		}
	}
}

func (p *process) finishIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.calls) == 0 {
		p.finishLocked()
	}
}

// finish tells the process to exit by closing its standard input, and stops it if
// it has not after stop_grace.
func (p *process) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finishLocked()
}

func (p *process) finishLocked() {
	p.closing = true
	if p.finished || p.failure != nil {
		return
	}
	p.finished = true
	close(p.hangUp)
	p.stopTimer = time.AfterFunc(time.Duration(p.conf.StopGrace), p.stop)
}

// outcome returns whether the process has answered anything, and why it exited
// without being told to. It must have exited.
func (p *process) outcome() (answered bool, failure error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return p.answered > 0, nil
	}
	return p.answered > 0, p.failure
}

// kill stops a process that misbehaves.
func (p *process) kill(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	if p.failure == nil {
		p.failure = fmt.Errorf("the process was stopped: %w", why)
	}
	p.stop()
}

// ended is called once, when the process has exited.
func (p *process) ended(exit proc.Exit) {
	p.stderrLines.Flush()
	if len(p.line) > 0 { // a last line without a line end
		p.message(p.line)
	}
	p.stop() // frees its context
	p.mu.Lock()
	p.closing = true
	for _, timer := range []*time.Timer{p.idle, p.stopTimer} {
		if timer != nil {
			timer.Stop()
		}
	}
	if p.failure == nil {
		text := "the process exited before it answered: " + exit.String()
		if tail := p.stderr.Text(); tail != "" {
			text += ": " + tail
		}
		p.failure = errors.New(text)
	}
	for id, c := range p.calls {
		c.end <- end{err: p.failure, died: true}
		delete(p.calls, id)
	}
	p.mu.Unlock()
	_ = p.stdin.Close() // ends a write to it
	close(p.exited)
}

// send queues a line for the standard input. It is lost if the process does not
// read, or exits; the request then ends with an error.
func (p *process) send(line []byte) {
	select {
	case p.queue <- line:
	default:
		p.kill(errors.New("it does not read its standard input"))
	}
}

// write writes the queued lines until the process exits or is told to.
func (p *process) write() {
	defer p.stdin.Close() //nolint:errcheck // nobody could act on it
	for {
		select {
		case line := <-p.queue:
			if _, err := p.stdin.Write(line); err != nil {
				p.unread()
				return
			}
		case <-p.exited:
			return
		case <-p.hangUp:
			if len(p.queue) == 0 {
				return
			}
		}
	}
}

// unread is called when the process has closed its standard input. Usually it is
// about to exit, and its exit says more.
func (p *process) unread() {
	timer := time.NewTimer(killGrace)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		p.kill(errors.New("it has closed its standard input"))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// readStdout takes what the process writes to its standard output.
func (p *process) readStdout(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		piece, after, whole := bytes.Cut(rest, []byte{'\n'})
		rest = after
		if len(p.line)+len(piece) > int(p.conf.MaxLine) {
			p.kill(fmt.Errorf("it wrote a line of more than %d bytes", p.conf.MaxLine))
			p.line = nil
			return len(b), nil
		}
		if p.line = append(p.line, piece...); whole {
			p.message(p.line)
			p.line = p.line[:0]
		}
	}
	return len(b), nil
}

// stderrLine adds a line to the log of the process's only request. If there are
// several, it is unknown whose it is.
func (p *process) stderrLine(line []byte) {
	p.mu.Lock()
	var only *call
	if len(p.calls) == 1 {
		for _, only = range p.calls {
		}
	}
	p.mu.Unlock()
	if only != nil {
		only.req.Line(tasker.StreamStderr, strings.ToValidUTF8(string(line), "\uFFFD"))
	}
}
