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
func readFile(opts Options, looked *Files) (file, error) {
	mode, dir := opts.Mode, opts.Dir
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
	missing := missingVariables(opts)
	if len(missing) == 0 {
		return file{name: "no file, variables alone (there is no " + path + ")", dir: "."}, nil
	}
	example := mode
	if _, err := Shipped(mode); err != nil {
		example = "production"
	}
	return file{}, &Error{Problems: []string{fmt.Sprintf(
		"there is no file %s: name its directory with --config or %s, or write it, beginning with what \"tasker config example --mode %s\" prints, or do without it by setting %s",
		path, EnvDir, example, strings.Join(missing, ", "))}}
}

// missingVariables returns the variables without which no configuration can do
// that has no file.
func missingVariables(opts Options) []string {
	mandatory := []string{taskTypesKey}
	if opts.Without&PartDatabase == 0 {
		mandatory = append(mandatory, databaseURIKey)
	}
	if opts.Without&PartBroker == 0 {
		mandatory = append(mandatory, brokerURIKey)
	}
	given := environment(opts.Environ, &problems{})
	for _, flag := range opts.Flags {
		given[flag.Key] = override{}
	}
	var missing []string
	for _, path := range mandatory {
		if _, ok := given[path]; !ok {
			missing = append(missing, EnvName(path))
		}
	}
	return missing
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

// cause is a file's error without the path, which the message has already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
