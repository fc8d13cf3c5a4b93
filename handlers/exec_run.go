package handlers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers/internal/proc"
)

const (
	// maxLine bounds a line of output; a longer one is told in pieces.
	maxLine = 16 << 10
	// The errnr of a program that could not be started, as shells give them.
	errnrNotFound  = 127
	errnrNotUsable = 126
	// errnrSignal and the signal's number make the errnr of a program that
	// was killed.
	errnrSignal = 128
	// rebootLimit bounds the time that the command for a reboot takes.
	rebootLimit = time.Minute
)

// program is what one task asks for.
type program struct {
	path   string
	args   []string
	values map[string]string // of the parameters, for the environment
}

// run runs a program as the settings say.
func (s *processSettings) run(ctx context.Context, req *Request, p program) (Result, error) {
	s.prepare(ctx, logger(req))
	spec := s.spec(p.path)
	spec.Args = p.args
	place, err := s.makePlace(spec, req.Payload)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := place.remove(); err != nil {
			logger(req).WarnContext(ctx, "what was made for the run was not removed", "err", err)
		}
	}()
	spec.Dir, spec.Record = place.work, place.payload.Name()+recordExt
	if s.Stdin == stdinPayload {
		spec.Stdin = place.payload
	}
	if spec.Env, err = s.variables(req, p, place); err != nil {
		return nil, err
	}
	out := s.listen(ctx, req, spec)
	exit, err := proc.Run(ctx, spec)
	if err != nil {
		return nil, startError(err)
	}
	out.flush()
	return s.judge(ctx, exit, out)
}

// The names of what is made for a run, in the directory for temporary files. The
// middle is random, and the same for all of it.
const (
	payloadPrefix, payloadExt = "tasker-payload-", ".json"
	workPrefix                = "tasker-work-"
	recordExt                 = ".run"
	payloadVariable           = "TASKER_PAYLOAD_FILE"
)

// workOf is the name of the directory beside a payload's file.
func workOf(payload string) string {
	random := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(payload), payloadPrefix), payloadExt)
	return filepath.Join(filepath.Dir(payload), workPrefix+random)
}

// prepare sees once to what an earlier manager left. A run does so where no
// manager has.
func (s *processSettings) prepare(ctx context.Context, log *slog.Logger) {
	s.abandoned.Do(func() { endAbandonedPrograms(ctx, log) })
}

// outputs collect what a program writes.
type outputs struct {
	stdout proc.Head
	stderr proc.Tail
	lines  []*proc.Lines
	events *events
}

func (s *processSettings) listen(ctx context.Context, req *Request, spec *proc.Spec) *outputs {
	out := &outputs{stdout: proc.Head{Limit: int(s.MaxOutput)}, stderr: proc.Tail{Limit: maxErrorTail}, events: newEvents(ctx, req)}
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

func (o *outputs) flush() {
	for _, lines := range o.lines {
		lines.Flush()
	}
	o.events.finish()
}

// startError says why a program did not start.
func startError(err error) error {
	reason, ok := errors.AsType[*proc.StartError](err)
	if !ok {
		return err // the context's cause, or the system's
	}
	err = fmt.Errorf("the program could not be started: %w", err)
	switch {
	case reason.TooLong: // that will be so the next time
		return Permanent(WithCode(errnrNotUsable, err))
	case reason.NotFound:
		return WithCode(errnrNotFound, err)
	}
	return WithCode(errnrNotUsable, err)
}

// judge makes a result of the program's end.
func (s *processSettings) judge(ctx context.Context, exit proc.Exit, out *outputs) (Result, error) {
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
		text := exit.String()
		if said != "" {
			text += ": " + said
		}
		return result, WithCode(errnrSignal+int(exit.Signal), errors.New(text))
	case exit.NotStarted:
		return nil, WithCode(errnrNotUsable, fmt.Errorf("the program could not be started: %s", said))
	case s.RebootCode != 0 && exit.Code == s.RebootCode:
		return result, s.reboot(exit)
	case slices.Contains(s.SuccessCodes, exit.Code):
		return result, cmp.Or(problem, s.judgeStderr(ctx, said, out))
	}
	err := WithCode(exit.Code, errors.New(cmp.Or(said, exit.String())))
	if slices.Contains(s.PermanentCodes, exit.Code) {
		err = Permanent(err)
	}
	return result, err
}

// judgeStderr judges what a program wrote to its standard error, which ended
// well otherwise.
func (s *processSettings) judgeStderr(ctx context.Context, said string, out *outputs) error {
	switch {
	case said == "":
	case s.Stderr == stderrWarn:
		out.events.log.WarnContext(ctx, "the program ended well, but wrote to its standard error", "stderr", clipped(said))
	case s.Stderr == stderrFailure:
		return errors.New(said)
	}
	return nil
}

