//go:build linux

package handlers_test

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
	"github.com/taskerhq/tasker/internal/schema"
)

func TestExecParameters(t *testing.T) {
	t.Parallel()
	h := newHandler(t, "exec", handlers.Settings{
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
		`{"s": "-a"}`:                    `the parameter "s": it begins with "-"`,
		`{"s": "a", "opt": "-rf"}`:       `the parameter "opt": it begins with "-"`,
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
		`the setting "command" is missing`:                                           nil,
		`"bin/x" is neither an absolute path nor a mere name`:                        {"command": "bin/x"},
		`give a program, or a list of texts`:                                         {"command": []any{"sleep", 5}},
		`argument 1: ${p} is no parameter, there are none`:                           {"command": []any{"echo", "${p}"}},
		`argument 1: "${p" has ${ without }`:                                         {"command": []any{"echo", "${p"}},
		`the program "${p}" is not to depend on a parameter`:                         {"command": "${p}", "parameters": map[string]any{"p": map[string]any{}}},
		`argument 2 is a program of /bin/sh`:                                         {"command": []any{"/bin/sh", "-c", "echo ${p}"}, "parameters": map[string]any{"p": map[string]any{}}},
		`argument 4 is a program of sudo`:                                            {"command": []any{"sudo", "bash", "-e", "-xc", "echo ${p}"}, "parameters": map[string]any{"p": map[string]any{}}},
		`setting "parameters": "p": the type "text" is none of`:                      parameter(map[string]any{"type": "text"}),
		`setting "parameters": "p": unknown setting "reqired"`:                       parameter(map[string]any{"reqired": true}),
		`setting "parameters": "p": the pattern: error parsing`:                      parameter(map[string]any{"pattern": "("}),
		`setting "parameters": "p": the pattern: error parsing regexp: unexpected )`: parameter(map[string]any{"pattern": "a)|(.*"}),
		`argument 1: the default of p begins with "-"`:                               {"command": []any{"echo", "${p}"}, "parameters": map[string]any{"p": map[string]any{"type": "integer", "default": -5}}},
		`setting "stderr": "fail" is none of ignore, warn and fai`:                   with("stderr", "fail"),
		`setting "parameters": "p": the default: it is "x", which`:                   parameter(map[string]any{"pattern": "y", "default": "x"}),
		`setting "parameters": "p": the default: it is 1.5: give`:                    parameter(map[string]any{"type": "integer", "default": 1.5}),
		`setting "parameters": "p": the enum: it is 1: give text`:                    parameter(map[string]any{"enum": []any{1}}),
		`it has a default, so it cannot be required`:                                 parameter(map[string]any{"default": "x", "required": true}),
		`setting "parameters": "a b": a name has letters`:                            {"command": "true", "parameters": map[string]any{"a b": map[string]any{}}},
		`setting "stdin": "yes" is neither payload nor none`:                         with("stdin", "yes"),
		`setting "result": "xml" is none of auto, json, text and`:                    with("result", "xml"),
		`setting "log": "stdin" is neither stdout nor stderr`:                        with("log", []any{"stdin"}),
		`setting "directory": "tmp" is no absolute path`:                             with("directory", "tmp"),
		`setting "umask": 27 is no text: give an octal number`:                       with("umask", 27),
		`setting "umask": "999" is not between "000" and "777"`:                      with("umask", "999"),
		`setting "nice": 20 is not between -20 and 19`:                               with("nice", 20),
		`setting "max_output": 10 is not between`:                                    with("max_output", 10),
		`setting "stop_grace": 20s is not between 0s and 8s`:                         with("stop_grace", 20),
		`unknown setting "limits.memori"`:                                            with("limits", map[string]any{"memori": 1}),
		`setting "success_codes": 256 is no exit code`:                               with("success_codes", []any{256}),
		`setting "reboot_command": it needs a reboot_code`:                           with("reboot_command", "reboot"),
		`setting "environment": "A=B": it cannot be the name`:                        with("environment", map[string]any{"A=B": "x"}),
		`setting "environment": "TASKER_X": the names with TASKER_`:                  with("environment", map[string]any{"TASKER_X": "x"}),
		`setting "pass_environment": "TASKER_STORE_URI": the names`:                  with("pass_environment", []any{"PATH", "TASKER_STORE_URI"}),
		`setting "environment": "A": ${p} is no parameter`:                           with("environment", map[string]any{"A": "${p}"}),
		`unknown setting "nope": it has command, directory, environm`:                with("nope", 1),
	} {
		_, err := builtin.Catalog().Make("exec", settings)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestExecDescribes(t *testing.T) {
	t.Parallel()
	h := newHandler(t, "exec", handlers.Settings{
		"command": []any{"/bin/echo", "${s}"},
		"parameters": map[string]any{
			"s": map[string]any{"required": true, "pattern": "a<b", "description": "what to say"},
			"n": map[string]any{"type": "integer", "default": 7}, "e": map[string]any{"enum": []any{"one", "two"}},
		},
	})
	d := h.(handlers.Describer).Describe()
	want := `{"additionalProperties":false,"properties":{"e":{"enum":["one","two"],"maxLength":4096,"pattern":"^[^\\x00]*$","type":"string"},` +
		`"n":{"default":7,"maximum":18446744073709551615,"minimum":-9223372036854775808,"type":"integer"},` +
		`"s":{"allOf":[{"pattern":"^(?:a<b)$"}],"description":"what to say","maxLength":4096,"pattern":"^(?:[^\\x00-][^\\x00]*)?$","type":"string"}},` +
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

// TestExecRefusesProgramsOnStdin: an interpreter without a script runs what it
// reads, which is the payload.
func TestExecRefusesProgramsOnStdin(t *testing.T) {
	t.Parallel()
	type commands = [][]any
	for _, command := range (commands{
		{"bash", "-s"},
		{"bash"},
		{"/bin/sh"},
		{"sh", "-e"},
		{"sh", "-es", "a"},
		{"sh", "-"},
		{"sh", "--"},
		{"bash", "--norc"},
		{"bash", "--rcfile", "x"},
		{"bash", "-o", "pipefail"},
		{"sh", "/dev/stdin"},
		{"bash", "-x", "/proc/self/fd/0"},
		{"zsh"},
		{"fish"},
		{"python3"},
		{"python", "-"},
		{"python3.11", "-u"},
		{"python3", "-X", "dev"},
		{"python3", "-Xdev"},
		{"pypy3", "/dev/stdin"},
		{"perl"},
		{"perl", "-w", "-"},
		{"perl", "-Mre"},
		{"perl", "-I", "/lib"},
		{"ruby"},
		{"node", "-"},
		{"node", "-r", "x"},
		{"php"},
		{"php", "-d", "x=1"},
		{"lua", "-"},
		{"tclsh"},
		{"env", "A=b", "bash", "-s"},
		{"sudo", "-u", "op", "bash"},
		{"timeout", "5", "sh"},
		{"nice", "-n", "5", "python3"},
		{"busybox", "sh"},
		{"ssh", "host", "bash", "-s"},
		{"su", "op"},
		{"chroot", "/srv", "sh"},
	}) {
		for handler, text := range map[string]string{"exec": "which is the payload, as a program", "service": "which is the requests, as a program"} {
			_, err := builtin.Catalog().Make(handler, handlers.Settings{"command": command})
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v: got %v", handler, command, err)
			}
		}
		if _, err := builtin.Catalog().Make("exec", handlers.Settings{"command": command, "stdin": "none"}); err != nil {
			t.Errorf("%v without stdin: %v", command, err)
		}
	}
	for _, command := range (commands{
		{"bash", "x.sh"},
		{"sh", "-e", "x.sh", "-s"},
		{"sh", "-c", "cat"},
		{"bash", "-euo", "pipefail", "-c", "cat"},
		{"bash", "--rcfile", "x", "y"},
		{"sh", "--", "x"},
		{"python3", "x.py"},
		{"python3", "-m", "json.tool"},
		{"python3", "-c", "pass"},
		{"python3", "-uc", "pass"},
		{"python3", "-X", "dev", "x.py"},
		{"perl", "-ne", "print"},
		{"perl", "-MJSON", "-e", "1"},
		{"ruby", "-rjson", "-e", "1"},
		{"node", "--eval=1"},
		{"node", "x.js"},
		{"php", "-r", "1;"},
		{"lua", "x.lua"},
		{"env", "python3", "x.py"},
		{"sudo", "/opt/x", "bash"},
		{"pkill", "bash"},
		{"rsync", "bash"},
		{"su", "op", "-c", "cat"},
		{"jq", "."},
		{"cat"},
	}) {
		if _, err := builtin.Catalog().Make("exec", handlers.Settings{"command": command}); err != nil {
			t.Errorf("%v: %v", command, err)
		}
	}
	// The script is an argument that the payload leaves out, or names.
	h := newHandler(t, "exec", handlers.Settings{"command": []any{"sh", "${p}"}, "parameters": map[string]any{"p": map[string]any{}}})
	for _, payload := range []string{`{}`, `{"p":"/dev/stdin"}`} {
		if out, err := handle(t, h, payload); err == nil || !handlers.IsPermanent(err) || !strings.Contains(err.Error(), "as a program") {
			t.Errorf("%s: got %s, %v", payload, out, err)
		}
	}
}

// TestExecNumbers: what JSON Schema takes for an integer is one, and reaches the
// program as its digits.
func TestExecNumbers(t *testing.T) {
	t.Parallel()
	h := newHandler(t, "exec", handlers.Settings{
		"command": []any{"/usr/bin/printf", "%s %s", "i=${i}", "n=${n}"},
		"parameters": map[string]any{
			"i": map[string]any{"type": "integer", "default": 0}, "n": map[string]any{"type": "number", "default": 0},
			"e": map[string]any{"type": "number", "enum": []any{0.5}},
		},
	})
	long := strings.Repeat("7", 72)
	for payload, want := range map[string]string{
		`{"i":1.0}`: "i=1", `{"i":-5}`: "i=-5", `{"i":1e3}`: "i=1000", `{"i":-1.50E1}`: "i=-15", `{"i":0.0e-99999999999999999999}`: "i=0", `{"i":-0}`: "i=0",
		`{"i":18446744073709551615}`: "i=18446744073709551615", `{"i":-9223372036854775808}`: "i=-9223372036854775808", `{"i":1200e-2}`: "i=12",
		`{"i":18446744073709551616}`: "!does not fit into 64 bits", `{"i":-9223372036854775809}`: "!does not fit", `{"i":` + long + `}`: "!does not fit",
		`{"i":1e999999999999}`: "!at most 64 bits", `{"i":1e300}`: "!does not fit", `{"i":1.05e1}`: "!give a whole number", `{"i":1e-1}`: "!give a whole number",
		`{"n":` + long + `}`: "n=7.777777777777777e+71", `{"n":1e-3}`: "n=1e-3", `{"n":-0.0}`: "n=0.0", `{"n":1e400}`: "!it is too great",
		`{"e":5e-1}`: "i=0", `{"e":0.25}`: "!give one of 0.5",
	} {
		out, err := handle(t, h, payload)
		if wrong, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), wrong) || !handlers.IsPermanent(err) {
				t.Errorf("%s: got %s, %v; want %s", payload, out, err, wrong)
			}
		} else if err != nil || !strings.Contains(out+" ", want+" ") && !strings.Contains(out, want+`"`) {
			t.Errorf("%s: got %s, %v; want %s", payload, out, err, want)
		}
	}
}

