package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/taskerhq/tasker/internal/x/trust"
)

// scriptSettings are the settings of script.
type scriptSettings struct {
	BinPath string `json:"bin_path"` // an absolute path of a directory
	processSettings
}

type scriptHandler struct {
	process *processSettings
	binPath string
}

var (
	_ Checker   = (*scriptHandler)(nil)
	_ Describer = (*scriptHandler)(nil)
	_ Noter     = (*scriptHandler)(nil)
	_ Preparer  = (*scriptHandler)(nil)
)

// NewScript makes the handler that runs the program that the payload names,
// out of the directory of the setting "bin_path", or one below it. The programs
// there are what a customer may run, with any arguments. Neither they nor their
// directories may be writable by, or belong to, others than root and the
// manager's user.
//
// The payload is {"bin_name": "report", "args": "12 hello", "max_run_time": 60},
// where args is a text that is split at blanks, or a list, and may be missing,
// as may max_run_time, in seconds. For the rest it is as exec.
func NewScript(settings Settings) (Handler, error) {
	conf := scriptSettings{processSettings: defaultProcess()}
	if err := settings.Decode(&conf); err != nil {
		return nil, err
	}
	var wrong error
	switch {
	case conf.BinPath == "":
		wrong = errors.New(`setting "bin_path" is missing: give the absolute path of the directory with the programs`)
	case !filepath.IsAbs(conf.BinPath):
		wrong = fmt.Errorf(`setting "bin_path" is %q: give the absolute path of the directory with the programs`, conf.BinPath)
	}
	if err := errors.Join(wrong, conf.check(nil)); err != nil {
		return nil, err
	}
	return &scriptHandler{&conf.processSettings, filepath.Clean(conf.BinPath)}, nil
}

// scriptPayload is what a customer asks for.
type scriptPayload struct {
	BinName    string     `json:"bin_name"`
	Args       scriptArgs `json:"args"`
	MaxRunTime *float64   `json:"max_run_time"`
}

// scriptArgs are a text with blanks between the arguments, or a list of texts,
// numbers, true and false.
type scriptArgs []string

// UnmarshalJSON reads either form.
func (a *scriptArgs) UnmarshalJSON(raw []byte) error {
	var line string
	if json.Unmarshal(raw, &line) == nil {
		*a = strings.Fields(line)
		return nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return errors.New(`"args" is neither a text nor a list`)
	}
	*a = make([]string, len(items))
	for i, item := range items {
		switch {
		case item[0] == '"':
			if err := json.Unmarshal(item, &(*a)[i]); err != nil {
				return err
			}
		case item[0] == '{' || item[0] == '[' || string(item) == "null":
			return fmt.Errorf(`"args" holds %s: give texts and numbers`, clipped(string(item)))
		default:
			(*a)[i] = string(item)
		}
	}
	return nil
}

func readScript(payload json.RawMessage) (p scriptPayload, err error) {
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err = dec.Decode(&p); err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the object")
		}
	}
	if err != nil {
		return p, fmt.Errorf(`the payload must be an object such as {"bin_name": "report", "args": "12 hello"}: %w`, err)
	}
	if p.BinName == "" {
		return p, errors.New(`the payload has no "bin_name": give the name of a program`)
	}
	for _, arg := range p.Args {
		if strings.ContainsRune(arg, 0) {
			return p, errors.New(`"args" holds a NUL, which no argument can`)
		}
	}
	if limit := p.MaxRunTime; limit != nil && (*limit <= 0 || *limit > math.MaxInt64/float64(time.Second)/2) {
		return p, fmt.Errorf(`"max_run_time" is %v: give a number of seconds above 0`, *limit)
	}
	return p, nil
}

// Handle runs the program that the payload names.
func (h *scriptHandler) Handle(ctx context.Context, req *Request) (Result, error) {
	payload, err := readScript(req.Payload)
	if err != nil {
		return nil, Permanent(err)
	}
	path, err := findProgram(h.binPath, payload.BinName)
	if err != nil {
		return nil, Permanent(WithCode(errnrNotUsable, err))
	}
	if payload.MaxRunTime != nil {
		limit := seconds(*payload.MaxRunTime)
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, limit, TimedOut(fmt.Errorf("the program ran longer than its max_run_time, %v", limit)))
		defer stop()
	}
	return h.process.run(ctx, req, program{path: path, args: payload.Args})
}

