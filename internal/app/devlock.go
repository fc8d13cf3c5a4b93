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

// devLock is the file in the data directory of "tasker dev" that the process using
// the directory keeps locked. It contains the process's id.
const devLock = "tasker.lock"

// errLocked is the error of lockFile if another process has the lock.
var errLocked = errors.New("locked by another process")

// lockDir locks the data directory for this process, until unlock is called or the
// process ends.
func lockDir(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, devLock), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the user chooses the directory
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	unlock = func() { _ = file.Close() }
	switch err := lockFile(file); {
	case errors.Is(err, errLocked):
		defer unlock()
		return nil, tasker.Errorf(tasker.Conflict,
			`data directory in use by another "tasker dev"%s: %s: stop it, or use another directory with --data, or --ephemeral`,
			holder(file), dir)
	case err != nil:
		unlock()
		return nil, fmt.Errorf("lock the data directory %s: %w", dir, err)
	}
	// The id is only for messages.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return unlock, nil
}

// holder returns which process has the lock, if it is known.
func holder(file *os.File) string {
	text, err := io.ReadAll(io.LimitReader(file, 32))
	pid, wrong := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || wrong != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}
