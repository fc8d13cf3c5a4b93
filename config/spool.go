package config

import "path/filepath"

const (
	// productionMode is the mode whose services keep their state in productionDir,
	// as the units that come with tasker do.
	productionMode = "production"
	productionDir  = "/var/lib/tasker"
)

// stateDir returns the absolute path of a directory for state, such as the spool. An
// endpoint's next manager must find what the previous one kept, so the path must not depend on the
// directory that a manager happens to start in. In the file a relative path is
// relative to the file's directory, as are all others there. The default is
// relative to the same directory or, in production, to productionDir. Only a path in
// a variable or flag is relative to the working directory. Values other than
// paths are returned unchanged, for the key's own check.
func (c *checker) stateDir(value any, from source) any {
	dir, ok := value.(string)
	if !ok || dir == "" {
		return value
	}
	if !filepath.IsAbs(dir) {
		switch {
		case from.isDefault() && c.Mode == productionMode:
			dir = filepath.Join(productionDir, dir)
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
