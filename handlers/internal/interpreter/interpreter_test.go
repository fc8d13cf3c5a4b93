package interpreter_test

import (
	"slices"
	"testing"

	"github.com/taskerhq/tasker/handlers/internal/interpreter"
)

const code = "echo ${p}"

func TestShellCode(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{
		{"sh", "-c", code},
		{"sh", "-ec", code},
		{"sh", "-c", "-e", code},
		{"sh", "-c", "--", code},
		{"sh", "-c", "-", code},
		{"sh", "-e", "-c", code, "x"},
		{"bash", "-o", "pipefail", "-c", code},
		{"bash", "-euo", "pipefail", "-c", code},
		{"bash", "-ceo", "pipefail", code},
		{"bash", "-O", "extglob", "+x", "-c", code},
		{"/bin/bash", "--norc", "--rcfile", "/dev/null", "-c", code},
		{"bash", "-${p}", "id"},
		{"env", "A=b", "mksh", "-c", code},
		{"timeout", "5", "/usr/bin/fish", "-c", code},
		{"su", "-", "app", "-c", code},
		{"runuser", "app", "--command=" + code},
		{"flock", "/run/x.lock", "-c", code},
	} {
		want := max(slices.Index(command, code), slices.Index(command, "-${p}"), slices.Index(command, "--command="+code))
		if got := interpreter.ShellCode(command); got != want {
			t.Errorf("%q: got %d, want %d", command, got, want)
		}
	}
	for _, command := range [][]string{
		{"sh", "-c", `echo "$1"`, "sh", "${p}"},
		{"bash", "-euo", "pipefail", "-c", `echo "$1"`, "sh", "${p}"},
		{"sh", "-c", "--", `echo "$1"`, "sh", "${p}"},
		{"sh", "/opt/program", "-c", "${p}"},
		{"sh", "--", "/opt/program", "${p}"},
		{"su", "-", "app", "-c", `echo "$1"`, "--", "sh", "${p}"},
		{"tar", "-c", "${p}"},
	} {
		if i := interpreter.ShellCode(command); i > 0 && command[i] != `echo "$1"` {
			t.Errorf("%q: got %d", command, i)
		}
	}
}

func TestExecutesStdin(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{
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
	} {
		if interpreter.ExecutesStdin(command) == "" {
			t.Errorf("%q: got false", command)
		}
	}
	for _, command := range [][]string{
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
	} {
		if name := interpreter.ExecutesStdin(command); name != "" {
			t.Errorf("%q: got %s", command, name)
		}
	}
}
