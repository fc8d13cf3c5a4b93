// Package script is the handler that runs the program which the payload names.
package script

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/check"
	"github.com/taskerhq/tasker/handlers/internal/program"
	"github.com/taskerhq/tasker/handlers/internal/run"
	"github.com/taskerhq/tasker/internal/x/text"
	"github.com/taskerhq/tasker/internal/x/trust"
)

type settings struct {
	BinPath string `json:"bin_path"` // the absolute path of a directory
	run.Settings
}

type handler struct {
	*run.Runner
	binPath string
}

var (
	_ handlers.Checker   = (*handler)(nil)
	_ handlers.Describer = (*handler)(nil)
	_ handlers.Limiter   = (*handler)(nil)
	_ handlers.Noter     = (*handler)(nil)
	_ handlers.Preparer  = (*handler)(nil)
)

// New returns the handler that runs the program which the payload names, from the
// directory of the setting "bin_path" or one below it. Whoever can post a task
// can run any program there, with any arguments. Programs and directories must
// belong to root or the manager's user, and be writable by nobody else.
//
// The payload is {"bin_name": "report", "args": "12 hello", "max_run_time": 60}.
// args is a text that is split at white space, or a list; it is optional, as is
// max_run_time, in seconds. Otherwise script is like exec.
func New(s handlers.Settings) (handlers.Handler, error) {
	conf := settings{Settings: run.Defaults()}
	if err := s.Decode(&conf); err != nil {
		return nil, err
	}
	var c check.Settings
	c.Want(filepath.IsAbs(conf.BinPath), "bin_path", "must be the absolute path of the directory with the programs, got %q", conf.BinPath)
	if err := errors.Join(c.Err(), conf.Validate(nil)); err != nil {
		return nil, err
	}
	return &handler{run.New(conf.Settings), filepath.Clean(conf.BinPath)}, nil
}

// Handle runs the program that the payload names.
func (h *handler) Handle(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
	p, err := readPayload(req.Payload)
	if err != nil {
		return nil, handlers.Permanent(err)
	}
	path, err := findProgram(h.binPath, p.BinName)
	if err != nil {
		return nil, handlers.Permanent(handlers.WithCode(program.ErrnrNotUsable, err))
	}
	if limit := p.limit; limit > 0 {
		var stop context.CancelFunc
		late := handlers.TimedOut(fmt.Errorf("the program ran longer than its max_run_time (%v)", limit))
		ctx, stop = context.WithTimeoutCause(ctx, limit, late)
		defer stop()
	}
	return h.Run(ctx, req, run.Program{Command: append(program.Command{path}, p.Args...)})
}

// Check reports what would keep programs of the directory from being started on
// this machine.
func (h *handler) Check() error {
	return errors.Join(h.checkBinPath(), h.CheckHere(program.Command{anyProgram}))
}

func (h *handler) checkBinPath() error {
	info, err := os.Stat(h.binPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("bin_path: %s does not exist", h.binPath)
	case err != nil:
		return fmt.Errorf("bin_path: %w", err)
	case !info.IsDir():
		return fmt.Errorf("bin_path: %s is not a directory", h.binPath)
	}
	if err := untrusted((trust.Policy{Strict: []string{h.binPath}}).Check(h.binPath)); err != nil {
		return fmt.Errorf("bin_path %w", err)
	}
	return nil
}

// Describe describes the payload.
func (h *handler) Describe() handlers.Description {
	return handlers.Description{
		Description: "Runs a program from " + h.binPath + ".",
		Usage: `bin_name is the program's name, args its arguments: a text with white space between them, or a list. ` +
			`After max_run_time seconds it is stopped. Its standard output is the result.`,
		Schema: handlers.Result(`{"additionalProperties":false,"properties":{` +
			`"args":{"anyOf":[{"pattern":"^[^\\x00]*$","type":"string"},` +
			`{"items":{"pattern":"^[^\\x00]*$","type":["string","number","boolean"]},"type":"array"}]},` +
			`"bin_name":{"not":{"pattern":"(^|/)\\.{0,2}(/|$)|[\\\\\\x00]"},"type":"string"},` +
			`"max_run_time":{"exclusiveMinimum":0,"maximum":4611686018,"type":"number"}},"required":["bin_name"],"type":"object"}`),
		Example: handlers.Result(`{"bin_name":"report","args":"12 hello","max_run_time":60}`),
	}
}

// findProgram returns the path, without symbolic links, of a program inside a
// directory. Since nobody else can change anything on the way, it is the same
// program when it is executed.
func findProgram(binPath, name string) (string, error) {
	refuse := func(format string, args ...any) (string, error) {
		return "", fmt.Errorf(`program %q %w`, text.Shorten(name, maxShown), fmt.Errorf(format, args...))
	}
	if !filepath.IsLocal(name) || strings.ContainsAny(name, "\x00\\") || filepath.Clean(name) != name || name == "." {
		return "", fmt.Errorf(`invalid bin_name %q: must be a name, or a path below bin_path, without "." and ".."`,
			text.Shorten(name, maxShown))
	}
	real, err := filepath.EvalSymlinks(binPath)
	if err != nil {
		return "", fmt.Errorf("bin_path: %w", err)
	}
	root, err := os.OpenRoot(real)
	if err != nil {
		return "", fmt.Errorf("bin_path: %w", err)
	}
	defer root.Close() //nolint:errcheck // only read
	info, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse("does not exist in %s", binPath)
	case err != nil: // usually a link that leads out
		return refuse("leads out of %s, or cannot be read: %w", binPath, err)
	case !info.Mode().IsRegular():
		return refuse("is not a regular file")
	case info.Mode()&0o111 == 0:
		return refuse("is not executable (its mode is %v)", info.Mode())
	}
	path, err := filepath.EvalSymlinks(filepath.Join(real, name))
	if err != nil {
		return "", err
	}
	if inside, err := filepath.Rel(real, path); err != nil || !filepath.IsLocal(inside) {
		return refuse("is outside of %s", binPath)
	}
	// The path as the payload names it, and everything that it leads through.
	policy := trust.Policy{Strict: []string{binPath, real}}
	if err := untrusted(policy.Check(filepath.Join(binPath, name))); err != nil {
		return refuse("%w", err)
	}
	return path, nil
}

func untrusted(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("is not trusted: %w", err)
}