// reboot is the end of a run that asks for a reboot, which its command does, if
// that is not the program's own business.
func (s *processSettings) reboot(exit proc.Exit) error {
	err := ErrContinueAfterReboot
	if len(s.RebootCommand) > 0 {
		err = RebootAndContinue(s.runReboot)
	}
	return fmt.Errorf("%w: the program asked for it with %s", err, exit)
}

func (s *processSettings) runReboot(ctx context.Context) error {
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
	case ended.Stopped && errors.Is(context.Cause(ctx), ErrShutdown), !ended.Stopped && ended.Signal == syscall.SIGTERM:
		// The machine goes down already.
	case ended.Stopped || ended.Signal != 0 || ended.Code != 0:
		return fmt.Errorf("the program asked for a reboot, and its command failed: %s: %s", ended, said.Text())
	}
	return nil
}

// runPlace is where one run has its files.
type runPlace struct {
	work    string // where the program starts
	own     bool   // work was made for this run
	payload *os.File
}

// makePlace makes a directory for the run, where none is configured, and a file
// with the payload, both of which belong to the user of the run. They are beside
// each other, so that the directory is empty; to make and remove them is most of
// what a run costs.
func (s *processSettings) makePlace(spec *proc.Spec, payload []byte) (p *runPlace, err error) {
	uid, gid, other, err := spec.Owner()
	if err != nil {
		return nil, startError(err)
	}
	p = &runPlace{work: s.Directory, own: s.Directory == ""}
	defer func() {
		if err != nil {
			_ = p.remove()
			p, err = nil, fmt.Errorf("make a place for the run: %w", err)
		}
	}()
	if p.payload, err = os.CreateTemp("", payloadPrefix+"*"+payloadExt); err != nil {
		return p, err
	}
	if _, err = p.payload.Write(payload); err != nil {
		return p, err
	}
	if _, err = p.payload.Seek(0, io.SeekStart); err != nil {
		return p, err
	}
	if p.own {
		p.work = workOf(p.payload.Name())
		if err = os.Mkdir(p.work, 0o700); err != nil {
			p.own = false
			return p, err
		}
	}
	if !other {
		return p, nil
	}
	if err = p.payload.Chown(uid, gid); err == nil && p.own {
		err = os.Lchown(p.work, uid, gid)
	}
	return p, err
}

// remove removes what was made for the run.
func (p *runPlace) remove() error {
	var errs []error
	if p.payload != nil {
		_ = p.payload.Close()
		if err := os.Remove(p.payload.Name()); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if p.own {
		errs = append(errs, os.RemoveAll(p.work))
	}
	return errors.Join(errs...)
}

// environ is the environment of a program, but for what tells of a task.
func (s *processSettings) environ(values map[string]string) (map[string]string, error) {
	env := map[string]string{}
	for _, name := range s.PassEnvironment {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
		}
	}
	if s.User != "" {
		u, err := proc.LookupUser(s.User)
		if err != nil {
			return nil, err
		}
		env["HOME"], env["USER"], env["LOGNAME"] = u.HomeDir, u.Username, u.Username
	}
	for name, value := range s.environment {
		text, given, err := value.expand(values)
		if err != nil {
			return nil, Permanent(fmt.Errorf("the variable %s: %w", name, err))
		}
		if delete(env, name); given {
			env[name] = text
		}
	}
	secrets, err := s.EnvironmentFile.read("environment")
	if err != nil {
		return nil, WithCode(errnrNotUsable, err)
	}
	maps.Copy(env, secrets)
	return env, nil
}

// variables is the whole environment of the program.
func (s *processSettings) variables(req *Request, p program, place *runPlace) ([]string, error) {
	env, err := s.environ(p.values)
	if err != nil {
		return nil, startError(err)
	}
	maps.Copy(env, map[string]string{
		"TASKER_TASK_ID": strconv.FormatInt(req.TaskID, 10), "TASKER_IDENTIFIER": req.Identifier, "TASKER_TYPE": req.Type,
		"TASKER_ENDPOINT": req.Endpoint, "TASKER_ATTEMPT": strconv.Itoa(req.Attempt), "TASKER_STEP": strconv.Itoa(max(req.Step, 1)),
		payloadVariable: place.payload.Name(), "TASKER_WORK_DIR": place.work, "TASKER_FD": "3",
	})
	if !req.Deadline.IsZero() {
		env["TASKER_DEADLINE"] = req.Deadline.UTC().Format(time.RFC3339)
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list, nil
}
