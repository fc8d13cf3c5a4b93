//go:build !unix || aix || solaris

package copyfile

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// abandonedAfter is the age at which a file counts as left by a killed run, since
// files cannot be locked.
const abandonedAfter = 24 * time.Hour

func lockFile(*os.File) bool { return true }

// removeAbandoned removes a file that nobody has written to for that long.
func removeAbandoned(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > abandonedAfter {
		err = root.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// discard closes a file and removes it: not every system removes one that is open.
func discard(root *os.Root, name string, file *os.File) error {
	err := file.Close()
	if e := root.Remove(name); !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

// syncDir does nothing: not every system can do it.
func syncDir(*os.Root, string) error { return nil }

// linkCount returns 1: the number is unknown.
func linkCount(fs.FileInfo) int { return 1 }
