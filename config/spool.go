package config

import "path/filepath"

const (
	spoolKey = "manager.spool_dir"
	// productionMode is the mode whose services keep their state in stateDir,
	// as the units that come with tasker do.
	productionMode = "production"
	stateDir       = "/var/lib/tasker"
)

// spoolDir returns the absolute path of the spool. The next manager of an
// endpoint must find the results of the one before, so the place must not
// depend on the directory in which a manager happens to be started: a relative
// path in the file is relative to the file's directory, as everywhere in it, and
// the default to the same directory or, in production, to stateDir. Only a path
// that was typed, in a variable or a flag, is relative to the working directory.
// What is not a path is returned as it is, for the check of the key.
func (c *checker) spoolDir(value any, from source) any {
	dir, ok := value.(string)
	if !ok || dir == "" {
		return value
	}
	if !filepath.IsAbs(dir) {
		switch {
		case from.isDefault() && c.Mode == productionMode:
			dir = filepath.Join(stateDir, dir)
		case from.isDefault() || from.file != "":
			dir = filepath.Join(c.dir, dir)
		}
	}
	absolute, err := filepath.Abs(dir)
	if err != nil { // the working directory is gone
		return dir
	}
	return absolute
}
