// Package config reads tasker's configuration: a YAML file for the run mode,
// overridden by TASKER_ environment variables, overridden by command line
// flags, checked as a whole and given as one value that nothing changes
// afterwards. Only this package knows viper.
//
// A mistake is never ignored: unknown keys, unknown variables and bad values
// are errors that name the key and where it was set, and all of them are
// reported together. Secrets may be kept in files; printing a [Config] in any
// way masks them.
package config

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/reconcile"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/manager"
)

// Config is the whole configuration, valid, with every default filled in and
// the secrets of its files merged in. Treat it as a value: change nothing in
// it. Its fields hold secrets, the whole prints without them.
type Config struct {
	// Mode is the run mode, such as "development".
	Mode string
	// File is the path of the file that was read, or says that the built-in
	// one was.
	File string

	API api.Config
	// PublishTimeout is how long a POST waits for the broker's confirm before
	// it leaves the task to the relay.
	PublishTimeout time.Duration
	// Manager serves no endpoints yet: the command line names them.
	Manager     manager.Config
	Store       store.Config
	Rabbit      rabbit.Config
	Reconcile   reconcile.Config
	RabbitAdmin RabbitAdmin
	Log         Log
	TaskTypes   []tasker.TaskType

	options  Options
	settings []setting // every key as it is shown, in the order of the table
	catalog  *handlers.Catalog
	entries  map[string]typeEntry // of TaskTypes, by name
	files    Files
	warnings []string
}

// RabbitAdmin is how to reach RabbitMQ's management API, as a user that may
// create users and virtual hosts. Only "tasker initialize --rabbitmq"
// and "tasker doctor" use it.
type RabbitAdmin struct {
	ManagementURI string // http:// or https://, without a user
	User          string
	Password      string
}

// Log says what is logged, and in what form.
type Log struct {
	Level slog.Level
	// Format is "text", "json", or "auto": coloured text on a terminal, JSON
	// everywhere else.
	Format string
}

// retention returns how long tasks of each type are kept after their end; 0
// means forever.
func (c Config) retention() map[string]time.Duration {
	times := make(map[string]time.Duration, len(c.TaskTypes))
	for _, t := range c.TaskTypes {
		times[t.Name] = max(0, t.Retention)
	}
	return times
}

// TaskTypeNames returns the names of all task types, in their order.
func (c Config) TaskTypeNames() []string {
	names := make([]string, 0, len(c.TaskTypes))
	for _, t := range c.TaskTypes {
		names = append(names, t.Name)
	}
	return names
}

// Choose returns the task types with those names; no names means all. An
// unknown or repeated name is an error.
func (c Config) Choose(names []string) ([]tasker.TaskType, error) {
	if len(names) == 0 {
		return c.TaskTypes, nil
	}
	chosen := make([]tasker.TaskType, 0, len(names))
	for i, name := range names {
		at := slices.IndexFunc(c.TaskTypes, func(t tasker.TaskType) bool { return t.Name == name })
		if at < 0 {
			return nil, tasker.Errorf(tasker.NotFound, "task type %q is not configured; there are %s", name, strings.Join(c.TaskTypeNames(), ", "))
		}
		if slices.Contains(names[:i], name) {
			return nil, tasker.Errorf(tasker.Invalid, "task type %q is named twice", name)
		}
		chosen = append(chosen, c.TaskTypes[at])
	}
	return chosen, nil
}
