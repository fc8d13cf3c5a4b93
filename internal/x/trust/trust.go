// Package trust checks that nobody but root, the user of this process and users
// that the caller names could have written a file, or replaced it.
package trust

import (
	"fmt"
	"path/filepath"
)

// Policy is whom to trust besides root and the user of this process. The zero
// value trusts nobody else.
type Policy struct {
	// Owners are the ids of further users.
	Owners []int
	// Strict are directories in which, and below which, the sticky bit makes no
	// difference. Elsewhere a directory such as /tmp may be writable by all, since
	// only a file's owner can rename it there.
	Strict []string
}

// Error names a file or directory that somebody else could change.
type Error struct {
	// Path is the place, which may be a parent of the file.
	Path string
	// Problem says what is wrong with it, such as "is writable by all users
	// (its mode is -rw-rw-rw-)".
	Problem string
	// Fix is a command that fixes it.
	Fix string
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %s", e.Path, e.Problem, e.Fix) }

// Check is [Policy.Check] of the zero Policy.
func Check(path string) error { return Policy{}.Check(path) }

// Check checks the file with that path, and every directory and symbolic link on
// the way to it. It returns an [*Error] for the first one that somebody else could
// change, and the system's error for one that it cannot read.
//
// A file that passes is the same file when it is opened afterwards.
func (p Policy) Check(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	return p.walk(path)
}

// strict reports whether a place is in one of the strict directories.
func (p Policy) strict(place string) bool {
	for _, dir := range p.Strict {
		if inside, err := filepath.Rel(dir, place); err == nil && filepath.IsLocal(inside) {
			return true
		}
	}
	return false
}
