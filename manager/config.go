package manager

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
)

// Config says what a manager serves and within which limits.
type Config struct {
	// Endpoints are the names it serves: one in production, several for
	// development and tests.
	Endpoints []string
	// TaskTypes are the types that each of the endpoints performs.
	TaskTypes []tasker.TaskType
	// Heartbeat is the time between two signs of life; 0 means 2 s.
	Heartbeat time.Duration
	// Lease is how long an endpoint's name stays taken after the last sign of
	// life; 0 means 8 s. It must be at least twice Heartbeat.
	Lease time.Duration
	// ShutdownTimeout is how long handlers may go on when the manager stops;
	// 0 means 30 s.
	ShutdownTimeout time.Duration
	// AbandonAfter is how long a handler may take to return once its context
	// has ended; after that its result is recorded without it. 0 means 10 s.
	AbandonAfter time.Duration
	// MaxResult bounds the payload of a result, in bytes; 0 means 1 MiB.
	MaxResult int
	// SpoolDir keeps the results that the database cannot take for now, until
	// it can, over restarts of the manager. It must be on a disk of this
	// machine, and may be that of other managers, of other endpoints. Empty
	// means that such results are in memory only.
	SpoolDir string
	// CatchUp is the time after which the manager looks again for tasks whose
	// message was lost; 0 means 60 s. It also looks each time that it has
	// subscribed.
	CatchUp time.Duration
	// Prefetch bounds the unacknowledged messages of a queue; 0 means 64.
	Prefetch int
	// Version is the program's, shown with the endpoint.
	Version string
	// Labels are what the endpoints are called besides their names, such as
	// role: web. They are shown with the endpoints, and task types may ask for
	// some.
	Labels map[string]string
	// Forget removes the endpoints when the manager ends after a stop that was
	// asked for: no task expects them any more, and what they have not begun is
	// CANCELED. An endpoint of which an attempt has not ended stays registered:
	// one that was interrupted, that awaits a reboot, or whose end could not be
	// stored.
	Forget bool
	// BootID names the boot of the machine, by which a manager knows whether
	// the machine has rebooted; empty means what the system says.
	BootID string
	// Ready, if set, is called once the manager serves its endpoints: it has
	// their names, has adopted what they left, and begins to consume.
	Ready func()
}

// withDefaults fills what is not set.
func (c Config) withDefaults() Config {
	fill := func(d *time.Duration, fallback time.Duration) {
		if *d == 0 {
			*d = fallback
		}
	}
	fill(&c.Heartbeat, 2*time.Second)
	fill(&c.Lease, 8*time.Second)
	fill(&c.ShutdownTimeout, 30*time.Second)
	fill(&c.AbandonAfter, 10*time.Second)
	fill(&c.CatchUp, time.Minute)
	if c.MaxResult == 0 {
		c.MaxResult = 1 << 20
	}
	if c.BootID == "" {
		c.BootID = bootID()
	}
	if c.Prefetch == 0 {
		c.Prefetch = 64
	}
	c.TaskTypes = tasker.WithDefaults(c.TaskTypes)
	return c
}

// lacks gives the labels that a task type asks for and the manager does not
// have, such as "role=web, zone=eu"; empty for none.
func (c Config) lacks(t tasker.TaskType) string {
	var lacking []string
	for _, name := range slices.Sorted(maps.Keys(t.Labels)) {
		if value, ok := c.Labels[name]; !ok || value != t.Labels[name] {
			lacking = append(lacking, name+"="+t.Labels[name])
		}
	}
	return strings.Join(lacking, ", ")
}

// Validate tells what is wrong with a configuration whose defaults are filled.
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
			return tasker.Errorf(tasker.Invalid, "endpoint %q is given twice", name)
		}
		seen[name] = true
	}
	if err := tasker.ValidateTaskTypes(c.TaskTypes); err != nil {
		return err
	}
	if c.Lease < 2*c.Heartbeat {
		return tasker.Errorf(tasker.Invalid, "the lease (%v) must be at least twice the heartbeat (%v)", c.Lease, c.Heartbeat)
	}
	if c.Prefetch < 1 || c.MaxResult < 1 {
		return fmt.Errorf("prefetch and the result's limit must be positive")
	}
	return nil
}
