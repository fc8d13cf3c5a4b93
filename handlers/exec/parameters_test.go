//go:build linux

package exec_test

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/exec"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
	"github.com/taskerhq/tasker/internal/schema"
)

func TestParameters(t *testing.T) {
	t.Parallel()
	h := handlertest.Make(t, exec.New, handlers.Settings{
		"command": []any{
			"/usr/bin/printf", "[%s]", "--", "${s}", "x${s}y${n}", "${opt}", "--region=${opt}", "${b}", "$${s}",
			"${dashing}", "${e}",
		},
		"parameters": map[string]any{
			"s": map[string]any{"required": true, "pattern": "[a-z;$(){} '\"*-]*", "max_length": 20}, "n": map[string]any{
				"type":    "integer",
				"default": 7,
			},
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
		out, err := handlertest.Handle(t, h, payload)
		var text string
		if uerr := json.Unmarshal([]byte(out), &text); err != nil || uerr != nil || text != want {
			t.Errorf("%s: got %s, %v; want %s", payload, text, err, want)
		}
	}
	for payload, want := range map[string]string{
		`null`:                           `missing parameter "s"`,
		`[]`:                             `invalid payload: must be an object of parameters`,
		`{"s": "a", "t": 1}`:             `unknown parameter "t": the parameters are b, dashing, e, f, n, opt, s`,
		`{"s": "a", "s": "b"}`:           `duplicate parameter "s"`,
		`{"s": 5}`:                       `parameter "s": must be a string, got 5`,
		`{"s": null}`:                    `parameter "s": must be a string, got null`,
		`{"s": "A"}`:                     `parameter "s": "A" does not match`,
		`{"s": "a\nA"}`:                  `"a\nA" does not match`,
		`{"s": "aaaaaaaaaaaaaaaaaaaaa"}`: `must have at most 20 characters, got 21`,
		`{"s": "a\u0000"}`:               `contains NUL`,
		`{"s": "-a"}`:                    `parameter "s": begins with "-"`,
		`{"s": "a", "opt": "-rf"}`:       `parameter "opt": begins with "-"`,
		`{"s": "a", "n": 1.5}`:           `parameter "n": must be an integer, got 1.5`,
		`{"s": "a", "n": "1"}`:           `parameter "n": must be a number, got "1"`,
		`{"s": "a", "b": "yes"}`:         `parameter "b": must be true or false, got "yes"`,
		`{"s": "a", "e": "three"}`:       `parameter "e": must be one of one, two, got three`,
		`{"s": "a", "f": {}}`:            `parameter "f": must be a number, got {}`,
		`{"s": "a"`:                      `invalid payload`,
	} {
		out, err := handlertest.Handle(t, h, payload)
		if err == nil || !strings.Contains(err.Error(), want) || !handlers.IsPermanent(err) || out != "" {
			t.Errorf("%s: got %s, %v; want %s", payload, out, err, want)
		}
	}
}

func TestRefusesParameters(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	p := func(parameter object) handlers.Settings {
		return handlers.Settings{"command": "true", "parameters": object{"p": parameter}}
	}
	command := func(p object, words ...any) handlers.Settings {
		return handlers.Settings{"command": words, "parameters": object{"p": p}}
	}
	handlertest.Refuses(t, exec.New, map[string]handlers.Settings{
		`argument 1: unknown parameter ${q}: the parameters are p`:      command(nil, "echo", "${q}"),
		`argument 1: missing } after "${p"`:                             command(nil, "echo", "${p"),
		`invalid program "${p}": must not contain a parameter`:          command(nil, "${p}"),
		`argument 2 is code that /bin/sh executes`:                      command(nil, "/bin/sh", "-c", "echo ${p}"),
		`argument 4 is code that sudo executes`:                         command(nil, "sudo", "bash", "-e", "-xc", "echo ${p}"),
		`argument 1: the default of parameter "p" begins with "-"`:      command(object{"type": "integer", "default": -5}, "echo", "${p}"),
		`setting "parameters": "p": type must be string, in`:            p(object{"type": "text"}),
		`setting "parameters": "p": unknown setting "reqired"`:          p(object{"reqired": true}),
		`"p": invalid pattern: error parsing regexp: missing closing )`: p(object{"pattern": "("}),
		`"p": invalid pattern: error parsing regexp: unexpected )`:      p(object{"pattern": "a)|(.*"}),
		`"p": invalid default: "x" does not match`:                      p(object{"pattern": "y", "default": "x"}),
		`"p": invalid default: must be an integer, got 1.5`:             p(object{"type": "integer", "default": 1.5}),
		`"p": invalid enum: must be a string, got 1`:                    p(object{"enum": []any{1}}),
		`a required parameter cannot have a default`:                    p(object{"default": "x", "required": true}),
		`setting "parameters": "a b": invalid name`:                     {"command": "true", "parameters": object{"a b": nil}},
	})
}

func TestRefusesSettings(t *testing.T) {
	t.Parallel()
	with := func(setting string, value any) handlers.Settings {
		return handlers.Settings{"command": "true", setting: value}
	}
	environment := with("environment", map[string]any{"A": "x"})
	environment["environment_file"] = map[string]any{"A": "/b"}
	handlertest.Refuses(t, exec.New, map[string]handlers.Settings{
		`setting "command" is required`:                                   nil,
		`invalid program "bin/x": must be an absolute path, or`:           {"command": "bin/x"},
		`must be a program, or a list of strings`:                         {"command": []any{"sleep", 5}},
		`argument 1: unknown parameter ${p}: declare it under parameters`: {"command": []any{"echo", "${p}"}},
		`setting "stderr": must be ignore, warn or failure, got "fail"`:   with("stderr", "fail"),
		`setting "stdin": must be payload or none, got "yes"`:             with("stdin", "yes"),
		`setting "result": must be auto, json, text or none, got "xml"`:   with("result", "xml"),
		`setting "log": must be stdout or stderr, got "stdin"`:            with("log", []any{"stdin"}),
		`setting "directory": must be an absolute path, got "tmp"`:        with("directory", "tmp"),
		`setting "umask": must be an octal number in quotes`:              with("umask", 27),
		`"umask": must be an octal number from "000" to "777", got "999"`: with("umask", "999"),
		`setting "nice": must be -20 to 19, got 20`:                       with("nice", 20),
		`setting "max_output": must be 1024 to 67108864 bytes, got 10`:    with("max_output", 10),
		`"stop_grace": must be more than 0s and at most 8s, got 20s`:      with("stop_grace", 20),
		`unknown setting "limits.memori"`:                                 with("limits", map[string]any{"memori": 1}),
		`"success_codes": an exit code must be 0 to 255, got 256`:         with("success_codes", []any{256}),
		`setting "reboot_command": needs reboot_code`:                     with("reboot_command", "reboot"),
		`setting "environment": "A=B": invalid name of a variable`:        with("environment", map[string]any{"A=B": "x"}),
		`"environment": "TASKER_X": names that begin with TASKER_ are`:    with("environment", map[string]any{"TASKER_X": "x"}),
		`"pass_environment": "TASKER_STORE_URI": names that begin`:        with("pass_environment", []any{"PATH", "TASKER_STORE_URI"}),
		`setting "environment": "A": unknown parameter ${p}`:              with("environment", map[string]any{"A": "${p}"}),
		`unknown setting "nope": the settings are command, directory, en`: with("nope", 1),
		`"environment_file": "A": must be an absolute path, got "b"`:      with("environment_file", map[string]any{"A": "b"}),
		`"environment_file": "TASKER_A": names that begin with TASKER_`:   with("environment_file", map[string]any{"TASKER_A": "/b"}),
		`"environment_file": "A" is set in "environment" as well`:         environment,
	})
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	h := handlertest.Make(t, exec.New, handlers.Settings{
		"command": []any{"/bin/echo", "${s}"},
		"parameters": map[string]any{
			"s": map[string]any{"required": true, "pattern": "a<b", "description": "what to say"},
			"n": map[string]any{"type": "integer", "default": 7}, "e": map[string]any{"enum": []any{"one", "two"}},
		},
	})
	d := h.(handlers.Describer).Describe()
	want := `{"additionalProperties":false,"properties":{` +
		`"e":{"enum":["one","two"],"maxLength":4096,"pattern":"^[^\\x00]*$","type":"string"},` +
		`"n":{"default":7,"maximum":18446744073709551615,"minimum":-9223372036854775808,"type":"integer"},` +
		`"s":{"allOf":[{"pattern":"^(?:a<b)$"}],"description":"what to say","maxLength":4096,` +
		`"pattern":"^(?:[^\\x00-][^\\x00]*)?$","type":"string"}},` +
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

// TestKeepsParametersFromShells: what a shell executes must not depend on a parameter;
// package interpreter knows what that is.
func TestKeepsParametersFromShells(t *testing.T) {
	t.Parallel()
	parameters := map[string]any{"p": map[string]any{"allow_dash": true}}
	handlertest.Refuses(t, exec.New, map[string]handlers.Settings{
		"a parameter in it could be any command": {"command": []any{"env", "A=b", "sh", "-ec", "echo ${p}"}, "parameters": parameters},
	})
	handlertest.Make(t, exec.New, handlers.Settings{"command": []any{"sh", "-c", `echo "$1"`, "sh", "${p}"}, "parameters": parameters})
}

// TestRefusesToExecuteThePayload: neither by the configuration, nor because the payload
// omits the script or names the standard input.
func TestRefusesToExecuteThePayload(t *testing.T) {
	t.Parallel()
	handlertest.Refuses(t, exec.New,
		map[string]handlers.Settings{"bash would execute its standard input, which is the payload": {"command": []any{"bash", "-s"}}})
	handlertest.Make(t, exec.New, handlers.Settings{"command": []any{"bash", "-s"}, "stdin": "none"})
	h := handlertest.Make(t, exec.New, handlers.Settings{"command": []any{"sh", "${p}"}, "parameters": map[string]any{"p": map[string]any{}}})
	for _, payload := range []string{`{}`, `{"p":"/dev/stdin"}`} {
		if out, err := handlertest.Handle(t, h, payload); err == nil || !handlers.IsPermanent(err) || !strings.Contains(err.Error(),
			"would execute its standard input") {
			t.Errorf("%s: got %s, %v", payload, out, err)
		}
	}
}

// TestNumbers: what is an integer to JSON Schema is one here, and reaches the program
// as its digits.
func TestNumbers(t *testing.T) {
	t.Parallel()
	h := handlertest.Make(t, exec.New, handlers.Settings{
		"command": []any{"/usr/bin/printf", "%s %s", "i=${i}", "n=${n}"},
		"parameters": map[string]any{
			"i": map[string]any{"type": "integer", "default": 0}, "n": map[string]any{"type": "number", "default": 0},
			"e": map[string]any{"type": "number", "enum": []any{0.5}},
		},
	})
	long := strings.Repeat("7", 72)
	for payload, want := range map[string]string{
		`{"i":1.0}`: "i=1", `{"i":-5}`: "i=-5", `{"i":1e3}`: "i=1000", `{"i":-1.50E1}`: "i=-15", `{"i":0.0e-99999999999999999999}`: "i=0",
		`{"i":-0}`:                   "i=0",
		`{"i":18446744073709551615}`: "i=18446744073709551615", `{"i":-9223372036854775808}`: "i=-9223372036854775808", `{"i":1200e-2}`: "i=12",
		`{"i":18446744073709551616}`: "!must be an integer from -9223372036854775808 to 18446744073709551615",
		`{"i":-9223372036854775809}`: "!must be an integer from", `{"i":` + long + `}`: "!must be an integer from",
		`{"i":1e999999999999}`: "!must be a 64-bit integer", `{"i":1e300}`: "!must be an integer from",
		`{"i":1.05e1}`: "!must be an integer, got", `{"i":1e-1}`: "!must be an integer, got",
		`{"n":` + long + `}`: "n=7.777777777777777e+71", `{"n":1e-3}`: "n=1e-3", `{"n":-0.0}`: "n=0.0",
		`{"n":1e400}`: "!must be a number from -1.79",
		`{"e":5e-1}`:  "i=0", `{"e":0.25}`: "!must be one of 0.5",
	} {
		out, err := handlertest.Handle(t, h, payload)
		if wrong, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), wrong) || !handlers.IsPermanent(err) {
				t.Errorf("%s: got %s, %v; want %s", payload, out, err, wrong)
			}
		} else if err != nil || !strings.Contains(out+" ", want+" ") && !strings.Contains(out, want+`"`) {
			t.Errorf("%s: got %s, %v; want %s", payload, out, err, want)
		}
	}
}

