package config

import (
	"reflect"
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
)

// Difference is what differs between two configurations.
type Difference struct {
	// Level reports whether log.level differs.
	Level bool
	// Access reports whether the content of the access file differs.
	Access bool
	// Added, Removed and Changed are the names of task types.
	Added, Removed, Changed []string
	// Signers reports whether the allowed signers differ.
	Signers bool
	// Restart are the keys whose value takes effect only after a restart. The
	// key of a secret's file stands for its content.
	Restart []string
}

// TaskTypes reports whether the task types differ.
func (d Difference) TaskTypes() bool { return len(d.Added)+len(d.Removed)+len(d.Changed) > 0 }

// Diff returns what differs in the next configuration.
func (c Config) Diff(next Config) Difference {
	d := Difference{Access: !c.API.Access.Same(next.API.Access)}
	for i, s := range c.settings {
		switch {
		case reflect.DeepEqual(s.plain, next.settings[i].plain):
		case s.path == logLevelKey:
			d.Level = true
		case s.path == allowedKey: // what the file says counts
		default:
			d.Restart = append(d.Restart, s.path)
		}
	}
	d.Signers = !c.Manager.Allowed.Equal(next.Manager.Allowed)
	// A secret may change while the name of its file stays. Other changes of an
	// address are among the keys above.
	changed := func(path string) bool { return slices.Contains(d.Restart, path) }
	for _, secret := range []struct {
		path, beside string
		same         bool
	}{
		{tokenFileKey, "", c.API.Token == next.API.Token || c.API.Token != "" && next.API.Token != ""},
		{"manager.db.password_file", "manager.db.uri", c.Store.URI == next.Store.URI},
		{"manager.message_queue.password_file", brokerURIKey, slices.Equal(c.Rabbit.URIs, next.Rabbit.URIs)},
		{"rabbitmq.password_file", "rabbitmq.password", c.RabbitAdmin.Password == next.RabbitAdmin.Password},
	} {
		if !secret.same && !changed(secret.path) && !changed(secret.beside) {
			d.Restart = append(d.Restart, secret.path)
		}
	}
	before := map[string]tasker.TaskType{}
	for _, t := range c.TaskTypes {
		before[t.Name] = t
	}
	for _, t := range next.TaskTypes {
		old, there := before[t.Name]
		delete(before, t.Name)
		switch {
		case !there:
			d.Added = append(d.Added, t.Name)
		case !old.Equal(t):
			d.Changed = append(d.Changed, t.Name)
		}
	}
	for _, t := range c.TaskTypes {
		if _, gone := before[t.Name]; gone {
			d.Removed = append(d.Removed, t.Name)
		}
	}
	return d
}

// HandlersAfter is [Config.Handlers] for a configuration that replaces another
// one: a task type whose handler and settings are the same keeps its handler of
// registry, if handlers of that kind can be compared.
func (c Config) HandlersAfter(before Config, registry *handlers.Registry, names []string) (*handlers.Registry, error) {
	chosen, err := c.Choose(names)
	if err != nil {
		return nil, err
	}
	old := map[string]tasker.TaskType{}
	for _, t := range before.TaskTypes {
		old[t.Name] = t
	}
	return c.register(chosen, func(t tasker.TaskType) (handlers.Handler, bool) {
		was := old[t.Name]
		h, ok := registry.Lookup(t.Name)
		return h, ok && reflect.ValueOf(h).Comparable() && was.Handler == t.Handler && reflect.DeepEqual(was.Settings, t.Settings)
	})
}
