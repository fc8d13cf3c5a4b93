// Package exec is the handler that runs a program for each attempt.
package exec

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/check"
	"github.com/taskerhq/tasker/handlers/internal/interpreter"
	"github.com/taskerhq/tasker/handlers/internal/param"
	"github.com/taskerhq/tasker/handlers/internal/program"
	"github.com/taskerhq/tasker/handlers/internal/run"
)

type settings struct {
	Command    program.Command              `json:"command"` // arguments may contain ${name} of a parameter
	Parameters map[string]handlers.Settings `json:"parameters"`
	run.Settings
}

type handler struct {
	*run.Runner
	stdin      bool // has the payload
	program    string
	args       []param.Template
	parameters param.Set
}

var (
	_ handlers.Checker   = (*handler)(nil)
	_ handlers.Describer = (*handler)(nil)
	_ handlers.Limiter   = (*handler)(nil)
	_ handlers.Noter     = (*handler)(nil)
	_ handlers.Preparer  = (*handler)(nil)
)

// New returns the handler that runs the program which the setting "command" names,
// with its arguments. No shell is involved: each argument reaches the program as
// it is, with ${name} replaced by the payload's member of that name, which
// "parameters" must declare.
//
// The program has the payload on its standard input and in a file, reports its
// progress on file descriptor 3, and writes its result to standard output. Its
// exit code is the errnr, the end of its standard error the errmsg.
func New(s handlers.Settings) (handlers.Handler, error) {
	conf := settings{Settings: run.Defaults()}
	if err := s.Decode(&conf); err != nil {
		return nil, err
	}
	declared, err := param.Read(conf.Parameters)
	h := &handler{stdin: conf.Stdin == run.StdinPayload, parameters: declared}
	if err := errors.Join(err, h.readCommand(conf.Command), conf.Validate(declared)); err != nil {
		return nil, err
	}
	h.Runner = run.New(conf.Settings)
	return h, nil
}

func (h *handler) readCommand(command program.Command) error {
	if len(command) == 0 {
		return errors.New(`setting "command" is required: a program and its arguments, such as [/usr/bin/rsync, --archive]`)
	}
	var c check.Settings
	err := command.Check()
	c.Want(err == nil, "command", "%w", err)
	h.program = command[0]
	for i, arg := range command[1:] {
		parsed, err := h.parameters.Argument(arg)
		c.Want(err == nil, "command", "argument %d: %w", i+1, err)
		h.args = append(h.args, parsed)
	}
	err = h.checkStdin(command)
	c.Want(err == nil, "command", "%w", err)
	i := interpreter.ShellCode(command)
	c.Want(i == 0 || !h.args[i-1].HasParameters(), "command",
		`argument %d is code that %s executes: a parameter in it could be any command. `+
			`Write "$1" there, and add the parameter as an argument after the next one`, i, h.program)
	return c.Err()
}

// checkStdin refuses a command that would execute the payload.
func (h *handler) checkStdin(command program.Command) error {
	name := interpreter.ExecutesStdin(command)
	if name == "" || !h.stdin {
		return nil
	}
	return fmt.Errorf(
		`%s would execute its standard input, which is the payload: add the script as an argument, or set "stdin" to none`, name)
}

// Handle runs the program.
func (h *handler) Handle(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
	values, err := h.parameters.Values(req.Payload)
	if err != nil {
		return nil, handlers.Permanent(err)
	}
	command := program.Command{h.program}
	for i, arg := range h.args {
		text, ok, err := arg.Expand(values)
		if err != nil {
			return nil, handlers.Permanent(fmt.Errorf("argument %d: %w", i+1, err))
		}
		if ok {
			command = append(command, text)
		}
	}
	// Again, since an argument may be left out, or name the standard input.
	if err := h.checkStdin(command); err != nil {
		return nil, handlers.Permanent(handlers.WithCode(program.ErrnrNotUsable, err))
	}
	return h.Run(ctx, req, run.Program{Command: command, Values: values})
}

// Check reports what would keep the program from being started on this machine.
func (h *handler) Check() error {
	command := program.Command{h.program}
	for _, arg := range h.args {
		text := ""
		if !arg.HasParameters() {
			text, _, _ = arg.Expand(nil) // has nothing that could fail
		}
		command = append(command, text)
	}
	return h.CheckHere(command)
}

// Describe describes the program and its parameters.
func (h *handler) Describe() handlers.Description {
	d := handlers.Description{Description: "Runs the program " + h.program + "."}
	d.Usage = "The program has the payload on its standard input"
	if !h.stdin {
		d.Usage = "The program has the payload in the file that TASKER_PAYLOAD_FILE names"
	}
	d.Usage += ", and its standard output is the result."
	if len(h.parameters) > 0 {
		d.Usage += " The payload is an object with " + strings.Join(h.parameters.Names(), ", ") + "."
		d.Schema, d.Example = h.parameters.Schema(), h.parameters.Example()
	}
	return d
}
