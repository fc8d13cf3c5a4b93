// Package run runs a program for a task, once for each attempt, and makes a
// result of its output and its exit code.
package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/proc"
	"github.com/taskerhq/tasker/handlers/internal/program"
	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	// maxLine bounds a line of output; a longer one is reported in pieces.
	maxLine = 16 << 10
	// maxErrorTail bounds what is kept of standard error, in bytes.
	maxErrorTail = 8 << 10
	// errnrSignal plus the number of a signal is the errnr of a program that it
	// killed.
	errnrSignal = 128
	// rebootLimit bounds the run time of the command that reboots.
	rebootLimit = time.Minute
)

// Program is what one task runs.
type Program struct {
	Command program.Command
	Values  map[string]string // of the parameters, for the environment
}

// Runner runs programs as its settings say. It is safe for concurrent use.
type Runner struct {
	settings Settings
	prepared sync.Once
}

// New returns a runner for settings that are valid.
func New(settings Settings) *Runner { return &Runner{settings: settings} }

// ResultLimit returns the setting that bounds results, and its value.
func (r *Runner) ResultLimit() (setting string, limit int64) {
	return "max_output", int64(r.settings.MaxOutput)
}

// Notes returns what an administrator should know about the programs' rights.
func (r *Runner) Notes() []string { return r.settings.Notes() }

// Prepare ends what the programs of a killed manager left running, once. A run
// does so itself if nobody has called Prepare.
func (r *Runner) Prepare(ctx context.Context, log *slog.Logger) {
	r.prepared.Do(func() { endLeftovers(ctx, log) })
}

// CheckHere reports what would keep a program, or the command that reboots, from
// being started on this machine.
func (r *Runner) CheckHere(command program.Command) error {
	err := r.settings.CheckHere(command)
	if reboot := r.settings.RebootCommand; len(reboot) > 0 {
		if wrong := (&proc.Spec{Path: reboot[0], Args: reboot[1:]}).Check(); wrong != nil {
			err = errors.Join(err, fmt.Errorf("reboot_command: %w", wrong))
		}
	}
	return err
}

// Run runs a program for a request.
func (r *Runner) Run(ctx context.Context, req *handlers.Request, p Program) (handlers.Result, error) {
	r.Prepare(ctx, req.Logger())
	s := &r.settings
	spec := s.Spec(p.Command)
	files, err := s.makeFiles(spec, req.Payload)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := files.remove(); err != nil {
			req.Logger().WarnContext(ctx, "cannot remove the files of a run", "err", err)
		}
	}()
	spec.Dir, spec.Record = files.work, files.payload.Name()+program.RecordExt
	if s.Stdin == StdinPayload {
		spec.Stdin = files.payload
	}
	if spec.Env, err = s.environ(req, p, files); err != nil {
		return nil, err
	}
	out := s.capture(ctx, req, spec)
	exit, err := proc.Run(ctx, spec)
	if err != nil {
		return nil, program.StartError(err)
	}
	out.flush()
	return s.judge(ctx, exit, out)
}

// output is what a program writes.
type output struct {
	stdout proc.Head
	stderr proc.Tail
	lines  []*proc.Lines
	events *events
}

// capture has the spec's output captured, and the lines that the settings ask for
// sent to the task's log.
func (s *Settings) capture(ctx context.Context, req *handlers.Request, spec *proc.Spec) *output {
	out := &output{stdout: proc.Head{Limit: int(s.MaxOutput)}, stderr: proc.Tail{Limit: maxErrorTail}, events: newEvents(ctx, req)}
	sink := func(stream string, capture io.Writer) io.Writer {
		if !slices.Contains(s.Log, stream) {
			return capture
		}
		lines := &proc.Lines{Limit: maxLine, Each: func(line []byte) {
			req.Line(stream, strings.ToValidUTF8(string(line), "\uFFFD"))
		}}
		out.lines = append(out.lines, lines)
		return io.MultiWriter(capture, lines)
	}
	spec.Stdout = sink(tasker.StreamStdout, &out.stdout)
	spec.Stderr = sink(tasker.StreamStderr, &out.stderr)
	spec.Extra = out.events.lines
	return out
}

func (o *output) flush() {
	for _, lines := range o.lines {
		lines.Flush()
	}
	o.events.finish()
}

// judge makes a result of the program's exit.
func (s *Settings) judge(ctx context.Context, exit proc.Exit, out *output) (handlers.Result, error) {
	result, problem := s.result(&out.stdout)
	said := out.stderr.Text()
	switch {
	case exit.Stopped:
		err := fmt.Errorf("%w (%s)", context.Cause(ctx), exit)
		if said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return result, err
	case exit.Signal != 0:
		message := exit.String()
		if said != "" {
			message += ": " + said
		}
		return result, handlers.WithCode(errnrSignal+int(exit.Signal), errors.New(message))
	case exit.NotStarted:
		return nil, handlers.WithCode(program.ErrnrNotUsable, fmt.Errorf("the program could not be started: %s", said))
	case s.RebootCode != 0 && exit.Code == s.RebootCode:
		return result, s.reboot(exit)
	case slices.Contains(s.SuccessCodes, exit.Code):
		return result, cmp.Or(problem, s.judgeStderr(ctx, said, out))
	}
	err := handlers.WithCode(exit.Code, errors.New(cmp.Or(said, exit.String())))
	if slices.Contains(s.PermanentCodes, exit.Code) {
		err = handlers.Permanent(err)
	}
	return result, err
}

// judgeStderr judges the standard error of a program that succeeded.
func (s *Settings) judgeStderr(ctx context.Context, said string, out *output) error {
	switch {
	case said == "":
	case s.Stderr == stderrWarn:
		out.events.req.Logger().WarnContext(ctx, "program succeeded but wrote to standard error", "stderr", text.Shorten(said, maxShown))
	case s.Stderr == stderrFailure:
		return errors.New(said)
	}
	return nil
}

// reboot ends a run that asks for a reboot. Without a command the program itself
// has seen to it.
func (s *Settings) reboot(exit proc.Exit) error {
	err := handlers.ErrContinueAfterReboot
	if len(s.RebootCommand) > 0 {
		err = handlers.RebootAndContinue(s.runReboot)
	}
	return fmt.Errorf("%w: the program asked for it with %s", err, exit)
}

func (s *Settings) runReboot(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, rebootLimit)
	defer cancel()
	said := &proc.Tail{Limit: maxErrorTail}
	ended, err := proc.Run(limited, &proc.Spec{
		Path: s.RebootCommand[0], Args: s.RebootCommand[1:], Env: []string{"PATH=" + os.Getenv("PATH")},
		Stdout: said, Stderr: said, StopGrace: time.Duration(s.StopGrace),
	})
	switch {
	case err != nil:
		return fmt.Errorf("the program asked for a reboot, and its command could not be started: %w", err)
	case ended.Stopped && errors.Is(context.Cause(ctx), handlers.ErrShutdown), !ended.Stopped && ended.Signal == syscall.SIGTERM:
		// The machine is going down already.
	case ended.Stopped || ended.Signal != 0 || ended.Code != 0:
		return fmt.Errorf("the program asked for a reboot, and its command failed: %s: %s", ended, said.Text())
	}
	return nil
}
