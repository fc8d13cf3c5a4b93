package doctor

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbitadmin"
)

// Management is RabbitMQ's management API.
type Management interface {
	Queues(ctx context.Context, vhost string) ([]rabbitadmin.Queue, error)
	Exchanges(ctx context.Context, vhost string) ([]rabbitadmin.Exchange, error)
	Bindings(ctx context.Context, vhost, exchange string) ([]rabbitadmin.Binding, error)
	UserPermissions(ctx context.Context, vhost, user string) (rabbitadmin.Permissions, error)
	Nodes(ctx context.Context) ([]rabbitadmin.Node, error)
}

// lowDisk is how many times its limit the free disk should be.
const lowDisk = 3

// checkManagement checks what AMQP does not show.
func (e *examination) checkManagement(ctx context.Context) {
	const all = "alarms, permissions, arguments, bindings"
	if e.Management == nil {
		e.skip(groupBroker, all, oneLine(e.ManagementError))
		return
	}
	reached := true
	e.check(ctx, groupBroker, "nodes", func(ctx context.Context) []Finding {
		nodes, err := e.Management.Nodes(ctx)
		if err != nil {
			reached = false
			return one(Note, "set rabbitmq.management_uri, rabbitmq.user and rabbitmq.password_file for these checks",
				"%s not checked: %s", all, reason(ctx, err))
		}
		return alarms(nodes)
	})
	if !reached {
		return
	}
	if !e.check(ctx, groupBroker, "permissions", e.permissions) && e.facts.node == nil {
		e.skip(groupBroker, "arguments, bindings", "the virtual host cannot be used")
		return
	}
	e.check(ctx, groupBroker, "arguments", e.topology)
	e.check(ctx, groupBroker, "bindings", e.bindings)
}

// alarms finds the nodes that are down, partitioned, or accept no messages.
func alarms(nodes []rabbitadmin.Node) []Finding {
	var found []Finding
	add := func(level Level, advice, format string, args ...any) {
		found = append(found, one(level, advice, format, args...)...)
	}
	for _, n := range nodes {
		if !n.Running {
			add(Problem, "start it", "node %s is down", n.Name)
			continue
		}
		if len(n.Partitions) > 0 {
			add(Problem, "fix the network, and restart the nodes whose differences may be lost", "node %s is partitioned from %s", n.Name,
				some(n.Partitions))
		}
		if n.MemoryAlarm {
			add(Problem, "give it memory, or empty its queues", "node %s accepts no messages: out of memory. Tasks stay CREATED", n.Name)
		}
		switch low := n.DiskFreeLimit > 0 && n.DiskFree < lowDisk*n.DiskFreeLimit; {
		case n.DiskAlarm:
			add(Problem, "free disk space", "node %s accepts no messages: only %s of disk free. Tasks stay CREATED",
				n.Name, size(n.DiskFree))
		case low:
			add(Warning, "free disk space", "node %s has %s of disk free: below %s it accepts no messages", n.Name, size(n.DiskFree),
				size(n.DiskFreeLimit))
		}
	}
	if found == nil {
		least := int64(0)
		for i, n := range nodes {
			if i == 0 || n.DiskFree < least {
				least = n.DiskFree
			}
		}
		return okay("%s, no alarm, no partition; %s of disk free", count(len(nodes), "node"), size(least))
	}
	return found
}

func size(bytes int64) string {
	const mega, giga = 1_000_000, 1_000_000_000
	if bytes >= giga {
		return fmt.Sprintf("%.1f GB", float64(bytes)/giga)
	}
	return fmt.Sprintf("%d MB", bytes/mega)
}

