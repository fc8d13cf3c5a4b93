// Package secretfiles is a setting that names files with secret values.
package secretfiles

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/taskerhq/tasker/internal/x/secretfile"
)

// Files maps names to the absolute paths of the files with their values. Files are
// read when they are needed: a renewed one takes effect at once, and "config
// show" has nothing to mask.
type Files map[string]string

// Check checks the paths, and that no name has a value in beside as well. setting
// is the setting of beside; that of f ends in "_file".
func (f Files) Check(setting string, beside map[string]string) error {
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !filepath.IsAbs(f[name]) {
			mistakes = append(mistakes, fmt.Errorf("setting %q: %q: must be an absolute path, got %q", setting+"_file", name, f[name]))
		}
		if _, twice := beside[name]; twice {
			mistakes = append(mistakes, fmt.Errorf("setting %q: %q is set in %q as well", setting+"_file", name, setting))
		}
	}
	return errors.Join(mistakes...)
}

// Read returns the values.
func (f Files) Read(setting string) (map[string]string, error) {
	values := make(map[string]string, len(f))
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(f)) {
		value, err := secretfile.Read(f[name])
		if err != nil {
			wrong = append(wrong, fmt.Errorf("setting %q: %q: %w", setting+"_file", name, err))
			continue
		}
		values[name] = value
	}
	return values, errors.Join(wrong...)
}
