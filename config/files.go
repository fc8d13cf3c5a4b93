package config

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/taskerhq/tasker/internal/x/trust"
)

//go:embed development.config.yaml production.config.yaml
var shipped embed.FS

const fileSuffix = ".config.yaml"

// file is a configuration file as it was found.
type file struct {
	name    string
	content []byte
	dir     string // what relative paths in it are relative to
}

var modePattern = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// readFile finds the file of a mode, and notes where it looked.
func readFile(mode, dir string, looked *Files) (file, error) {
	if !modePattern.MatchString(mode) {
		return file{}, &Error{Problems: []string{fmt.Sprintf("the mode is %q: give development, production, or whatever stands before %s", mode, fileSuffix)}}
	}
	path := filepath.Join(or(dir, DefaultDir), mode+fileSuffix)
	looked.note(path)
	content, err := os.ReadFile(path) //nolint:gosec // the path is the caller's to choose
	switch {
	case err == nil:
		if err := trust.Check(path); err != nil {
			return file{}, &Error{Problems: []string{fmt.Sprintf("%s is not to be believed: %v", path, err)}}
		}
		return file{path, content, filepath.Dir(path)}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return file{}, &Error{Problems: []string{fmt.Sprintf("cannot read %s: %v", path, cause(err))}}
	case mode == DefaultMode && dir == "":
		content, err := Shipped(mode)
		if err != nil {
			return file{}, err
		}
		return file{"built-in " + mode + fileSuffix, content, "."}, nil
	}
	example := mode
	if _, err := Shipped(mode); err != nil {
		example = "production"
	}
	return file{}, &Error{Problems: []string{fmt.Sprintf(
		"there is no file %s: name its directory with --config or %s, or write it, beginning with what \"tasker config example --mode %s\" prints",
		path, EnvDir, example)}}
}

// Shipped gives the file that comes with tasker for a mode: development or
// production.
func Shipped(mode string) ([]byte, error) {
	content, err := shipped.ReadFile(mode + fileSuffix)
	if err != nil {
		return nil, &Error{Problems: []string{fmt.Sprintf("no %s%s comes with tasker; there are development and production", mode, fileSuffix)}}
	}
	return content, nil
}

// maxSecret bounds a secret file; whatever is larger is another file.
const maxSecret = 64 * kiB

// readSecret reads a secret file. Its error continues a sentence that begins
// with the key.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("names %s, which does not exist", path)
	case err != nil:
		return "", fmt.Errorf("names %s, which cannot be read: %w", path, cause(err))
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("names %s, which is no regular file", path)
	case info.Mode().Perm()&0o007 != 0:
		return "", fmt.Errorf("names %s, which every user of this machine may read or change (its mode is %04o): chmod o-rwx %s", path, info.Mode().Perm(), path)
	case info.Size() > maxSecret:
		return "", fmt.Errorf("names %s, which is too large for a secret", path)
	}
	if err := trust.Check(path); err != nil {
		return "", fmt.Errorf("names %s, which is not to be believed: %w", path, err)
	}
	content, err := os.ReadFile(path) //nolint:gosec // the path is the configuration's
	if err != nil {
		return "", fmt.Errorf("names %s, which cannot be read: %w", path, cause(err))
	}
	secret := strings.TrimRight(string(content), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("names %s, which is empty", path)
	}
	return secret, nil
}

// cause is a file's error without the path, which the message has already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
