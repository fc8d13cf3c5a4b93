//go:build !unix || aix || solaris

package handlers

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// abandonedAfter is when a file counts as left by a killed run, where files
// cannot be locked.
const abandonedAfter = 24 * time.Hour

func lockFile(*os.File) bool { return true }

// removeAbandoned removes a file that nobody has written to for long.
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

// syncDir does nothing: not every system can.
func syncDir(*os.Root, string) error { return nil }

// linkCount knows of one name only.
func linkCount(fs.FileInfo) int { return 1 }
