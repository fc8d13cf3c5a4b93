package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/taskerhq/tasker/internal/x/trust"
)

// Files are the files that a configuration comes from, as they were at a
// moment: its own and those of its schemas. Secrets are not among them, since
// they take effect after a restart only.
type Files []fileState

// fileState is a file as it was found: where a name leads to now, if it is a
// link.
type fileState struct {
	path string
	info fs.FileInfo // nil where there was none
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

// Look gives the same files as they are now.
func (f Files) Look() Files {
	now := make(Files, len(f))
	for i, s := range f {
		now[i] = stateOf(s.path)
	}
	return now
}

// Same tells whether all files are as the others: the same size, mode, time of
// change and inode, or both not there.
func (f Files) Same(others Files) bool { return slices.EqualFunc(f, others, fileState.same) }

// Paths gives the paths of the files.
func (f Files) Paths() []string {
	paths := make([]string, len(f))
	for i, s := range f {
		paths[i] = s.path
	}
	return paths
}

// Files gives the files that the configuration was read from, as they were
// before.
func (c Config) Files() Files { return c.files }

// note remembers how a file is, before it is read: what changes meanwhile is
// then seen as a change.
func (f *Files) note(path string) {
	if !slices.ContainsFunc(*f, func(s fileState) bool { return s.path == path }) {
		*f = append(*f, stateOf(path))
	}
}

// read reads a regular file of at most that many bytes. Its error continues a
// sentence that names the file.
func (f *Files) read(path string, most int64) ([]byte, error) {
	f.note(path)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("which does not exist")
	case err != nil:
		return nil, fmt.Errorf("which cannot be read: %w", cause(err))
	case !info.Mode().IsRegular():
		return nil, errors.New("which is no regular file")
	case info.Size() > most:
		return nil, fmt.Errorf("which has %d bytes, and may have %d", info.Size(), most)
	}
	if err := trust.Check(path); err != nil {
		return nil, fmt.Errorf("which is not to be believed: %w", err)
	}
	content, err := os.ReadFile(path) //nolint:gosec // the path is the configuration's
	if err != nil {
		return nil, fmt.Errorf("which cannot be read: %w", cause(err))
	}
	return content, nil
}
