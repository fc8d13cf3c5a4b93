package interpreter

import (
	"path"
	"slices"
	"strings"
)

var (
	shells = []string{"sh", "bash", "rbash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "csh", "tcsh"}
	// shellValues are the long options of shells that take the next argument.
	shellValues = []string{"--rcfile", "--init-file"}
	// shellUsers have a shell execute what follows these options.
	shellUsers        = []string{"su", "runuser", "sg", "flock", "script"}
	shellUsersOptions = []string{"-c", "--command", "--session-command"}
)

// ShellCode returns the index of the argument that a shell would execute as code,
// as in "sh -c CODE", or 0.
func ShellCode(command []string) int {
	for i, word := range command {
		at := 0
		switch name := path.Base(word); {
		case slices.Contains(shells, name):
			at = codeOfShell(command, i+1)
		case slices.Contains(shellUsers, name):
			at = codeOfUser(command, i+1)
		}
		if at > 0 {
			return at
		}
	}
	return 0
}

// codeOfShell returns the index of the code among a shell's arguments, which begin
// at index at. The code is not what follows -c, but the first argument after it
// that is not an option.
func codeOfShell(command []string, at int) int {
	code := false
	for ; at < len(command); at++ {
		word := command[at]
		switch {
		case word == "-" || word == "--":
			if at+1 < len(command) && code {
				return at + 1
			}
			return 0
		case slices.Contains(shellValues, word):
			at++
		case strings.HasPrefix(word, "--"):
		case strings.HasPrefix(word, "-") || strings.HasPrefix(word, "+"):
			if strings.Contains(word, "${") {
				return at // could be any option, including -c
			}
			code = code || word[0] == '-' && strings.Contains(word, "c")
			at += strings.Count(word, "o") + strings.Count(word, "O") // -o pipefail
		case code:
			return at
		default:
			return 0
		}
	}
	return 0
}

// codeOfUser does the same for a program that calls a shell.
func codeOfUser(command []string, at int) int {
	for ; at < len(command); at++ {
		name, _, joined := strings.Cut(command[at], "=")
		switch {
		case !slices.Contains(shellUsersOptions, name):
		case joined:
			return at
		case at+1 < len(command):
			return at + 1
		}
	}
	return 0
}
