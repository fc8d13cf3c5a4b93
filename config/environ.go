package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The variables that choose a configuration instead of overriding a key.
const (
	EnvMode = EnvPrefix + "MODE"   // the run mode
	EnvDir  = EnvPrefix + "CONFIG" // the directory of the configuration file
)

// The variables of commands that call the API. They are no keys of the configuration.
const (
	EnvAPIURL     = EnvPrefix + "API_URL"      // its address
	EnvAPICA      = EnvPrefix + "API_CA"       // file with the authorities of its certificate
	EnvAPICert    = EnvPrefix + "API_CERT"     // file with the caller's own certificate
	EnvAPICertKey = EnvPrefix + "API_CERT_KEY" // file with its private key
)

// ownVariables are those that override no key.
var ownVariables = []string{EnvMode, EnvDir, EnvAPIURL, EnvAPICA, EnvAPICert, EnvAPICertKey}

// foreignVariables are names with tasker's prefix that others set: tests, and
// Kubernetes for each Service whose name begins with "tasker".
var foreignVariables = regexp.MustCompile(`^TASKER_(TEST_.*|(.*_)?SERVICE_(HOST|PORT)(_.*)?|(.*_)?PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?)$`)

// overrides are values from the environment or from flags, by path.
type overrides map[string]override

type override struct {
	value string
	from  source
}

// environment returns tasker's variables of an environment. It ignores empty
// ones, and reports those that belong to no key.
func environment(environ []string, p *problems) overrides {
	variables := map[string]string{}
	for _, path := range paths() {
		variables[EnvName(path)] = path
	}
	found := overrides{}
	var unknown []string
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, EnvPrefix) || value == "" || slices.Contains(ownVariables, name) {
			continue
		}
		if path, ok := variables[name]; ok && serviceAddress(name, value) {
			p.warnings = append(p.warnings, fmt.Sprintf("%s: ignored, "+
				"since its value is the address of a Kubernetes service and not a value of %s: "+
				"rename the service, or set enableServiceLinks: false in the pod", name, path))
		} else if ok {
			found[path] = override{value, source{name: name}}
		} else if !foreignVariables.MatchString(name) {
			unknown = append(unknown, name)
		}
	}
	var known []string
	for _, name := range append(slices.Collect(maps.Keys(variables)), ownVariables...) {
		known = append(known, strings.TrimPrefix(name, EnvPrefix))
	}
	slices.Sort(known)
	slices.Sort(unknown)
	for _, name := range unknown {
		near := suggestion(EnvPrefix, strings.TrimPrefix(name, EnvPrefix), known)
		p.add(source{name: clip(name)}, "unknown variable%s", near)
	}
	return found
}
