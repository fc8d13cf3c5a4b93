package proc

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/taskerhq/tasker/internal/x/trust"
)

// interpreters execute the file that their first argument names. Names may be followed by
// a version, as in python3.12.
var interpreters = []string{
	"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "csh", "tcsh",
	"python", "perl", "ruby", "node", "php", "lua", "Rscript", "tclsh", "java",
}

// trusted returns an error if others than root, the caller and the program's user could
// change the program, or the script that it executes.
func (s *Spec) trusted(program string) error {
	var policy trust.Policy
	if uid, _, other, err := s.Owner(); err == nil && other {
		policy.Owners = []int{uid}
	}
	for _, path := range []string{program, s.script(program)} {
		if path == "" {
			continue
		}
		// A file that is missing, or cannot be examined, does not start anyway.
		if wrong, ok := errors.AsType[*trust.Error](policy.Check(path)); ok {
			return cannot(wrong, "%s is not trusted: %v", path, wrong)
		}
	}
	return nil
}

// script returns the path of the script that an interpreter executes, or an empty one.
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
	// After -c it is code, and usually not the name of a file.
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}
