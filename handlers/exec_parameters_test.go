//go:build linux

package handlers_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
)

func TestExecParameters(t *testing.T) {
	t.Parallel()
	h := builtin(t, "exec", handlers.Settings{
		"command": []any{"/usr/bin/printf", "[%s]", "--", "${s}", "x${s}y${n}", "${opt}", "--region=${opt}", "${b}", "$${s}", "${dashing}", "${e}"},
		"parameters": map[string]any{
			"s": map[string]any{"required": true, "pattern": "[a-z;$(){} '\"*-]*", "max_length": 20}, "n": map[string]any{"type": "integer", "default": 7},
			"opt": map[string]any{}, "b": map[string]any{"type": "boolean", "default": true}, "e": map[string]any{"enum": []any{"one", "two"}},
			"dashing": map[string]any{"allow_dash": true}, "f": map[string]any{"type": "number"},
		},
	})
	for payload, want := range map[string]string{
		`{"s": "a"}`: `[--][a][xay7][true][${s}]`,
		`{"s": "$(id) '*'; ${n}", "n": -3, "b": false}`:          `[--][$(id) '*'; ${n}][x$(id) '*'; ${n}y-3][false][${s}]`,
		`{"s": "", "opt": "o p", "dashing": "--all", "f": 1e-3}`: `[--][][xy7][o p][--region=o p][true][${s}][--all]`,
		`{"s": "a", "e": "two"}`:                                 `[--][a][xay7][true][${s}][two]`,
	} {
		out, err := handle(t, h, payload)
		var text string
		if uerr := json.Unmarshal([]byte(out), &text); err != nil || uerr != nil || text != want {
			t.Errorf("%s: got %s, %v; want %s", payload, text, err, want)
		}
	}
	for payload, want := range map[string]string{
		`null`:                           `the payload lacks the parameter "s"`,
		`[]`:                             `the payload is not an object of parameters`,
		`{"s": "a", "t": 1}`:             `the payload has "t", which is no parameter: there are b, dashing, e, f, n, opt, s`,
		`{"s": "a", "s": "b"}`:           `the payload has "s" twice`,
		`{"s": 5}`:                       `the parameter "s": it is 5: give text`,
		`{"s": null}`:                    `the parameter "s": it is null: give text`,
		`{"s": "A"}`:                     `the parameter "s": it is "A", which does not match`,
		`{"s": "a\nA"}`:                  `which does not match`,
		`{"s": "aaaaaaaaaaaaaaaaaaaaa"}`: `it has 21 characters: give at most 20`,
		`{"s": "a\u0000"}`:               `it holds a NUL`,
		`{"s": "-a"}`:                    `argument 3 of the program: the parameter "s" begins with "-"`,
		`{"s": "a", "opt": "-rf"}`:       `argument 5 of the program: the parameter "opt" begins with "-"`,
		`{"s": "a", "n": 1.5}`:           `the parameter "n": it is 1.5: give a whole number`,
		`{"s": "a", "n": "1"}`:           `the parameter "n": it is "1": give a number`,
		`{"s": "a", "b": "yes"}`:         `the parameter "b": it is "yes": give true or false`,
		`{"s": "a", "e": "three"}`:       `the parameter "e": it is three: give one of one, two`,
		`{"s": "a", "f": {}}`:            `the parameter "f": it is {}: give a number`,
		`{"s": "a"`:                      `the payload`,
	} {
		out, err := handle(t, h, payload)
		if err == nil || !strings.Contains(err.Error(), want) || !handlers.IsPermanent(err) || out != "" {
			t.Errorf("%s: got %s, %v; want %s", payload, out, err, want)
		}
	}
}

