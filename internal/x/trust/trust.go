// Package trust reports whether a file can be believed: whether nobody but
// root, the user of this process and the users that the caller names could
// have written it, or put another one in its place.
package trust

import (
	"fmt"
	"path/filepath"
)

// Policy says whom to trust besides root and the user of this process. The zero
// value trusts nobody else.
type Policy struct {
	// Owners are the ids of further users.
	Owners []int
	// Strict are directories in which, and below which, the sticky bit excuses
	// nothing: elsewhere a directory such as /tmp may be writable by all, since
	// only its owner can rename a file in it.
	Strict []string
}

// Error says which file or directory somebody else could change.
type Error struct {
	// Path is the place itself, which may be on the way to the file.
	Path string
	// Problem says what is wrong with it, such as "is writable by all users
	// (its mode is -rw-rw-rw-)".
	Problem string
	// Fix is a command that mends it.
	Fix string
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %s", e.Path, e.Problem, e.Fix) }

// Check is [Policy.Check] of the zero Policy.
func Check(path string) error { return Policy{}.Check(path) }

// Check looks at the file of that path, and at every directory and symbolic
// link on the way to it. It returns an [*Error] for the first one that somebody
// else could change, and the system's error for one that it cannot look at.
//
// What nobody else could change when it was checked is the same when it is
// opened afterwards.
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
