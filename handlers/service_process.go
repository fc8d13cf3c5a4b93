package handlers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers/internal/proc"
)

const (
	// serviceKillGrace is the time between TERM and KILL for a process that
	// has had stop_grace already.
	serviceKillGrace = time.Second
	// maxRubbish is how many lines in a row may be no messages.
	maxRubbish = 100
	// maxServiceWarnings bounds what one task's log says about rubbish.
	maxServiceWarnings = 10
)

// serviceProcess is one process, with the requests that it has.
type serviceProcess struct {
	conf    *serviceSettings
	process *proc.Process
	stdin   *os.File
	queue   chan []byte   // lines for the standard input
	hangUp  chan struct{} // closed to close the standard input
	stop    context.CancelFunc
	exited  chan struct{} // closed in the end; what follows is then final

	mu       sync.Mutex
	calls    map[string]*serviceCall
	begun    int
	answered int   // requests that were ended
	closing  bool  // it takes no more requests
	finished bool  // because it is not wanted any more
	failure  error // how it ended, where it was to go on
	rubbish  int   // lines in a row that were no messages
	// idle finishes the process, stopTimer stops it; nil where not needed yet.
	idle, stopTimer *time.Timer

	// These belong to the readers of the process's output.
	line        []byte // of the standard output, so far
	stderr      proc.Tail
	stderrLines proc.Lines
}

// serviceCall is a request that a process has.
type serviceCall struct {
	id       string
	req      *Request
	warnings int             // guarded by the process's mu
	end      chan serviceEnd // has room for the one
}

// serviceEnd is how a request ended.
type serviceEnd struct {
	result Result
	err    error
	died   bool // not by an answer
}

// startService starts a process. Its goroutines are those of running.
func startService(conf *serviceSettings, running *sync.WaitGroup) (*serviceProcess, error) {
	spec := conf.spec()
	env, err := conf.process.environ(nil)
	if err != nil {
		return nil, startError(err)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		spec.Env = append(spec.Env, name+"="+env[name])
	}
	removeDir, err := makeDir(spec)
	if err != nil {
		return nil, startError(err)
	}
	p, err := launchService(conf, spec)
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

func launchService(conf *serviceSettings, spec *proc.Spec) (*serviceProcess, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the process: %w", err)
	}
	defer r.Close() //nolint:errcheck // the process has its own
	// The process outlives the request that it was started for.
	ctx, stop := context.WithCancel(context.Background())
	p := &serviceProcess{
		conf: conf, stdin: w, queue: make(chan []byte, 2*conf.Concurrency+1), hangUp: make(chan struct{}),
		stop: stop, exited: make(chan struct{}), calls: map[string]*serviceCall{},
		stderr: proc.Tail{Limit: maxErrorTail},
	}
	p.stderrLines = proc.Lines{Limit: maxLine, Each: p.stderrLine}
	spec.Stdin, spec.Stdout, spec.Stderr, spec.StopGrace = r, stdoutOf{p}, io.MultiWriter(&p.stderr, &p.stderrLines), serviceKillGrace
	if p.process, err = proc.Start(ctx, spec); err != nil {
		stop()
		_ = w.Close()
		return nil, startError(err)
	}
	return p, nil
}

// begin gives the process a request. It is nil where the process takes none
// any more.
func (p *serviceProcess) begin(req *Request) *serviceCall {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return nil
	}
	if p.idle != nil {
		p.idle.Stop()
	}
	p.begun++
	call := &serviceCall{id: strconv.Itoa(p.begun), req: req, end: make(chan serviceEnd, 1)}
	p.calls[call.id] = call
	if p.conf.MaxRequests > 0 && p.begun >= p.conf.MaxRequests {
		p.closing = true
	}
	return call
}

// forget takes a request back whose end nobody awaits any more.
func (p *serviceProcess) forget(call *serviceCall) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, call.id)
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

func (p *serviceProcess) finishIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.calls) == 0 {
		p.finishLocked()
	}
}

// finish lets the process end: its standard input is closed, and it is stopped
// if that is not enough.
func (p *serviceProcess) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finishLocked()
}

func (p *serviceProcess) finishLocked() {
	p.closing = true
	if p.finished || p.failure != nil {
		return
	}
	p.finished = true
	close(p.hangUp)
	p.stopTimer = time.AfterFunc(time.Duration(p.conf.StopGrace), p.stop)
}

// outcome tells whether the process has answered anything, and how it ended
// where it was to go on, else nil. It is for after the end.
func (p *serviceProcess) outcome() (answered bool, failure error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return p.answered > 0, nil
	}
	return p.answered > 0, p.failure
}

// kill stops the process for good, since it does not do as it should.
func (p *serviceProcess) kill(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	if p.failure == nil {
		p.failure = fmt.Errorf("the process was stopped: %w", why)
	}
	p.stop()
}

// ended is called once, with how the process ended.
func (p *serviceProcess) ended(exit proc.Exit) {
	p.stderrLines.Flush()
	if len(p.line) > 0 { // the last one, without a line end
		p.message(p.line)
	}
	p.stop() // which frees its context
	p.mu.Lock()
	p.closing = true
	for _, timer := range []*time.Timer{p.idle, p.stopTimer} {
		if timer != nil {
			timer.Stop()
		}
	}
	if p.failure == nil {
		text := "the process ended before it answered: " + exit.String()
		if tail := p.stderr.Text(); tail != "" {
			text += ": " + tail
		}
		p.failure = errors.New(text)
	}
	for id, call := range p.calls {
		call.end <- serviceEnd{err: p.failure, died: true}
		delete(p.calls, id)
	}
	p.mu.Unlock()
	_ = p.stdin.Close() // which ends a write to it
	close(p.exited)
}

// send queues a line for the standard input. It may be lost where the process
// does not read, or ends; who waits for the answer learns of it.
func (p *serviceProcess) send(line []byte) {
	select {
	case p.queue <- line:
	default:
		p.kill(errors.New("it does not read its standard input"))
	}
}

// write writes what is queued, until the process has ended or is to end.
func (p *serviceProcess) write() {
	defer p.stdin.Close() //nolint:errcheck // there is nobody to be told
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

// unread is called when the process has closed its standard input: as a rule it
// is about to end, and has better words for it.
func (p *serviceProcess) unread() {
	timer := time.NewTimer(serviceKillGrace)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		p.kill(errors.New("it has closed its standard input"))
	}
}

// stdoutOf takes what a process writes to its standard output.
type stdoutOf struct{ p *serviceProcess }

func (o stdoutOf) Write(b []byte) (int, error) {
	p := o.p
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

// stderrLine adds a line to the log of the request that the process has. Where
// it has several, nobody knows whose it is.
func (p *serviceProcess) stderrLine(line []byte) {
	p.mu.Lock()
	var only *serviceCall
	for _, call := range p.calls {
		if only != nil {
			only = nil
			break
		}
		only = call
	}
	p.mu.Unlock()
	if only != nil {
		only.req.Line(tasker.StreamStderr, strings.ToValidUTF8(string(line), "\uFFFD"))
	}
}