// Check tells whether programs of the directory could be started here.
func (h *scriptHandler) Check() error {
	return errors.Join(h.checkBinPath(), h.process.checkHere(anyProgram))
}

func (h *scriptHandler) checkBinPath() error {
	info, err := os.Stat(h.binPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("bin_path: there is no directory %s", h.binPath)
	case err != nil:
		return fmt.Errorf("bin_path: %w", err)
	case !info.IsDir():
		return fmt.Errorf("bin_path: %s is not a directory", h.binPath)
	}
	if err := notToBeRun((trust.Policy{Strict: []string{h.binPath}}).Check(h.binPath)); err != nil {
		return fmt.Errorf("bin_path: %w", err)
	}
	return nil
}

// Notes tells whose rights the programs have.
func (h *scriptHandler) Notes() []string { return h.process.notes() }

// Prepare ends what programs of a manager that was killed left behind.
func (h *scriptHandler) Prepare(ctx context.Context, log *slog.Logger) { h.process.prepare(ctx, log) }

// Describe tells of the payload.
func (h *scriptHandler) Describe() Description {
	return Description{
		Description: "Runs a program out of " + h.binPath + ".",
		Usage: `bin_name is the program's name, args its arguments: a text with blanks between them, or a list. ` +
			`After max_run_time seconds it is stopped. Its standard output is the result.`,
		Schema: Result(`{"additionalProperties":false,"properties":{` +
			`"args":{"anyOf":[{"pattern":"^[^\\x00]*$","type":"string"},` +
			`{"items":{"pattern":"^[^\\x00]*$","type":["string","number","boolean"]},"type":"array"}]},` +
			`"bin_name":{"not":{"pattern":"(^|/)\\.{0,2}(/|$)|[\\\\\\x00]"},"type":"string"},` +
			`"max_run_time":{"exclusiveMinimum":0,"maximum":4611686018,"type":"number"}},"required":["bin_name"],"type":"object"}`),
		Example: Result(`{"bin_name":"report","args":"12 hello","max_run_time":60}`),
	}
}

// findProgram gives the path, without links, of a program inside a directory.
// Since nobody else can change anything on the way, it is the same program when
// it is executed.
func findProgram(binPath, name string) (string, error) {
	refuse := func(format string, args ...any) (string, error) {
		return "", fmt.Errorf(`the program %q: %w`, clipped(name), fmt.Errorf(format, args...))
	}
	if !filepath.IsLocal(name) || strings.ContainsAny(name, "\x00\\") || filepath.Clean(name) != name || name == "." {
		return refuse("a bin_name is a name, or a path below bin_path, without . and ..")
	}
	real, err := filepath.EvalSymlinks(binPath)
	if err != nil {
		return refuse("bin_path: %w", err)
	}
	root, err := os.OpenRoot(real)
	if err != nil {
		return refuse("bin_path: %w", err)
	}
	defer root.Close() //nolint:errcheck // it was only read
	info, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse("it does not exist in %s", binPath)
	case err != nil: // a link that leads out, as a rule
		return refuse("it is not to be run, since it leads out of %s, or cannot be read: %w", binPath, err)
	case !info.Mode().IsRegular():
		return refuse("it is no file")
	case info.Mode()&0o111 == 0:
		return refuse("it is not executable (its mode is %v)", info.Mode())
	}
	path, err := filepath.EvalSymlinks(filepath.Join(real, name))
	if err != nil {
		return refuse("%w", err)
	}
	if inside, err := filepath.Rel(real, path); err != nil || !filepath.IsLocal(inside) {
		return refuse("it is outside of %s", binPath)
	}
	// What the customer named, and all that it leads through.
	policy := trust.Policy{Strict: []string{binPath, real}}
	if err := notToBeRun(policy.Check(filepath.Join(binPath, name))); err != nil {
		return refuse("%w", err)
	}
	return path, nil
}

// notToBeRun says what the error of a check means for a program.
func notToBeRun(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("it is not to be run: %w", err)
}
