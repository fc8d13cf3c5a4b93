//go:build unix && !aix && !solaris

package copyfile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// lockFile locks a file for as long as it is open. It returns false if another process
// has locked it, and true if the file system has no locks.
func lockFile(file *os.File) bool {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	return !errors.Is(err, syscall.EWOULDBLOCK)
}

// removeAbandoned removes a file that nobody has locked, since its writer is dead.
func removeAbandoned(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return notMine(err)
	}
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return notMine(err)
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil || !isStill(root, name, file) {
		return nil //nolint:nilerr // it is not abandoned, or that is unknown
	}
	return notMine(root.Remove(name))
}

// discard removes a locked file and closes it. In this order: once it is closed,
// another run may remove it, and a third one have another file of that name.
func discard(root *os.Root, name string, file *os.File) error {
	err := root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, file.Close())
}

// notMine ignores the error that a file is gone, or is another user's.
func notMine(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// syncDir flushes the entries of a directory to disk.
func syncDir(root *os.Root, name string) error {
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// linkCount returns how many names a file has.
func linkCount(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Nlink)
	}
	return 1
}
