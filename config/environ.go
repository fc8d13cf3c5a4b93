package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The variables that choose a configuration instead of overriding a key.
const (
	EnvMode = EnvPrefix + "MODE"   // the run mode
	EnvDir  = EnvPrefix + "CONFIG" // the directory of the configuration file
)

// EnvAPIURL is the address of the API for commands that talk to it. It is no
// key of the configuration.
const EnvAPIURL = EnvPrefix + "API_URL"

// foreignVariables are names with tasker's prefix that others set: tests, and
// Kubernetes for each Service whose name begins with "tasker".
var foreignVariables = regexp.MustCompile(`^TASKER_(TEST_.*|(.*_)?SERVICE_(HOST|PORT)(_.*)?|(.*_)?PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?)$`)

// overrides are values from the environment or from flags, by path.
type overrides map[string]override

type override struct {
	value string
	from  source
}

// environment picks tasker's variables out of an environment. An empty one
// counts as not set; one that no key has is a problem.
func environment(environ []string, p *problems) overrides {
	paths := map[string]string{EnvName(taskTypesKey): taskTypesKey}
	for _, k := range keys() {
		paths[EnvName(k.path)] = k.path
	}
	found := overrides{}
	var unknown []string
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, EnvPrefix) || value == "" || name == EnvMode || name == EnvDir || name == EnvAPIURL {
			continue
		}
		if path, ok := paths[name]; ok && serviceAddress(name, value) {
			p.warnings = append(p.warnings, fmt.Sprintf("%s: it is left out of account, since its value is the address of a Kubernetes service, and no value of %s: "+
				"call the service otherwise, or say enableServiceLinks: false in the pod", name, path))
		} else if ok {
			found[path] = override{value, source{name: name}}
		} else if !foreignVariables.MatchString(name) {
			unknown = append(unknown, name)
		}
	}
	known := []string{strings.TrimPrefix(EnvMode, EnvPrefix), strings.TrimPrefix(EnvDir, EnvPrefix), strings.TrimPrefix(EnvAPIURL, EnvPrefix)}
	for name := range paths {
		known = append(known, strings.TrimPrefix(name, EnvPrefix))
	}
	slices.Sort(known)
	slices.Sort(unknown)
	for _, name := range unknown {
		p.add(source{name: clip(name)}, "unknown variable: no key of the configuration has this name%s", suggestion(EnvPrefix, strings.TrimPrefix(name, EnvPrefix), known))
	}
	return found
}
