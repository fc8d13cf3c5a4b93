package config

import (
	"embed"
	"errors"
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

// readFile reads the file of a mode, and notes where it looked.
func readFile(opts Options, looked *Files) (file, error) {
	mode, dir := opts.Mode, opts.Dir
	if !modePattern.MatchString(mode) {
		return file{}, problem("invalid mode %q: must be development, production, or the name of another file without %s", mode, fileSuffix)
	}
	path := filepath.Join(or(dir, DefaultDir), mode+fileSuffix)
	looked.note(path)
	content, err := os.ReadFile(path) //nolint:gosec // the path is the caller's to choose
	switch {
	case err == nil:
		if err := trust.Check(path); err != nil {
			return file{}, problem("%s is not trusted: %v", path, err)
		}
		return file{path, content, filepath.Dir(path)}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return file{}, problem("read %s: %v", path, cause(err))
	case mode == DefaultMode && dir == "":
		content, err := Shipped(mode)
		if err != nil {
			return file{}, err
		}
		return file{"built-in " + mode + fileSuffix, content, "."}, nil
	}
	missing := missingVariables(opts)
	if len(missing) == 0 {
		return file{name: "variables only (no " + path + ")", dir: "."}, nil
	}
	example := mode
	if _, err := Shipped(mode); err != nil {
		example = "production"
	}
	return file{}, problem(
		"%s does not exist: name its directory with --config or %s, create it from \"tasker config example --mode %s\", or set %s instead",
		path, EnvDir, example, strings.Join(missing, ", "))
}

// missingVariables returns the variables that a configuration without a file
// still needs.
func missingVariables(opts Options) []string {
	given := environment(opts.Environ, &problems{})
	for _, flag := range opts.Flags {
		given[flag.Key] = override{}
	}
	c := checker{draft: &draft{}, without: opts.Without}
	c.ManagerMode = given["manager.mode"].value
	mandatory := []string{taskTypesKey}
	if c.uses(PartDatabase) {
		mandatory = append(mandatory, databaseURIKey)
	}
	if c.uses(PartBroker) {
		mandatory = append(mandatory, brokerURIKey)
	}
	if c.managesAtGateway() {
		mandatory = append(mandatory, gatewayAddressesKey)
	}
	var missing []string
	for _, path := range mandatory {
		if _, ok := given[path]; !ok {
			missing = append(missing, EnvName(path))
		}
	}
	return missing
}

// Shipped returns the file that comes with tasker for a mode: development or
// production.
func Shipped(mode string) ([]byte, error) {
	content, err := shipped.ReadFile(mode + fileSuffix)
	if err != nil {
		return nil, problem("unknown example %s%s: must be development or production", mode, fileSuffix)
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
