package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
)

const groupEndpoints = "endpoints"

// endpointsPerPage bounds one read.
const endpointsPerPage = 500

// EndpointStore holds the registered endpoints.
type EndpointStore interface {
	ListEndpoints(ctx context.Context, q tasker.EndpointQuery) ([]tasker.Endpoint, error)
}

// seen is a registered endpoint, and how long it has been silent.
type seen struct {
	tasker.Endpoint
	silent time.Duration
}

// expired reports whether RabbitMQ must have deleted the endpoint's queues by now.
func (s seen) expired(expires time.Duration) bool {
	return !s.Alive && expires > 0 && s.silent >= expires
}

// readEndpoints reads the registered endpoints; checkEndpoints reports a failure.
func (e *examination) readEndpoints(ctx context.Context) {
	if !e.facts.schema {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, e.Limit, fmt.Errorf("no answer within %s", e.Limit))
	defer cancel()
	var list []seen
	for after := ""; ; {
		page, err := e.Endpoints.ListEndpoints(ctx, tasker.EndpointQuery{After: after, Limit: endpointsPerPage})
		if err != nil {
			e.facts.endpointsError = fmt.Errorf("%s", reason(ctx, err))
			return
		}
		now := e.Database.Now()
		for _, endpoint := range page {
			list = append(list, seen{endpoint, now.Sub(endpoint.LastSeen)})
		}
		if len(page) < endpointsPerPage {
			break
		}
		after = page[len(page)-1].Name
	}
	e.facts.endpoints, e.facts.known = list, true
}

func (e *examination) checkEndpoints(ctx context.Context) {
	switch {
	case !e.facts.schema:
		e.skip(groupEndpoints, "all", "they are in the database")
		return
	case e.facts.endpointsError != nil:
		e.check(ctx, groupEndpoints, "registered", func(ctx context.Context) []Finding {
			return failed(ctx, e.facts.endpointsError, "")
		})
		return
	}
	e.check(ctx, groupEndpoints, "alive", func(context.Context) []Finding { return e.facts.silent() })
	e.check(ctx, groupEndpoints, "drained", func(context.Context) []Finding { return e.facts.drained() })
	e.check(ctx, groupEndpoints, "task types", func(context.Context) []Finding { return e.facts.served(e.Settings.TaskTypes) })
	if e.OwnBroker {
		return
	}
	if e.facts.queues == nil {
		e.skip(groupEndpoints, "queues", "they are at RabbitMQ")
		return
	}
	e.check(ctx, groupEndpoints, "queues", func(context.Context) []Finding { return e.endpointQueues() })
}

// silent finds the endpoints whose lease has expired.
func (f facts) silent() []Finding {
	if len(f.endpoints) == 0 {
		return one(Warning, "start a manager: tasker manager --endpoint NAME", "no endpoint is registered: nothing performs tasks")
	}
	var names []string
	longest := slices.Clone(f.endpoints)
	slices.SortFunc(longest, func(a, b seen) int { return int(b.silent - a.silent) })
	for _, s := range longest {
		if !s.Alive {
			names = append(names, fmt.Sprintf("%s for %s", s.Name, ago(s.silent)))
		}
	}
	if len(names) == 0 {
		return okay("%s, all alive", count(len(f.endpoints), "endpoint"))
	}
	return one(Warning, "start their managers, or remove them: their tasks wait for them",
		"%d of %s down: %s", len(names), count(len(f.endpoints), "endpoint"), some(names))
}

// drained finds the endpoints that somebody drained.
func (f facts) drained() []Finding {
	var names []string
	for _, s := range f.endpoints {
		if s.Drain != nil {
			names = append(names, s.Drain.Describe(s.Name))
		}
	}
	if len(names) == 0 {
		return okay("no endpoint is drained")
	}
	return one(Warning, "tasker endpoints resume NAME has them start tasks again",
		"%s drained: %s", are(len(names), "endpoint"), some(names))
}

// served finds the configured task types that no endpoint performs.
func (f facts) served(taskTypes []string) []Finding {
	var idle []string
	for _, name := range taskTypes {
		if !slices.ContainsFunc(f.endpoints, func(s seen) bool { return slices.Contains(s.TaskTypes, name) }) {
			idle = append(idle, name)
		}
	}
	if len(idle) == 0 {
		return okay("every configured task type has an endpoint")
	}
	return one(Warning, "start a manager for them, or remove them from task_types", "no endpoint is registered for %s", some(idle))
}

// endpointQueues compares the queues that the registered endpoints should have with
// those of RabbitMQ.
func (e *examination) endpointQueues() []Finding {
	const many = 1000
	var gone, waiting, unread, full []string
	total := 0
	for _, s := range e.facts.endpoints {
		if s.expired(e.Settings.QueueExpires) {
			continue
		}
		for _, taskType := range s.TaskTypes {
			total++
			name := broker.Queue{TaskType: taskType, Endpoint: s.Name}.Name()
			q, looked := e.facts.queues[name]
			switch {
			case !looked:
				total--
			case !q.exists && s.Alive:
				gone = append(gone, name)
			case !q.exists:
				waiting = append(waiting, name)
			case q.consumers == 0 && s.Alive:
				unread = append(unread, fmt.Sprintf("%s (%s)", name, count(q.messages, "message")))
			case q.messages >= many:
				full = append(full, fmt.Sprintf("%s (%d)", name, q.messages))
			}
		}
	}
	var found []Finding
	add := func(level Level, advice, what string, names []string) {
		if len(names) > 0 {
			found = append(found, one(level, advice, "%s %s: %s", count(len(names), "queue"), what, some(names))...)
		}
	}
	add(Problem, "restart these endpoints' managers: each declares its queue and catches up from the database",
		"of living endpoints missing",
		gone)
	add(Problem, "see these managers' logs: they are alive and accept no tasks", "of living endpoints without a consumer", unread)
	add(Warning, "nothing is lost: when their managers start, they declare them and catch up from the database",
		"of stopped endpoints missing", waiting)
	add(Warning, "their managers are down, or the database is slow", "with many messages", full)
	if found == nil {
		return okay("%s, all exist, and those of living endpoints have consumers", count(total, "queue"))
	}
	return found
}
