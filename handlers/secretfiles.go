package handlers

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/taskerhq/tasker/internal/x/secretfile"
)

// secretFiles is a setting: names, and the absolute paths of the files that
// hold their values. They are read when they are needed, so that a renewed one
// counts at once, and "config show" has nothing to hide.
type secretFiles map[string]string

// checkPaths looks at the paths, and that no name has a value in beside, too.
func (f secretFiles) checkPaths(setting string, beside map[string]string) error {
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !filepath.IsAbs(f[name]) {
			mistakes = append(mistakes, fmt.Errorf("setting %q: %q: %q is no absolute path", setting+"_file", name, f[name]))
		}
		if _, twice := beside[name]; twice {
			mistakes = append(mistakes, fmt.Errorf("setting %q: %q is in %q, too: give one of them", setting+"_file", name, setting))
		}
	}
	return errors.Join(mistakes...)
}

// read returns the values.
func (f secretFiles) read(setting string) (map[string]string, error) {
	values := make(map[string]string, len(f))
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(f)) {
		value, err := secretfile.Read(f[name])
		if err != nil {
			wrong = append(wrong, fmt.Errorf("setting %q: %q %w", setting+"_file", name, err))
			continue
		}
		values[name] = value
	}
	return values, errors.Join(wrong...)
}
