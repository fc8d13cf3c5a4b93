//go:build unix

package trust

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

const (
	// maxLinks bounds the symbolic links on one way, as the system does.
	maxLinks = 40
	// firstPerson is the least id that systems give to people, each of whom has
	// a group of the same number. Below it the numbers say nothing.
	firstPerson = 1000
	// darwinAdmins is the group of those who may become root on macOS; Homebrew
	// lets it write to its directories.
	darwinAdmins = 80
)

// walk goes the way as the system does, one name at a time.
func (p Policy) walk(path string) error {
	at, rest, links := "/", names(path), 0
	if err := p.look(at, false); err != nil {
		return err
	}
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." { // of a link: at is free of links
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		target, err := os.Readlink(next)
		isLink := err == nil
		if err := p.look(next, isLink); err != nil {
			return err
		}
		if !isLink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return &fs.PathError{Op: "follow", Path: path, Err: syscall.ELOOP}
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(names(target), rest...)
	}
	return nil
}

// names splits a path, and keeps the ".." of it.
func names(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

// look judges one place.
func (p Policy) look(place string, isLink bool) error {
	info, err := os.Lstat(place)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	problem := p.problem(place, info, stat, isLink)
	if problem == nil || readOnly(place) {
		return nil
	}
	return problem
}

// problem returns an [*Error] without a type, or nil.
func (p Policy) problem(place string, info fs.FileInfo, stat *syscall.Stat_t, isLink bool) error {
	owner := int(stat.Uid)
	if owner != 0 && owner != os.Geteuid() && !slices.Contains(p.Owners, owner) {
		return &Error{
			place, fmt.Sprintf("belongs to the user %d, neither to root nor to the user of this process", owner),
			"chown root " + place,
		}
	}
	others, group := info.Mode()&0o002 != 0, info.Mode()&0o020 != 0
	switch {
	case isLink || !others && !group:
		return nil
	case info.IsDir() && info.Mode()&fs.ModeSticky != 0 && !p.strict(place):
		return nil
	case others:
		return &Error{place, fmt.Sprintf("is writable by all users (its mode is %v)", info.Mode()), "chmod go-w " + place}
	case ownGroup(owner, int(stat.Gid)):
		return nil
	}
	return &Error{place, fmt.Sprintf("is writable by its group (its mode is %v)", info.Mode()), "chmod g-w " + place}
}

// ownGroup reports whether a group has no member but the user of this process,
// who owns the file, or none who could not become root anyway. Where people have
// a group of their own their files are writable by it, a checkout among them.
func ownGroup(owner, group int) bool {
	if runtime.GOOS == "darwin" && group == darwinAdmins {
		return true
	}
	return owner >= firstPerson && owner == os.Geteuid() && group == owner
}
