// Package secretfile reads passwords and tokens that are kept in files of their
// own.
package secretfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/taskerhq/tasker/internal/x/trust"
)

// maxSecret bounds a secret file; whatever is larger is another file.
const maxSecret = 64 << 10

// Read returns the content of a secret file without the end of the line. Only
// the file's owner and group may be able to read it, and nobody else may have
// been able to change it.
func Read(path string) (string, error) {
	content, err := ReadAll(path, maxSecret)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(content), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return secret, nil
}

// ReadAll returns the content of a secret file of at most that many bytes as it is.
func ReadAll(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist", path)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, cause(err))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o007 != 0:
		return nil, fmt.Errorf("%s is accessible to every user (its mode is %04o): chmod o-rwx %s", path, info.Mode().Perm(), path)
	case info.Size() > most:
		return nil, fmt.Errorf("%s is too large for a secret", path)
	}
	if err := trust.Check(path); err != nil {
		return nil, fmt.Errorf("%s is not trusted: %w", path, err)
	}
	content, err := os.ReadFile(path) //nolint:gosec // the path is the configuration's
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, cause(err))
	}
	return content, nil
}

// cause is a file's error without the path, which the message has already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