// permissions matches the names that tasker uses with the user's patterns.
func (e *examination) permissions(ctx context.Context) []Finding {
	const advice = "tasker initialize --rabbitmq grants them"
	p, err := e.Management.UserPermissions(ctx, e.VirtualHost, e.User)
	if tasker.CodeOf(err) == tasker.NotFound {
		return one(Problem, advice, "user %s has no permissions in virtual host %s", e.User, e.VirtualHost)
	}
	if err != nil {
		return failed(ctx, err, "")
	}
	names := []string{broker.DeadExchange, broker.EventsExchange, "amq.gen-x"}
	for _, taskType := range e.Settings.TaskTypes {
		names = append(names, broker.ExchangeName(taskType), broker.Queue{TaskType: taskType, Endpoint: "console1"}.Name())
	}
	var lacks []string
	for _, right := range []struct{ verb, pattern string }{{"configure", p.Configure}, {"write", p.Write}, {"read", p.Read}} {
		// RabbitMQ searches for the pattern anywhere in a name.
		pattern, err := regexp.Compile(right.pattern)
		if err != nil {
			return one(Note, "", "not checked: unsupported pattern %q", right.pattern)
		}
		if i := slices.IndexFunc(names, func(name string) bool { return right.pattern == "" || !pattern.MatchString(name) }); i >= 0 {
			lacks = append(lacks, fmt.Sprintf("%s %s", right.verb, names[i]))
		}
	}
	if len(lacks) > 0 {
		return one(Problem, advice, "user %s may not %s in virtual host %s", e.User, strings.Join(lacks, ", nor "), e.VirtualHost)
	}
	return okay("user %s has the permissions that tasker needs in %s", e.User, e.VirtualHost)
}

// differences returns how a queue differs from what tasker declares: its manager could
// not subscribe.
func differences(q rabbitadmin.Queue, want map[string]any) []string {
	var list []string
	if !q.Durable {
		list = append(list, "queue "+q.Name+" is not durable")
	}
	is := map[string]any{"x-queue-type": q.Type} // which need not be an argument
	maps.Copy(is, q.Arguments)
	names := slices.AppendSeq(slices.Collect(maps.Keys(is)), maps.Keys(want))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if got, should := argument(is[name]), argument(want[name]); got != should {
			list = append(list, fmt.Sprintf("queue %s has %s %s instead of %s", q.Name, name, got, should))
		}
	}
	return list
}

// argument formats the value of an argument: numbers in JSON are floating-point.
func argument(value any) string {
	switch v := value.(type) {
	case nil:
		return "none"
	case float64:
		return fmt.Sprint(int64(v))
	}
	return fmt.Sprint(value)
}

// bindings finds queues that exist but receive nothing.
func (e *examination) bindings(ctx context.Context) []Finding {
	bound := map[rabbitadmin.Binding]bool{}
	dead, err := e.Management.Bindings(ctx, e.VirtualHost, broker.DeadExchange)
	if err != nil {
		return failed(ctx, err, "")
	}
	var found []Finding
	if !slices.ContainsFunc(dead, func(b rabbitadmin.Binding) bool { return b.Queue == broker.DeadQueue }) {
		found = one(Problem, adviceDead, "queue %s is not bound: rejected messages are dropped", broker.DeadQueue)
	}
	var missing []string
	types := slices.Clone(e.Settings.TaskTypes)
	for _, s := range e.facts.endpoints {
		types = append(types, s.TaskTypes...)
	}
	slices.Sort(types)
	for _, taskType := range slices.Compact(types) {
		list, err := e.Management.Bindings(ctx, e.VirtualHost, broker.ExchangeName(taskType))
		if err != nil {
			return failed(ctx, err, "")
		}
		for _, b := range list {
			bound[b] = true
		}
	}
	for _, s := range e.facts.endpoints {
		for _, taskType := range s.TaskTypes {
			q := broker.Queue{TaskType: taskType, Endpoint: s.Name}
			if !e.facts.queues[q.Name()].exists {
				continue // reported elsewhere
			}
			for _, key := range q.Keys() {
				if !bound[rabbitadmin.Binding{Queue: q.Name(), Key: key}] {
					missing = append(missing, q.Name()+" with key "+key)
				}
			}
		}
	}
	if len(missing) > 0 {
		found = append(found, one(Problem, "running managers bind their queues again within minutes: check again then",
			"%s missing, so that messages do not arrive: %s", are(len(missing), "binding"), some(missing))...)
	}
	if found != nil {
		return found
	}
	return okay("every queue is bound")
}
