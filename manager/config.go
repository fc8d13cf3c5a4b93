package manager

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/signature"
)

// Config is what a manager serves, and its limits. Zeros stand for defaults; see
// [DefaultConfig].
type Config struct {
	// Endpoints are the endpoints to serve: one in production, several in
	// development and tests.
	Endpoints []string
	// TaskTypes are the types that each of the endpoints performs.
	TaskTypes []tasker.TaskType
	// Heartbeat is the time between two heartbeats.
	Heartbeat time.Duration
	// Lease is how long an endpoint remains held after the last heartbeat. It
	// must be at least twice Heartbeat.
	Lease time.Duration
	// ShutdownTimeout is how long a stop waits for handlers before it cancels
	// them.
	ShutdownTimeout time.Duration
	// AbandonAfter is how long a handler may take to return once its context has
	// ended. Then the attempt ends without it.
	AbandonAfter time.Duration
	// MaxResult bounds the payload of a result, in bytes.
	MaxResult int
	// SpoolDir keeps results while the database is unavailable, across restarts
	// of the manager. It must be on a local disk. Managers of different endpoints
	// may share it. If it is empty, such results are in memory only.
	SpoolDir string
	// Verify says what becomes of tasks whose signature does not permit them, by Allowed
	// and by what their types say: one of [VerifyModes], empty for [VerifyOff].
	Verify string
	// Allowed are the signers whose signatures count. It must be set unless Verify is off.
	Allowed *signature.Allowed
	// StateDir keeps which signatures were used here, so that none is used again. It must
	// be on a local disk, and set unless Verify is off. Managers of different endpoints may
	// share it.
	StateDir string
	// CatchUp is the time between two scans for tasks whose message was lost. The
	// manager also scans each time it has subscribed.
	CatchUp time.Duration
	// Prefetch bounds the unacknowledged messages per queue.
	Prefetch int
	// Version is the program's, shown with the endpoint.
	Version string
	// Labels describe the endpoints, such as role: web. They are shown with the
	// endpoints, and task types may require some.
	Labels map[string]string
	// Forget removes the endpoints after a regular stop: tasks no longer expect
	// them, and what they have not begun is CANCELED. An endpoint with an
	// unfinished attempt stays registered: one that was interrupted, that awaits a
	// reboot, or whose end could not be stored.
	Forget bool
	// BootID identifies the boot of the machine, to detect a reboot; empty means
	// the system's own.
	BootID string
	// Ready, if set, is called once the manager holds its endpoints, has adopted
	// their unfinished results, and begins to consume.
	Ready func()
	// Metrics tells what the manager does.
	Metrics observe.ManagerMetrics
}

// What a manager does about signatures.
const (
	VerifyOff     = "off"     // nothing
	VerifyWarn    = "warn"    // it logs what it would refuse, and runs it
	VerifyRequire = "require" // it refuses tasks without a signature that permits them
)

// VerifyModes returns the values of [Config.Verify].
func VerifyModes() []string { return []string{VerifyOff, VerifyWarn, VerifyRequire} }

// DefaultConfig returns the defaults, with a spool.
func DefaultConfig() Config {
	return Config{SpoolDir: "data/spool", StateDir: "data", Verify: VerifyOff}.withDefaults()
}

// withDefaults returns c with defaults in place of zero values.
func (c Config) withDefaults() Config {
	c.Heartbeat = cmp.Or(c.Heartbeat, 2*time.Second)
	c.Lease = cmp.Or(c.Lease, 8*time.Second)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, 30*time.Second)
	c.AbandonAfter = cmp.Or(c.AbandonAfter, 10*time.Second)
	c.MaxResult = cmp.Or(c.MaxResult, 1<<20)
	c.CatchUp = cmp.Or(c.CatchUp, time.Minute)
	c.Prefetch = cmp.Or(c.Prefetch, 64)
	c.Verify = cmp.Or(c.Verify, VerifyOff)
	c.TaskTypes = tasker.WithDefaults(c.TaskTypes)
	return c
}

// performed returns the task types that this manager performs: those whose labels
// it has.
func (c Config) performed(log *slog.Logger) ([]tasker.TaskType, error) {
	var types []tasker.TaskType
	for _, t := range c.TaskTypes {
		if lacks := c.lacks(t); lacks != "" {
			log.Info("task type skipped: this manager lacks required labels", "type", t.Name, "lacks", lacks)
			continue
		}
		types = append(types, t)
	}
	if len(types) == 0 {
		return nil, tasker.Errorf(tasker.Invalid,
			"no task type to perform: all require labels that this manager lacks: change its labels or its task types")
	}
	return types, nil
}

// lacks returns the labels that a task type requires and the manager does not have,
// such as "role=web, zone=eu".
func (c Config) lacks(t tasker.TaskType) string {
	var lacking []string
	for _, name := range slices.Sorted(maps.Keys(t.Labels)) {
		if value, ok := c.Labels[name]; !ok || value != t.Labels[name] {
			lacking = append(lacking, name+"="+t.Labels[name])
		}
	}
	return strings.Join(lacking, ", ")
}

// Validate returns an error if a configuration with its defaults filled in is
// invalid.
func (c Config) Validate() error {
	if len(c.Endpoints) == 0 || len(c.TaskTypes) == 0 {
		return tasker.Errorf(tasker.Invalid, "a manager needs at least one endpoint and one task type")
	}
	seen := map[string]bool{}
	for _, name := range c.Endpoints {
		if err := tasker.ValidateEndpoint(name); err != nil {
			return err
		}
		if seen[name] {
			return tasker.Errorf(tasker.Invalid, "endpoint %q is listed twice", name)
		}
		seen[name] = true
	}
	if err := tasker.ValidateTaskTypes(c.TaskTypes); err != nil {
		return err
	}
	if c.Lease < 2*c.Heartbeat {
		return tasker.Errorf(tasker.Invalid, "invalid lease %v: must be at least twice the heartbeat (%v)", c.Lease, c.Heartbeat)
	}
	switch {
	case !slices.Contains(VerifyModes(), c.Verify):
		return tasker.Errorf(tasker.Invalid, "invalid verify %q: must be one of %s", c.Verify, strings.Join(VerifyModes(), ", "))
	case c.Verify != VerifyOff && (c.Allowed == nil || c.StateDir == ""):
		return tasker.Errorf(tasker.Invalid, "missing allowed signers, or a directory for the state: verify %q needs both", c.Verify)
	}
	if c.Prefetch < 1 || c.MaxResult < 1 {
		return tasker.Errorf(tasker.Invalid, "invalid prefetch or result limit: must be positive")
	}
	return nil
}