// TestSchemaRefusesWhatTheHandlerRefuses: a payload that only the schema accepts would
// fail at each endpoint.
func TestSchemaRefusesWhatTheHandlerRefuses(t *testing.T) {
	t.Parallel()
	parameter := func(kind string, more map[string]any) map[string]any {
		p := map[string]any{"type": kind}
		maps.Copy(p, more)
		return p
	}
	h := handlertest.Make(t, exec.New, handlers.Settings{
		"command": []any{"/bin/true", "${a}${b}", "x${c}", "${d}", "${e}", "--f=${f}", "${g}", "${h}"},
		"parameters": map[string]any{
			"a": parameter("string", nil), "b": parameter("integer", nil), "c": parameter("string", map[string]any{
				"pattern":    "a*|-.",
				"max_length": 2,
			}),
			"d": parameter("number", nil), "e": parameter("integer", map[string]any{"allow_dash": true}), "f": parameter("number", nil),
			"g": parameter("number", map[string]any{"enum": []any{0.5, 100, -1}}), "h": parameter("string",
				map[string]any{"enum": []any{"x", "-y"}}),
		},
	})
	compiled, err := schema.Compile(h.(handlers.Describer).Describe().Schema)
	if err != nil {
		t.Fatal(err)
	}
	values := rapid.SampledFrom([]string{
		`""`, `"a"`, `"-"`, `"-a"`, `"x"`, `"-y"`, `"a\u0000"`, `"aaa"`, `"\ud800"`, `"\n"`, `null`, `true`, `[]`, `0`, `-0`, `-0.0`,
		`1.0`, `-5`, `-1`, `0.5`, `5e-1`, `1e2`, `1e19`, `1e20`, `1.5`,
		`1e308`, `1e309`, `-1e309`, `1e-999999999`, strings.Repeat("9", 72), "0." + strings.Repeat("3", 72), "1." + strings.Repeat("0",
			72), `-18446744073709551615`, `18446744073709551615`,
	})
	refused := 0
	rapid.Check(t, func(t *rapid.T) {
		var members []string
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(strings.Split("abcdefgh", "")), 0, 3, rapid.ID[string]).Draw(t, "names") {
			members = append(members, `"`+name+`":`+values.Draw(t, "value"))
		}
		payload := json.RawMessage("{" + strings.Join(members, ",") + "}")
		if compiled.Validate(payload) != nil {
			refused++
			return
		}
		if _, err := h.Handle(context.Background(), handlertest.NewRecorder().Request(string(payload))); err != nil {
			t.Errorf("%s: the schema accepts it, but the handler does not: %v", payload, err)
		}
	})
	if refused == 0 {
		t.Error("the schema refuses nothing")
	}
}
