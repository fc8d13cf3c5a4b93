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
	"encoding/json"
	"log/slog"
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
	TaskTypes   []TaskType

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

// TaskType is one entry of task_types. What it does not say of payloads is what
// its handler says.
type TaskType struct {
	Name        string
	Handler     string        // its name in the catalog
	Description string        // one sentence
	Usage       string        // for people who write payloads
	Concurrency int           // slots per endpoint
	Timeout     time.Duration // run limit of an attempt
	Retry       tasker.RetryPolicy
	Retention   time.Duration     // how long a task is kept after its end; 0 for ever
	MaxPayload  int64             // bytes; 0 for what fits a request
	Schema      json.RawMessage   // JSON Schema of the payload; nil for any
	Example     json.RawMessage   // a payload to begin with; nil for none
	Labels      map[string]string // those that an endpoint must have
	Settings    map[string]any    // the handler's own
}

// APITaskTypes gives the task types as the API needs them.
func (c Config) APITaskTypes() []api.TaskType {
	types := make([]api.TaskType, 0, len(c.TaskTypes))
	for _, t := range c.TaskTypes {
		types = append(types, api.TaskType{
			Name: t.Name, Handler: t.Handler, Description: t.Description, Usage: t.Usage,
			Schema: c.entries[t.Name].schema, SchemaText: t.Schema, Example: t.Example,
			Concurrency: t.Concurrency, Timeout: t.Timeout, Retry: t.Retry.Delays, MaxPayload: t.MaxPayload,
			Labels: t.Labels, Retention: t.Retention,
		})
	}
	return types
}

// retention gives how long tasks of each type are kept after their end.
func (c Config) retention() map[string]time.Duration {
	times := make(map[string]time.Duration, len(c.TaskTypes))
	for _, t := range c.TaskTypes {
		times[t.Name] = t.Retention
	}
	return times
}

// ManagerTaskTypes gives the task types of those names as the manager needs
// them; no names means all. An unknown or repeated name is an error that says
// which there are.
func (c Config) ManagerTaskTypes(names []string) ([]manager.TaskType, error) {
	chosen, err := c.choose(names)
	if err != nil {
		return nil, err
	}
	types := make([]manager.TaskType, 0, len(chosen))
	for _, t := range chosen {
		of := manager.TaskType{
			Name: t.Name, Concurrency: t.Concurrency, Timeout: t.Timeout, Retry: t.Retry, Labels: t.Labels,
		}
		if s := c.entries[t.Name].schema; s != nil {
			of.Schema = s
		}
		types = append(types, of)
	}
	return types, nil
}

// TaskTypeNames gives the names of all task types, in their order.
func (c Config) TaskTypeNames() []string {
	names := make([]string, 0, len(c.TaskTypes))
	for _, t := range c.TaskTypes {
		names = append(names, t.Name)
	}
	return names
}

func (c Config) choose(names []string) ([]TaskType, error) {
	if len(names) == 0 {
		return c.TaskTypes, nil
	}
	byName := make(map[string]TaskType, len(c.TaskTypes))
	for _, t := range c.TaskTypes {
		byName[t.Name] = t
	}
	chosen := make([]TaskType, 0, len(names))
	seen := map[string]bool{}
	for _, name := range names {
		t, ok := byName[name]
		if !ok {
			return nil, tasker.Errorf(tasker.NotFound, "task type %q is not configured; there are %s", name, strings.Join(c.TaskTypeNames(), ", "))
		}
		if seen[name] {
			return nil, tasker.Errorf(tasker.Invalid, "task type %q is named twice", name)
		}
		seen[name] = true
		chosen = append(chosen, t)
	}
	return chosen, nil
}
