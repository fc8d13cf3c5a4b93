package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/taskerhq/tasker"
)

// devLock is the file in the data directory of "tasker dev" that the process
// which uses the directory keeps locked. It holds that process's id.
const devLock = "tasker.lock"

// errLocked is the error of lockFile where another process has the lock.
var errLocked = errors.New("it is locked")

// lockDir takes the data directory for this process, and returns what gives it
// back. The system does so, too, when the process ends.
func lockDir(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, devLock), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the directory is the user's to choose
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	unlock = func() { _ = file.Close() }
	switch err := lockFile(file); {
	case errors.Is(err, errLocked):
		defer unlock()
		return nil, tasker.Errorf(tasker.Conflict, `another "tasker dev"%s uses the data directory %s: stop it, or give this one a directory of its own with --data, or none with --ephemeral`, holder(file), dir)
	case err != nil:
		unlock()
		return nil, fmt.Errorf("lock the data directory %s: %w", dir, err)
	}
	// What cannot be written is missing in a message at most.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return unlock, nil
}

// holder says which process has the lock, if it has written that yet.
func holder(file *os.File) string {
	text, err := io.ReadAll(io.LimitReader(file, 32))
	pid, wrong := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || wrong != nil {
		return ""
	}
	return fmt.Sprintf(", process %d,", pid)
}