func TestExecRefusesSettings(t *testing.T) {
	t.Parallel()
	parameter := func(p map[string]any) handlers.Settings {
		return handlers.Settings{"command": "true", "parameters": map[string]any{"p": p}}
	}
	with := func(setting string, value any) handlers.Settings {
		return handlers.Settings{"command": "true", setting: value}
	}
	for want, settings := range map[string]handlers.Settings{
		`the setting "command" is missing`:                            nil,
		`"bin/x" is neither an absolute path nor a mere name`:         {"command": "bin/x"},
		`give a program, or a list of texts`:                          {"command": []any{"sleep", 5}},
		`argument 1: ${p} is no parameter, there are none`:            {"command": []any{"echo", "${p}"}},
		`argument 1: "${p" has ${ without }`:                          {"command": []any{"echo", "${p"}},
		`the program "${p}" is not to depend on a parameter`:          {"command": "${p}", "parameters": map[string]any{"p": map[string]any{}}},
		`argument 2 is a program of /bin/sh`:                          {"command": []any{"/bin/sh", "-c", "echo ${p}"}, "parameters": map[string]any{"p": map[string]any{}}},
		`argument 4 is a program of sudo`:                             {"command": []any{"sudo", "bash", "-e", "-xc", "echo ${p}"}, "parameters": map[string]any{"p": map[string]any{}}},
		`setting "parameters": "p": the type "text" is none of`:       parameter(map[string]any{"type": "text"}),
		`setting "parameters": "p": unknown setting "reqired"`:        parameter(map[string]any{"reqired": true}),
		`setting "parameters": "p": the pattern: error parsing`:       parameter(map[string]any{"pattern": "("}),
		`setting "parameters": "p": the default: it is "x", which`:    parameter(map[string]any{"pattern": "y", "default": "x"}),
		`setting "parameters": "p": the default: it is 1.5: give`:     parameter(map[string]any{"type": "integer", "default": 1.5}),
		`setting "parameters": "p": the enum: it is 1: give text`:     parameter(map[string]any{"enum": []any{1}}),
		`it has a default, so it cannot be required`:                  parameter(map[string]any{"default": "x", "required": true}),
		`setting "parameters": "a b": a name has letters`:             {"command": "true", "parameters": map[string]any{"a b": map[string]any{}}},
		`setting "stdin": "yes" is neither payload nor none`:          with("stdin", "yes"),
		`setting "result": "xml" is none of auto, json, text and`:     with("result", "xml"),
		`setting "log": "stdin" is neither stdout nor stderr`:         with("log", []any{"stdin"}),
		`setting "directory": "tmp" is no absolute path`:              with("directory", "tmp"),
		`setting "umask": 27 is no text: give an octal number`:        with("umask", 27),
		`setting "umask": "999" is not between "000" and "777"`:       with("umask", "999"),
		`setting "nice": 20 is not between -20 and 19`:                with("nice", 20),
		`setting "max_output": 10 is not between`:                     with("max_output", 10),
		`setting "stop_grace": 20s is not between 0s and 8s`:          with("stop_grace", 20),
		`unknown setting "limits.memori"`:                             with("limits", map[string]any{"memori": 1}),
		`setting "success_codes": 256 is no exit code`:                with("success_codes", []any{256}),
		`setting "reboot_command": it needs a reboot_code`:            with("reboot_command", "reboot"),
		`setting "environment": "A=B": it cannot be the name`:         with("environment", map[string]any{"A=B": "x"}),
		`setting "environment": "TASKER_X": the names with TASKER_`:   with("environment", map[string]any{"TASKER_X": "x"}),
		`setting "pass_environment": "TASKER_STORE_URI": the names`:   with("pass_environment", []any{"PATH", "TASKER_STORE_URI"}),
		`setting "environment": "A": ${p} is no parameter`:            with("environment", map[string]any{"A": "${p}"}),
		`unknown setting "nope": it has command, directory, environm`: with("nope", 1),
	} {
		_, err := handlers.Builtin().Make("exec", settings)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestExecDescribes(t *testing.T) {
	t.Parallel()
	h := builtin(t, "exec", handlers.Settings{
		"command": []any{"/bin/echo", "${s}"},
		"parameters": map[string]any{
			"s": map[string]any{"required": true, "pattern": "a<b", "description": "what to say"},
			"n": map[string]any{"type": "integer", "default": 7}, "e": map[string]any{"enum": []any{"one", "two"}},
		},
	})
	d := h.(handlers.Describer).Describe()
	want := `{"additionalProperties":false,"properties":{"e":{"enum":["one","two"],"maxLength":4096,"type":"string"},` +
		`"n":{"default":7,"type":"integer"},"s":{"description":"what to say","maxLength":4096,"pattern":"^(?:a<b)$","type":"string"}},` +
		`"required":["s"],"type":"object"}`
	if string(d.Schema) != want || string(d.Example) != `{"e":"one","n":7,"s":"s"}` {
		t.Errorf("got %s, %s", d.Schema, d.Example)
	}
	if !strings.Contains(d.Description, "/bin/echo") || !strings.HasSuffix(d.Usage, "an object with e, n, s.") {
		t.Errorf("got %+v", d)
	}
	if d := shell(t, "true", nil).(handlers.Describer).Describe(); d.Schema != nil || d.Example != nil {
		t.Errorf("without parameters: %+v", d)
	}
}

// TestExecKeepsParametersFromShells: what a shell runs as a program must not
// depend on a parameter, wherever in the command it is; its arguments may.
func TestExecKeepsParametersFromShells(t *testing.T) {
	t.Parallel()
	try := func(command ...any) error {
		_, err := handlers.NewExec(handlers.Settings{"command": command, "parameters": map[string]any{"p": map[string]any{"allow_dash": true}}})
		return err
	}
	const program = "echo ${p}"
	for _, command := range [][]any{
		{"sh", "-c", program},
		{"sh", "-ec", program},
		{"sh", "-c", "-e", program},
		{"sh", "-c", "--", program},
		{"sh", "-c", "-", program},
		{"sh", "-e", "-c", program, "x"},
		{"bash", "-o", "pipefail", "-c", program},
		{"bash", "-euo", "pipefail", "-c", program},
		{"bash", "-ceo", "pipefail", program},
		{"bash", "-O", "extglob", "+x", "-c", program},
		{"/bin/bash", "--norc", "--rcfile", "/dev/null", "-c", program},
		{"bash", "-${p}", "id"},
		{"env", "A=b", "mksh", "-c", program},
		{"timeout", "5", "/usr/bin/fish", "-c", program},
		{"su", "-", "app", "-c", program},
		{"runuser", "app", "--command=" + program},
		{"flock", "/run/x.lock", "-c", program},
	} {
		if err := try(command...); err == nil || !strings.Contains(err.Error(), "a parameter in it could be any command") {
			t.Errorf("%q: got %v", command, err)
		}
	}
	for _, command := range [][]any{
		{"sh", "-c", `echo "$1"`, "sh", "${p}"},
		{"bash", "-euo", "pipefail", "-c", `echo "$1"`, "sh", "${p}"},
		{"sh", "-c", "--", `echo "$1"`, "sh", "${p}"},
		{"sh", "/opt/program", "-c", "${p}"},
		{"sh", "--", "/opt/program", "${p}"},
		{"su", "-", "app", "-c", `echo "$1"`, "--", "sh", "${p}"},
		{"tar", "-c", "${p}"},
	} {
		if err := try(command...); err != nil {
			t.Errorf("%q: got %v", command, err)
		}
	}
}
