// Package durable writes files that survive a crash of the machine. Whoever creates a file
// syncs its directory, too.
package durable

import (
	"errors"
	"os"
)

// Create creates a file that does not exist yet, readable by its owner only, with a
// content, and syncs it.
func Create(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the path is the caller's
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// SyncDir syncs a directory: which files it has.
func SyncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the path is the caller's
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