// TestExecSchemaRefusesWhatItRefuses: a payload that the schema takes is one that
// the handler takes, or it would fail at each endpoint.
func TestExecSchemaRefusesWhatItRefuses(t *testing.T) {
	t.Parallel()
	parameter := func(kind string, more map[string]any) map[string]any {
		p := map[string]any{"type": kind}
		maps.Copy(p, more)
		return p
	}
	h := newHandler(t, "exec", handlers.Settings{
		"command": []any{"/bin/true", "${a}${b}", "x${c}", "${d}", "${e}", "--f=${f}", "${g}", "${h}"},
		"parameters": map[string]any{
			"a": parameter("string", nil), "b": parameter("integer", nil), "c": parameter("string", map[string]any{"pattern": "a*|-.", "max_length": 2}),
			"d": parameter("number", nil), "e": parameter("integer", map[string]any{"allow_dash": true}), "f": parameter("number", nil),
			"g": parameter("number", map[string]any{"enum": []any{0.5, 100, -1}}), "h": parameter("string", map[string]any{"enum": []any{"x", "-y"}}),
		},
	})
	compiled, err := schema.Compile(h.(handlers.Describer).Describe().Schema)
	if err != nil {
		t.Fatal(err)
	}
	values := rapid.SampledFrom([]string{
		`""`, `"a"`, `"-"`, `"-a"`, `"x"`, `"-y"`, `"a\u0000"`, `"aaa"`, `"\ud800"`, `"\n"`, `null`, `true`, `[]`, `0`, `-0`, `-0.0`, `1.0`, `-5`, `-1`, `0.5`, `5e-1`, `1e2`, `1e19`, `1e20`, `1.5`,
		`1e308`, `1e309`, `-1e309`, `1e-999999999`, strings.Repeat("9", 72), "0." + strings.Repeat("3", 72), "1." + strings.Repeat("0", 72), `-18446744073709551615`, `18446744073709551615`,
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
		if _, err := h.Handle(context.Background(), (&teller{}).request(string(payload))); err != nil {
			t.Errorf("%s: the schema takes it, and the handler does not: %v", payload, err)
		}
	})
	if refused == 0 {
		t.Error("the schema refuses nothing")
	}
}
