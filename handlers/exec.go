package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
)

// execSettings are the settings of exec.
type execSettings struct {
	// Command is the program, an absolute path or a name in PATH, and its
	// arguments, which may hold ${name} of a parameter.
	Command    commandLine         `json:"command"`
	Parameters map[string]Settings `json:"parameters"`
	processSettings
}

type execHandler struct {
	process    *processSettings
	program    string
	args       []template
	parameters parameters
}

var (
	_ Checker   = (*execHandler)(nil)
	_ Describer = (*execHandler)(nil)
	_ Noter     = (*execHandler)(nil)
	_ Preparer  = (*execHandler)(nil)
)

// NewExec makes the handler that runs a program, which the setting "command"
// names with its arguments. No shell is between: each argument reaches the
// program as it is, with ${name} replaced by the payload's member of that name,
// if "parameters" declares it.
//
// The program has the payload on its standard input and in a file, tells how
// far it is on file descriptor 3, and answers with its standard output. Its exit
// code is the errnr, the end of its standard error the errmsg.
func NewExec(settings Settings) (Handler, error) {
	conf := execSettings{processSettings: defaultProcess()}
	if err := settings.Decode(&conf); err != nil {
		return nil, err
	}
	declared, err := readParameters(conf.Parameters)
	h := &execHandler{process: &conf.processSettings, parameters: declared}
	if err := errors.Join(err, h.readCommand(conf.Command), conf.check(declared)); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *execHandler) readCommand(command commandLine) error {
	if len(command) == 0 {
		return errors.New(`the setting "command" is missing: give a program and its arguments, such as [/usr/bin/rsync, --archive]`)
	}
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf(`setting "command": %w`, fmt.Errorf(format, args...)))
	}
	h.program = command[0]
	if err := checkProgramName(h.program); err != nil {
		wrong("%w", err)
	}
	for i, arg := range command[1:] {
		parsed, err := parseTemplate(arg, h.parameters)
		if err != nil {
			wrong("argument %d: %w", i+1, err)
		}
		h.args = append(h.args, parsed)
		for _, name := range parsed.leading() {
			if p := h.parameters[name]; !p.AllowDash {
				p.begins = true
				if p.fallback != nil && strings.HasPrefix(*p.fallback, "-") {
					wrong("argument %d: the default of %s %w", i+1, name, errDash)
				}
			}
		}
	}
	if name := readsProgram(command); name != "" && h.process.Stdin == stdinPayload {
		wrong("%w", errReadsProgram(name))
	}
	if i := shellCode(command); i > 0 && h.args[i-1].variable() {
		wrong(`argument %d is a program of %s: a parameter in it could be any command. `+
			`Let it say "$1", and give the parameter as an argument after the one that follows it`, i, h.program)
	}
	return errors.Join(mistakes...)
}

func checkProgramName(name string) error {
	switch {
	case name == "" || strings.ContainsRune(name, 0):
		return fmt.Errorf("%q names no program", name)
	case strings.Contains(name, "${"):
		return fmt.Errorf("the program %q is not to depend on a parameter", name)
	case !filepath.IsAbs(name) && filepath.Base(name) != name:
		return fmt.Errorf("the program %q is neither an absolute path nor a mere name", name)
	}
	return nil
}

// Handle runs the program.
func (h *execHandler) Handle(ctx context.Context, req *Request) (Result, error) {
	values, err := h.parameters.values(req.Payload)
	if err != nil {
		return nil, Permanent(err)
	}
	var args []string
	for i, arg := range h.args {
		text, given, err := arg.expand(values)
		if err != nil {
			return nil, Permanent(fmt.Errorf("argument %d of the program: %w", i+1, err))
		}
		if given {
			args = append(args, text)
		}
	}
	// An argument may have been left out, or name the standard input.
	if name := readsProgram(append([]string{h.program}, args...)); name != "" && h.process.Stdin == stdinPayload {
		return nil, Permanent(WithCode(errnrNotUsable, errReadsProgram(name)))
	}
	return h.process.run(ctx, req, program{path: h.program, args: args, values: values})
}

// Check tells whether the program could be started here.
func (h *execHandler) Check() error {
	args := make([]string, len(h.args))
	for i, arg := range h.args {
		if !arg.variable() {
			args[i], _, _ = arg.expand(nil) // it holds nothing that could fail
		}
	}
	return h.process.checkHere(h.program, args...)
}

// Notes tells whose rights the program has.
func (h *execHandler) Notes() []string { return h.process.notes() }

// Prepare ends what programs of a manager that was killed left behind.
func (h *execHandler) Prepare(ctx context.Context, log *slog.Logger) { h.process.prepare(ctx, log) }

// Describe tells of the program and its parameters.
func (h *execHandler) Describe() Description {
	d := Description{Description: "Runs the program " + h.program + "."}
	d.Usage = "The program has the payload on its standard input"
	if h.process.Stdin == stdinNone {
		d.Usage = "The program has the payload in the file that TASKER_PAYLOAD_FILE names"
	}
	d.Usage += ", and its standard output is the result."
	if len(h.parameters) > 0 {
		d.Usage += " The payload is an object with " + strings.Join(h.parameters.names(), ", ") + "."
		d.Schema, d.Example = h.parameters.schema(), h.parameters.example()
	}
	return d
}

// commandLine is a setting: a list of a program and its arguments, or a text
// that is the program alone.
type commandLine []string

// UnmarshalJSON reads either form.
func (c *commandLine) UnmarshalJSON(text []byte) error {
	var alone string
	if json.Unmarshal(text, &alone) == nil {
		*c = commandLine{alone}
		return nil
	}
	var words []string
	if json.Unmarshal(text, &words) != nil {
		return errors.New("give a program, or a list of texts, the program and its arguments (numbers in quotes)")
	}
	for _, word := range words {
		if strings.ContainsRune(word, 0) {
			return fmt.Errorf("%q holds a NUL, which no argument can", word)
		}
	}
	*c = words
	return nil
}
