package proc

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/taskerhq/tasker/internal/x/trust"
)

// interpreters run the file that their first argument names. What follows their
// names, as the 3.12 of python3.12, is no part of them.
var interpreters = []string{
	"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "csh", "tcsh",
	"python", "perl", "ruby", "node", "php", "lua", "Rscript", "tclsh", "java",
}

// trusted returns an error if others than root, the caller and the program's
// own user could change the program, or the file that it interprets.
func (s *Spec) trusted(program string) error {
	var policy trust.Policy
	if uid, _, other, err := s.Owner(); err == nil && other {
		policy.Owners = []int{uid}
	}
	for _, path := range []string{program, s.script(program)} {
		if path == "" {
			continue
		}
		// What is missing, or cannot be looked at, does not start anyway.
		if wrong, ok := errors.AsType[*trust.Error](policy.Check(path)); ok {
			return cannot(wrong, "%s is not trusted: %v", path, wrong)
		}
	}
	return nil
}

// script returns the path of the file that an interpreter is told to run, or
// an empty one.
func (s *Spec) script(program string) string {
	name := strings.TrimRight(filepath.Base(program), "0123456789.-")
	if !slices.Contains(interpreters, name) {
		return ""
	}
	i := slices.IndexFunc(s.Args, func(arg string) bool { return !strings.HasPrefix(arg, "-") })
	if i < 0 {
		return ""
	}
	path := s.Args[i]
	if !filepath.IsAbs(path) {
		if s.Dir == "" {
			return ""
		}
		path = filepath.Join(s.Dir, path)
	}
	// The text of a program, after -c, is no file as a rule.
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}
