package config

import (
	"fmt"
	"strings"

	"github.com/taskerhq/tasker/internal/x/near"
)

// Error is everything that is wrong with a configuration. Each problem is one
// line that names the key and where it was set, without secrets.
type Error struct {
	Problems []string
	// Files are those that were read, or looked for. A mistake is in one of
	// them, or in what started the program.
	Files Files
}

// Error returns the problems, one per line if there are several.
func (e *Error) Error() string {
	if len(e.Problems) == 1 {
		return "configuration: " + e.Problems[0]
	}
	return fmt.Sprintf("configuration: %d problems:\n  %s", len(e.Problems), strings.Join(e.Problems, "\n  "))
}

// problem returns an Error with one problem.
func problem(format string, args ...any) *Error {
	return &Error{Problems: []string{fmt.Sprintf(format, args...)}}
}

// source is where a value was set; the zero source is the default.
type source struct {
	file string
	line int
	name string // the environment variable or the flag
}

func (s source) isDefault() bool { return s == source{} }

func (s source) String() string {
	switch {
	case s.name != "":
		return s.name
	case s.file != "":
		return fmt.Sprintf("%s:%d", s.file, s.line)
	}
	return "default"
}

// problems collects mistakes and warnings.
type problems struct {
	list     []string
	warnings []string
}

func (p *problems) add(s source, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if !s.isDefault() {
		message = s.String() + ": " + message
	}
	p.list = append(p.list, message)
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &Error{Problems: p.list}
}

// suggestion returns the end of a message that proposes the known name nearest
// to a mistyped one, or nothing if none is near. The names are without the
// prefix that all of them share, which would make them look near.
func suggestion(prefix, name string, known []string) string {
	best := near.Name(name, known)
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", prefix+best)
}
