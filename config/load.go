package config

import (
	"errors"
	"strings"

	"github.com/spf13/viper"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
)

// DefaultDir is where the configuration files are looked for, and
// DefaultMode the mode whose file is read, unless something else is said.
const (
	DefaultDir  = "config"
	DefaultMode = "development"
)

// Part is a part of the configuration that a command may do without.
type Part int

// The parts.
const (
	PartAPI      Part = 1 << iota // the bearer token
	PartDatabase                  // manager.db
	PartBroker                    // manager.message_queue
	PartAdmin                     // rabbitmq
)

// Options says which configuration to load.
type Options struct {
	// Mode chooses the file <Mode>.config.yaml; empty means development.
	Mode string
	// Dir is the directory of the file; empty means "config". In development
	// mode an empty Dir falls back to the built-in file where there is none.
	Dir string
	// Environ is the environment, as os.Environ gives it. Its TASKER_MODE and
	// TASKER_CONFIG are not looked at: they are for the caller.
	Environ []string
	// Flags override the environment.
	Flags []Flag
	// Handlers are those that task types can name; nil means the built-in ones.
	Handlers *handlers.Catalog
	// Without are parts, joined with |, that the command does not use: they
	// may be left out, and their secret files are not read.
	Without Part
}

// Flag is one key set on the command line.
type Flag struct {
	Name  string // as people type it, "--port", for messages
	Key   string // such as "api.port"
	Value string
}

// Load reads, merges and checks a configuration. An [*Error] is everything
// that is wrong with it.
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

// Again loads the configuration anew, with the same options: the file may have
// changed, the environment and the flags have not.
func (c Config) Again() (Config, error) { return Load(c.options) }

// load is Load with the file in hand. It notes those that it reads besides.
func load(opts Options, f file, files *Files) (Config, error) {
	p := &problems{}
	doc := parseDocument(f.name, f.content, p)
	overridden := environment(opts.Environ, p)
	for _, flag := range opts.Flags {
		overridden[flag.Key] = override{flag.Value, source{name: flag.Name}}
	}

	if doc.unread { // what it sets is not known, so nothing can be missing
		return Config{}, p.err()
	}

	d := &draft{}
	d.Mode, d.File, d.catalog = opts.Mode, f.name, opts.Handlers
	if d.catalog == nil {
		d.catalog = builtin.Catalog()
	}
	d.entries = map[string]typeEntry{}
	c := checker{
		draft: d, problems: p, sources: map[string]source{}, bad: map[string]bool{}, without: opts.Without, dir: f.dir,
		files: files,
	}
	values := layers(doc, overridden)
	for _, k := range keys() {
		from := sourceOf(k.path, doc, overridden)
		c.sources[k.path] = from
		value := values.Get(viperKey(k.path))
		if k.path == spoolKey {
			value = c.spoolDir(value, from)
		}
		if err := k.set(d, value); err != nil {
			p.add(from, "%s %v", k.path, err)
			c.bad[k.path] = true
			continue
		}
		d.settings = append(d.settings, setting{k.path, d.shown(k, value), d.plain(k, value), from})
	}
	c.taskTypes(doc, overridden)
	c.check()
	if err := p.err(); err != nil {
		return Config{}, err
	}

	d.warnings = append(p.warnings, c.warn()...)
	cfg := d.Config
	cfg.Log.Level = logLevel(d.level)
	cfg.Reconcile.WaitForEndpoints = cfg.API.WaitForEndpoints
	cfg.Reconcile.Retention = cfg.retention()
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

// keyDelimiter joins the parts of a viper key; a dot would split names that
// hold one.
const keyDelimiter = "::"

func viperKey(path string) string { return strings.ReplaceAll(path, ".", keyDelimiter) }

// layers puts defaults, file and overrides on top of each other. Every load
// has a viper of its own: a shared one cannot be read while it changes. The
// environment comes through here instead of viper's AutomaticEnv, so that it
// is the caller's and unknown variables are noticed.
func layers(doc *document, overridden overrides) *viper.Viper {
	v := viper.NewWithOptions(viper.KeyDelimiter(keyDelimiter))
	for _, k := range keys() {
		v.SetDefault(viperKey(k.path), k.def)
	}
	for path, value := range doc.values {
		v.Set(viperKey(path), value)
	}
	for path, o := range overridden {
		v.Set(viperKey(path), o.value)
	}
	return v
}
