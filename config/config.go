// Package config reads tasker's configuration: a YAML file for the run mode,
// overridden by TASKER_ environment variables, overridden by command line flags.
// It checks the whole and returns it as one value. Only this package imports
// viper.
//
// No mistake is ignored: unknown keys, unknown variables and invalid values are
// errors that name the key and where it was set, and all are reported together.
// Secrets may be kept in files; printing a [Config] in any way masks them.
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
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/reconcile"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/manager"
)

// Config is a valid configuration, with defaults filled in and the secrets of
// its files merged in. Treat it as a value: do not change it. Its fields contain
// secrets, which printing a Config omits.
type Config struct {
	// Mode is the run mode, such as "development".
	Mode string
	// File is the path of the file that was read, or a description of what was
	// used instead.
	File string

	API api.Config
	// AccessFile is the path of the API's access file; empty means that it has none. It is
	// known also where the API's part is left out, and the file was not read.
	AccessFile string
	// PublishTimeout is how long a POST waits for the broker's confirm before it
	// leaves the task to the relay.
	PublishTimeout time.Duration
	// MessagePayload is the size in bytes of the largest payload that a message
	// carries.
	MessagePayload int64
	// Manager has no endpoints: the command line names them.
	Manager manager.Config
	// ManagerMetrics says where a manager serves its metrics.
	ManagerMetrics observe.Config
	// ManagerMode is [ModeDatabase] or [ModeGateway].
	ManagerMode   string
	GatewayClient GatewayClient // in gateway mode
	// ManagersOnly reports that this is the configuration of managers, and of
	// neither an API nor a gateway.
	ManagersOnly bool
	Gateway      GatewayServer
	Store        store.Config
	Rabbit       rabbit.Config
	Reconcile    reconcile.Config
	RabbitAdmin  RabbitAdmin
	Log          Log
	TaskTypes    []tasker.TaskType

	options      Options
	settings     []setting // every key as it is shown, in the order of the table
	catalog      *handlers.Catalog
	entries      map[string]typeEntry // of TaskTypes, by name
	files        Files
	certificates []Certificate
	warnings     []string
	unsafe       []string // of warnings
}

// RabbitAdmin is the address of RabbitMQ's management API, and a user that may
// create users and virtual hosts. Only "tasker initialize --rabbitmq" and
// "tasker doctor" use it.
type RabbitAdmin struct {
	ManagementURI string // http:// or https://, without a user
	User          string
	Password      string
}

// Log is the level and the format of the log.
type Log struct {
	Level slog.Level
	// Format is "text", "json", or "auto": coloured text on a terminal, and JSON
	// elsewhere.
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

// attempts returns how many attempts the retry policy of each type allows.
func (c Config) attempts() map[string]int {
	most := make(map[string]int, len(c.TaskTypes))
	for _, t := range c.TaskTypes {
		most[t.Name] = t.Retry.MaxAttempts()
	}
	return most
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
			return nil, tasker.Errorf(tasker.NotFound, "task type %q not found: must be one of %s", name,
				strings.Join(c.TaskTypeNames(), ", "))
		}
		if slices.Contains(names[:i], name) {
			return nil, tasker.Errorf(tasker.Invalid, "duplicate task type %q", name)
		}
		chosen = append(chosen, c.TaskTypes[at])
	}
	return chosen, nil
}
