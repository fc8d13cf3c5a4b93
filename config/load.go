package config

import (
	"errors"
	"strings"

	"github.com/spf13/viper"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
)

// DefaultDir is the default directory of the configuration files, and
// DefaultMode the default run mode.
const (
	DefaultDir  = "config"
	DefaultMode = "development"
)

// Part is a part of the configuration that a command may not need.
type Part int

// The parts.
const (
	PartAPI      Part = 1 << iota // the bearer token
	PartDatabase                  // manager.db
	PartBroker                    // manager.message_queue
	PartAdmin                     // rabbitmq
	PartGateway                   // gateway
	PartManager                   // manager.gateway
)

// Everything is all parts.
const Everything = PartAPI | PartDatabase | PartBroker | PartAdmin | PartGateway | PartManager

// Options says which configuration to load.
type Options struct {
	// Mode chooses the file <Mode>.config.yaml; empty means development.
	Mode string
	// Dir is the directory of the file; empty means "config", and in development
	// mode the built-in file if that directory has none.
	Dir string
	// Environ is the environment, as os.Environ returns it. TASKER_MODE and
	// TASKER_CONFIG are ignored: they are for the caller.
	Environ []string
	// Flags override the environment.
	Flags []Flag
	// Handlers are those that task types may name; nil means the built-in ones.
	Handlers *handlers.Catalog
	// Without are parts, joined with |, that the command does not need: they may
	// be missing, and their secret files are not read.
	Without Part
}

// Flag is one key set on the command line.
type Flag struct {
	Name  string // as people type it, "--port", for messages
	Key   string // such as "api.port"
	Value string
}

// Load reads, merges and checks a configuration. It returns everything that is
// wrong with it in an [*Error].
func Load(opts Options) (Config, error) {
	given := opts
	opts.Mode = or(opts.Mode, DefaultMode)
	var files Files
	f, err := readFile(opts, &files)
	if err == nil {
		var c Config
		if c, err = load(opts, f, &files); err == nil {
			c.options, c.files = given, files
			return c, nil
		}
	}
	if wrong, ok := errors.AsType[*Error](err); ok {
		wrong.Files = files
	}
	return Config{}, err
}

// Again loads the configuration again, with the same options: the file may have
// changed, the environment and the flags have not.
func (c Config) Again() (Config, error) { return Load(c.options) }

// load loads the configuration from f, and adds the other files that it reads
// to files.
func load(opts Options, f file, files *Files) (Config, error) {
	p := &problems{}
	doc := parseDocument(f.name, f.content, p)
	overridden := environment(opts.Environ, p)
	for _, flag := range opts.Flags {
		overridden[flag.Key] = override{flag.Value, source{name: flag.Name}}
	}

	if doc.unread { // what it would set is unknown
		return Config{}, p.err()
	}

	d := newDraft()
	d.Mode, d.File, d.catalog = opts.Mode, f.name, opts.Handlers
	if d.catalog == nil {
		d.catalog = builtin.Catalog()
	}
	d.entries = map[string]typeEntry{}
	c := checker{
		draft: d, problems: p, sources: map[string]source{}, bad: map[string]bool{}, without: opts.Without, dir: f.dir,
		files: files,
	}
	table := keys(d)
	values := layers(table, doc, overridden)
	for _, k := range table {
		from := sourceOf(k.path, doc, overridden)
		c.sources[k.path] = from
		value := values.Get(viperKey(k.path))
		if k.path == spoolKey || k.path == stateKey {
			value = c.stateDir(value, from)
		}
		if err := k.set(value); err != nil {
			p.add(from, "invalid %s: %v", k.path, err)
			c.bad[k.path] = true
			continue
		}
		d.settings = append(d.settings, newSetting(k, from))
	}
	c.taskTypes(doc, overridden)
	c.check()
	if err := p.err(); err != nil {
		return Config{}, err
	}

	d.warnings = append(p.warnings, c.warn()...)
	cfg := d.Config
	cfg.Reconcile.WaitForEndpoints = cfg.API.WaitForEndpoints
	cfg.Reconcile.Retention, cfg.Reconcile.Attempts = cfg.retention(), cfg.attempts()
	cfg.API.TaskTypes, cfg.Manager.TaskTypes = cfg.TaskTypes, cfg.TaskTypes
	return cfg, nil
}

func sourceOf(path string, doc *document, overridden overrides) source {
	if o, ok := overridden[path]; ok {
		return o.from
	}
	if line, ok := doc.lines[path]; ok {
		return doc.at(line)
	}
	return source{}
}

// keyDelimiter joins the parts of a viper key; a dot would split names with
// dots.
const keyDelimiter = "::"

func viperKey(path string) string { return strings.ReplaceAll(path, ".", keyDelimiter) }

// layers puts defaults, file and overrides on top of each other. Every load has
// its own viper: a shared one must not be read while it changes. The environment
// comes as overrides instead of by viper's AutomaticEnv, so that it is the
// caller's, and unknown variables are noticed.
func layers(table []key, doc *document, overridden overrides) *viper.Viper {
	v := viper.NewWithOptions(viper.KeyDelimiter(keyDelimiter))
	for _, k := range table {
		v.SetDefault(viperKey(k.path), k.get())
	}
	for path, value := range doc.values {
		v.Set(viperKey(path), value)
	}
	for path, o := range overridden {
		v.Set(viperKey(path), o.value)
	}
	return v
}
