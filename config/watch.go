package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/taskerhq/tasker/internal/x/trust"
)

// Files are the files that a configuration was read from, as they were at one
// time: its own, those of its schemas, that of the token, and the access file. The other secrets
// are left out, since they take effect after a restart only.
type Files []fileState

// fileState is a file as it was found. Links are followed.
type fileState struct {
	path string
	info fs.FileInfo // nil if it did not exist
}

func stateOf(path string) fileState {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{path: path}
	}
	return fileState{path, info}
}

func (s fileState) same(t fileState) bool {
	if s.info == nil || t.info == nil {
		return s.path == t.path && s.info == nil && t.info == nil
	}
	return s.path == t.path && os.SameFile(s.info, t.info) &&
		s.info.Size() == t.info.Size() && s.info.ModTime().Equal(t.info.ModTime()) && s.info.Mode() == t.info.Mode()
}

// Look returns the same files as they are now.
func (f Files) Look() Files {
	now := make(Files, len(f))
	for i, s := range f {
		now[i] = stateOf(s.path)
	}
	return now
}

// Same reports whether all files are as the others: both missing, or with the
// same size, mode, modification time and inode.
func (f Files) Same(others Files) bool { return slices.EqualFunc(f, others, fileState.same) }

// Paths returns the paths of the files.
func (f Files) Paths() []string {
	paths := make([]string, len(f))
	for i, s := range f {
		paths[i] = s.path
	}
	return paths
}

// Files returns the files that the configuration was read from, as they were
// before it was read.
func (c Config) Files() Files { return c.files }

// note records a file before it is read, so that a change during the read is
// noticed.
func (f *Files) note(path string) {
	if !slices.ContainsFunc(*f, func(s fileState) bool { return s.path == path }) {
		*f = append(*f, stateOf(path))
	}
}

// read reads a regular file of at most that many bytes.
func (f *Files) read(path string, most int64) ([]byte, error) {
	f.note(path)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist", path)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, cause(err))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > most:
		return nil, fmt.Errorf("%s must be at most %d bytes, got %d", path, most, info.Size())
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
