package interpreter_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers/internal/interpreter"
)

// TestShellCode: the code is the word with CODE, otherwise echo or nothing.
func TestShellCode(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"sh -c CODE", "sh -ec CODE", "sh -c -e CODE", "sh -c -- CODE", "sh -c - CODE", "sh -e -c CODE x",
		"bash -o pipefail -c CODE", "bash -euo pipefail -c CODE", "bash -ceo pipefail CODE",
		"bash -O extglob +x -c CODE", "/bin/bash --norc --rcfile /dev/null -c CODE", "bash -${CODE} id",
		"env A=b mksh -c CODE", "timeout 5 /usr/bin/fish -c CODE", "su - app -c CODE", "runuser app --command=CODE",
		"flock /run/x.lock -c CODE",
	} {
		command := strings.Fields(line)
		want := slices.IndexFunc(command, func(word string) bool { return strings.Contains(word, "CODE") })
		if got := interpreter.ShellCode(command); got != want {
			t.Errorf("%s: got %d, want %d", line, got, want)
		}
	}
	for _, line := range []string{
		"sh -c echo sh ${p}", "bash -euo pipefail -c echo sh ${p}", "sh -c -- echo sh ${p}",
		"sh /opt/program -c ${p}", "sh -- /opt/program ${p}", "su - app -c echo -- sh ${p}", "tar -c ${p}",
	} {
		command := strings.Fields(line)
		if i := interpreter.ShellCode(command); i > 0 && command[i] != "echo" {
			t.Errorf("%s: got %d", line, i)
		}
	}
}

func TestExecutesStdin(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		"bash -s", "bash", "/bin/sh", "sh -e", "sh -es a", "sh -", "sh --", "bash --norc", "bash --rcfile x",
		"bash -o pipefail", "sh /dev/stdin", "bash -x /proc/self/fd/0", "zsh", "fish", "python3", "python -",
		"python3.11 -u", "python3 -X dev", "python3 -Xdev", "pypy3 /dev/stdin", "perl", "perl -w -", "perl -Mre",
		"perl -I /lib", "ruby", "node -", "node -r x", "php", "php -d x=1", "lua -", "tclsh", "env A=b bash -s",
		"sudo -u op bash", "timeout 5 sh", "nice -n 5 python3", "busybox sh", "ssh host bash -s", "su op",
		"chroot /srv sh",
	} {
		if interpreter.ExecutesStdin(strings.Fields(command)) == "" {
			t.Errorf("%s: got false", command)
		}
	}
	for _, command := range []string{
		"bash x.sh", "sh -e x.sh -s", "sh -c cat", "bash -euo pipefail -c cat", "bash --rcfile x y", "sh -- x",
		"python3 x.py", "python3 -m json.tool", "python3 -c pass", "python3 -uc pass", "python3 -X dev x.py",
		"perl -ne print", "perl -MJSON -e 1", "ruby -rjson -e 1", "node --eval=1", "node x.js", "php -r 1;",
		"lua x.lua", "env python3 x.py", "sudo /opt/x bash", "pkill bash", "rsync bash", "su op -c cat", "jq .",
		"cat",
	} {
		if name := interpreter.ExecutesStdin(strings.Fields(command)); name != "" {
			t.Errorf("%s: got %s", command, name)
		}
	}
}
