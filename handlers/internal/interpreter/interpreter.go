// Package interpreter tells what part of a command is code: the argument that a
// shell executes, and the standard input of an interpreter without a script. It
// knows common shells and interpreters, and programs that start them.
package interpreter

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// interpreter describes how a program that can read code from its standard input
// is told to read it from elsewhere.
type interpreter struct {
	name *regexp.Regexp
	// code are the option letters that give the code, or its place.
	code string
	// attached are the letters that take the rest of their word as a value, and
	// separate those that take the next word if nothing is left.
	attached, separate string
	// stdin are the letters that make it read the standard input all the same.
	stdin string
	// long are the long options that give the code, and longValues those that
	// take the next word.
	long, longValues []string
}

var interpreters = []interpreter{
	{
		name: regexp.MustCompile(`^(ba|rba|da|a|k|mk|z|fi|c|tc)?sh$`),
		code: "c", stdin: "s", separate: "oO",
		long: []string{"--command", "--version", "--help"}, longValues: shellValues,
	},
	{
		name: regexp.MustCompile(`^(python|pypy)[0-9.]*$`),
		code: "cmVh", attached: "WX", separate: "WX",
		long: []string{"--version", "--help"}, longValues: []string{"--check-hash-based-pycs"},
	},
	{name: regexp.MustCompile(`^perl[0-9.]*$`), code: "eEv", attached: "MmIiFxDCdV0l", separate: "I"},
	{
		name: regexp.MustCompile(`^(ruby|jruby)[0-9.]*$`),
		code: "evh", attached: "IrCEFKTWx0", separate: "IrCE", long: []string{"--version", "--help"},
	},
	{
		name: regexp.MustCompile(`^(node|nodejs)$`), code: "epvh", separate: "r",
		long: []string{"--eval", "--print", "--version", "--help", "--test"}, longValues: []string{"--require", "--import", "--loader"},
	},
	{
		name: regexp.MustCompile(`^php[0-9.]*$`),
		code: "rfBRFEivhm", attached: "d", separate: "dc", long: []string{"--run", "--file", "--version", "--help"},
	},
	{name: regexp.MustCompile(`^lua(jit)?[0-9.]*$`), code: "ev", separate: "l"},
	{name: regexp.MustCompile(`^(tclsh|wish|expect|guile|gosh|irb|ghci|iex|erl)[0-9.]*$`), code: "ces"},
}

// wrappers execute the program that their arguments name.
var wrappers = []string{
	"env", "sudo", "doas", "nice", "ionice", "chrt", "taskset", "timeout", "nohup", "setsid", "stdbuf", "chroot",
	"unshare", "nsenter", "setpriv", "busybox", "time", "strace", "prlimit", "systemd-run", "ssh", "dbus-run-session",
}

// stdinFiles are names of the standard input.
var stdinFiles = []string{"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}

// ExecutesStdin returns the name of the interpreter that would execute its
// standard input, as "bash -s" and "python3 -" do, or an empty string. It cannot
// know what a script does with its input.
func ExecutesStdin(command []string) string {
	for i, word := range command {
		name := path.Base(word)
		if i > 0 && !slices.Contains(wrappers, path.Base(command[0])) {
			break
		}
		for _, one := range interpreters {
			if one.name.MatchString(name) {
				if one.fromStdin(command[i+1:]) {
					return name
				}
				return ""
			}
		}
		if (name == "su" || name == "runuser") && codeOfUser(command, i+1) == 0 {
			return name
		}
		if i > 0 && path.IsAbs(word) && path.Base(command[0]) != "chroot" && !slices.Contains(wrappers, name) {
			break // the wrapped program: the rest is for it
		}
	}
	return ""
}

// fromStdin reports whether the interpreter reads its code from the standard
// input.
func (p *interpreter) fromStdin(args []string) bool {
	for i := 0; i < len(args); i++ {
		word := args[i]
		switch {
		case slices.Contains(stdinFiles, word):
			return true
		case word == "--":
			return i+1 == len(args) || slices.Contains(stdinFiles, args[i+1])
		case strings.HasPrefix(word, "--"):
			name, _, joined := strings.Cut(word, "=")
			if slices.Contains(p.long, name) {
				return false
			}
			if !joined && slices.Contains(p.longValues, name) {
				i++
			}
		case strings.HasPrefix(word, "-") || strings.HasPrefix(word, "+"):
			end, found, next := p.letters(word[1:])
			if found {
				return end
			}
			if next {
				i++
			}
		default:
			return false // a script
		}
	}
	return true
}

// letters reads a word of option letters. found reports whether it determines where
// the code is, stdin whether that is the standard input, and next whether the
// next word is a value.
func (p *interpreter) letters(word string) (stdin, found, next bool) {
	for i, letter := range word {
		one := string(letter)
		switch {
		case strings.Contains(p.stdin, one):
			stdin, found = true, !strings.ContainsAny(word, p.code)
			return stdin && found, true, false
		case strings.Contains(p.code, one):
			return false, true, false
		case strings.Contains(p.attached, one):
			return false, false, i+1 == len(word) && strings.Contains(p.separate, one)
		case strings.Contains(p.separate, one):
			return false, false, true
		}
	}
	return false, false, false
}
