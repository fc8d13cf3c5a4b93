package api

import (
	"net/http"
	"slices"

	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/choice"
)

// Paths that messages mention too.
const (
	routeHealth      = "/healthz"
	routeReady       = "/readyz"
	routeMetrics     = "/metrics"
	routeOpenAPI     = "/openapi.yaml"
	routeTaskTypes   = "/v1/task-types"
	routeEndpoints   = "/v1/endpoints"
	routeTokens      = "/v1/endpoint-tokens"
	routeDeadLetters = "/v1/dead-letters"
	routeTasks       = "/v1/tasks"
	routeSchedules   = "/v1/schedules"
	routeRollouts    = "/v1/rollouts"
)

// handlerFunc serves a request. It returns an error before it writes anything;
// the router answers with the matching problem.
type handlerFunc func(w http.ResponseWriter, r *http.Request) error

// route is one method of one path. HEAD works wherever GET does.
type route struct {
	method, path string
	needs        need // what whoever calls it must be allowed to do
	handle       handlerFunc
	limit        *limiter // of concurrent requests; nil if the handler needs none, or takes a slot itself
	query        []string // the accepted query parameters, each at most once
	repeatable   []string // those among them that may come several times
	anyQuery     bool     // ignores the query: probes add whatever they like
	stream       bool     // may take any time
	waits        bool     // may wait for the end of a task, without a slot; see preferredWait
}

// routes returns the table of everything that the API serves. Fixed paths come
// before templates.
func routes(cfg Config, deps Deps, types *taskTypes, limits *limits, streams *streams) []route {
	chooser := choice.Chooser{Endpoints: deps.Endpoints, Clock: deps.Database}
	return slices.Concat(ownRoutes(cfg, deps, types, chooser, limits), scheduleRoutes(cfg, deps, types, limits),
		taskRoutes(cfg, deps, types, chooser, limits, streams))
}

// The methods of routes.
const (
	get   = http.MethodGet
	post  = http.MethodPost
	put   = http.MethodPut
	patch = http.MethodPatch
	del   = http.MethodDelete
)

// ownRoutes returns the routes of the process, the task types, the endpoints and the
// dead letters.
func ownRoutes(cfg Config, deps Deps, types *taskTypes, chooser choice.Chooser, limits *limits) []route {
	health := &healthHandlers{deps.Database, deps.Broker, cfg.Version, deps.Log}
	taskTypes := &taskTypeHandlers{types, deps.Endpoints, deps.Holds}
	holds := &holdHandlers{types, deps.Holder, limits, cfg.MaxBody, deps.Log}
	endpoints := &endpointHandlers{chooser, deps.Endpoints, deps.Remover, deps.Log}
	tokens := &tokenHandlers{deps.Tokens, deps.Log}
	letters := &deadLetterHandlers{deps.DeadLetters, deps.Requeuer, deps.Log}
	reads, writes := limits.reads, limits.writes
	administer := everything.with(access.Admin)
	return []route{
		{method: get, path: routeHealth, needs: forAll, handle: health.alive, anyQuery: true},
		{method: get, path: routeReady, needs: someTypes.with(access.View), handle: health.ready, anyQuery: true},
		{method: get, path: routeMetrics, needs: everything.with(access.View), handle: serveMetrics(deps.Exposition), anyQuery: true},
		{method: get, path: routeOpenAPI, needs: forAnybody, handle: serveOpenAPI, anyQuery: true},
		{method: get, path: routeTaskTypes, needs: forAnybody, handle: taskTypes.list},
		{method: get, path: "/v1/task-types/{task_type}", needs: forKnown, handle: taskTypes.get, limit: reads},
		{
			method: post, path: "/v1/task-types/{task_type}/pause", needs: wholeType.with(access.Pause), handle: holds.hold(holds.taskType),
			limit: writes,
		},
		{
			method: post, path: "/v1/task-types/{task_type}/resume", needs: wholeType.with(access.Pause),
			handle: holds.resume(holds.taskType), limit: writes,
		},
		{
			method: get, path: routeEndpoints, needs: someTypes.with(access.View), handle: endpoints.list, limit: reads,
			query: []string{"task_type", "select", "limit", "cursor"}, repeatable: []string{"select"},
		},
		{method: del, path: "/v1/endpoints/{endpoint}", needs: administer, handle: endpoints.remove, limit: writes},
		{
			method: post, path: "/v1/endpoints/{endpoint}/drain", needs: theEndpoint.with(access.Drain), handle: holds.hold(holds.endpoint),
			limit: writes,
		},
		{
			method: post, path: "/v1/endpoints/{endpoint}/resume", needs: theEndpoint.with(access.Drain),
			handle: holds.resume(holds.endpoint), limit: writes,
		},
		{method: post, path: "/v1/endpoints/{endpoint}/token", needs: administer, handle: tokens.add, limit: writes},
		{
			method: post, path: "/v1/endpoints/{endpoint}/token/rotate", needs: administer, handle: tokens.rotate,
			limit: writes, query: []string{"overlap"},
		},
		{method: get, path: routeTokens, needs: administer, handle: tokens.list, limit: reads, query: []string{"limit", "cursor"}},
		{
			method: get, path: routeDeadLetters, needs: everything.with(access.View), handle: letters.list,
			limit: reads, query: []string{"limit", "cursor"},
		},
		{method: get, path: "/v1/dead-letters/{id}", needs: everything.with(access.View), handle: letters.get, limit: reads},
		{method: del, path: "/v1/dead-letters/{id}", needs: administer, handle: letters.discard, limit: writes},
		{method: post, path: "/v1/dead-letters/{id}/requeue", needs: administer, handle: letters.requeue, limit: writes},
	}
}

// scheduleRoutes returns the routes of the schedules.
func scheduleRoutes(cfg Config, deps Deps, types *taskTypes, limits *limits) []route {
	h := &scheduleHandlers{
		deps.Schedules, deps.Scheduler,
		scheduledTasks{types, deps.Dispatcher},
		deps.Database, limits,
		min(cfg.MaxBody, maxScheduleBody), newRights(deps, types), deps.Log,
	}
	const one = routeSchedules + "/{schedule}"
	reads, writes := limits.reads, limits.writes
	pages, version, seen := []string{"limit", "cursor"}, []string{"version"}, []string{"version", "pause"}
	view, change := someTypes.with(access.View), someTypes.with(access.Schedule)
	return []route{
		{
			method: get, path: "/v1/schedule-preview", needs: forAnybody, handle: h.preview,
			limit: reads, query: previewQuery, repeatable: []string{"at"},
		},
		{method: get, path: routeSchedules, needs: view, handle: h.list, limit: reads, query: pages},
		{method: get, path: one, needs: view, handle: h.get, limit: reads},
		{method: put, path: one, needs: change, handle: h.put, limit: writes, query: version},
		{method: del, path: one, needs: change, handle: h.remove, limit: writes, query: version},
		{method: get, path: one + "/next", needs: view, handle: h.next, limit: reads, query: []string{"n"}},
		{method: get, path: one + "/slots", needs: view, handle: h.slots, limit: reads, query: pages},
		{method: post, path: one + "/pause", needs: change, handle: h.pause, limit: writes, query: seen},
		{method: post, path: one + "/resume", needs: change, handle: h.resume, limit: writes, query: seen},
		{
			method: post, path: one + "/trigger", needs: change, handle: h.trigger, limit: writes,
			query: append(seen, "latest"),
		},
		{method: post, path: one + "/backfill", needs: change, handle: h.backfill, limit: writes, query: []string{"dry_run"}},
	}
}

// taskRoutes returns the routes of the tasks and their results.
func taskRoutes(cfg Config, deps Deps, types *taskTypes, chooser choice.Chooser, limits *limits, streams *streams) []route {
	rights := newRights(deps, types)
	reader := &taskReader{deps.Tasks, deps.Statuses, deps.Results, deps.Holds, deps.Rollouts, deps.Database, cfg.WaitForEndpoints, deps.Log}
	waiter := &waiter{reader, streams, deps.Log}
	tasks := &taskHandlers{
		types, deps.Tasks, chooser, deps.Database, &plans{}, deps.Dispatcher, deps.Starter, deps.Rollouts, reader, waiter,
		limits, cfg.MaxBody, rights, deps.Metrics.TasksCreated, deps.Log,
	}
	holds := &holdHandlers{types, deps.Holder, limits, cfg.MaxBody, deps.Log}
	rollouts := &rolloutHandlers{holds, deps.Tasks, deps.Conductor, reader, rights}
	cancels := &cancelHandlers{types, deps.Canceler, limits, cfg.MaxBody, rights, deps.Log}
	retries := &retryHandlers{types, deps.Retrier, limits, cfg.MaxBody, rights, deps.Log}
	pages := &pageHandlers{types, deps.Tasks, deps.Results, reader, waiter, limits}
	results := &resultHandlers{types, deps.Tasks, deps.Results, deps.Live, reader}
	taskEvents := &taskEventHandlers{types, deps.Tasks, deps.Results, deps.Live, deps.Database, reader, streams}
	allEvents := &allEventHandlers{types, deps.Tasks, deps.Database, streams}
	return slices.Concat(
		taskListRoutes(tasks, rollouts, allEvents, limits),
		taskActRoutes(tasks, cancels, holds, retries, rollouts, limits),
		taskReadRoutes(tasks, pages, rollouts, results, taskEvents, limits),
	)
}

// taskListRoutes returns the routes of the tasks of all types.
func taskListRoutes(tasks *taskHandlers, rollouts *rolloutHandlers, allEvents *allEventHandlers, limits *limits) []route {
	reads, anyView := limits.reads, someTypes.with(access.View)
	return []route{
		{
			method: get, path: routeTasks, needs: anyView, handle: tasks.search, limit: reads,
			query: slices.Concat(searchQuery, []string{"limit", "cursor"}), repeatable: searchRepeatable,
		},
		{
			method: get, path: routeTasks + "/counts", needs: anyView, handle: tasks.counts,
			limit: reads, query: searchQuery, repeatable: searchRepeatable,
		},
		{method: get, path: "/v1/tasks/{id}", needs: anyView, handle: tasks.redirect, limit: reads},
		{
			method: get, path: routeRollouts, needs: anyView, handle: rollouts.list,
			limit: reads, query: []string{"state", "limit", "cursor"},
			repeatable: []string{"state"},
		},
		{
			method: get, path: "/v1/events", needs: anyView, handle: allEvents.follow,
			stream: true, query: []string{"task_type", "status", "last_event_id"},
		},
	}
}

// taskActRoutes returns the routes that create tasks, and act on one.
func taskActRoutes(
	tasks *taskHandlers, cancels *cancelHandlers, holds *holdHandlers, retries *retryHandlers, rollouts *rolloutHandlers, limits *limits,
) []route {
	pauseOrApprove := need{reach: someTargets, right: access.Pause, or: access.Approve} // see rolloutHandlers.resume
	return []route{
		{
			method: post, path: "/{task_type}", needs: someTargets.with(access.Run), handle: tasks.create,
			waits: true, query: []string{"dry_run"},
		},
		{method: patch, path: "/{task_type}/{identifier}", needs: wholeTask.with(access.Run), handle: tasks.reschedule},
		{
			method: post, path: "/{task_type}/{identifier}/cancel", needs: someTargets.with(access.Cancel), handle: cancels.cancel,
			limit: limits.writes,
		},
		{
			method: post, path: "/{task_type}/{identifier}/pause", needs: wholeTask.with(access.Pause), handle: holds.hold(holds.task),
			limit: limits.writes,
		},
		{
			method: post, path: "/{task_type}/{identifier}/retry", needs: someTargets.with(access.Retry), handle: retries.retry,
			limit: limits.writes,
			query: []string{"dry_run"},
		},
		{method: post, path: "/{task_type}/{identifier}/resume", needs: pauseOrApprove, handle: rollouts.resume, limit: limits.writes},
		{
			method: post, path: "/{task_type}/{identifier}/approve", needs: wholeTask.with(access.Approve), handle: rollouts.approve,
			limit: limits.writes,
		},
	}
}

// taskReadRoutes returns the routes that read the tasks of a type, and one of them. Its
// fixed paths come after those of all types.
func taskReadRoutes(
	tasks *taskHandlers, pages *pageHandlers, rollouts *rolloutHandlers, results *resultHandlers, taskEvents *taskEventHandlers,
	limits *limits,
) []route {
	reads, view := limits.reads, wholeType.with(access.View)
	return []route{
		{
			method: get, path: "/{task_type}", needs: view, handle: tasks.list,
			limit: reads, query: []string{"status", "payload", "limit", "cursor"},
		},
		{method: get, path: "/{task_type}/{identifier}", needs: view, handle: tasks.get, waits: true},
		{method: get, path: "/{task_type}/{identifier}/summary", needs: view, handle: pages.summary, waits: true},
		{method: get, path: "/{task_type}/{identifier}/groups", needs: view, handle: pages.groups, limit: reads},
		{method: get, path: "/{task_type}/{identifier}/rollout", needs: view, handle: rollouts.get, limit: reads},
		{
			method: get, path: "/{task_type}/{identifier}/missing", needs: view, handle: pages.missing,
			limit: reads, query: []string{"limit", "cursor"},
		},
		{
			method: get, path: "/{task_type}/{identifier}/results", needs: view, handle: pages.list, limit: reads,
			query: []string{"state", "limit", "cursor"},
		},
		{
			method: get, path: "/{task_type}/{identifier}/events", needs: view, handle: taskEvents.follow,
			stream: true, query: []string{"last_event_id"},
		},
		{method: get, path: "/{task_type}/{identifier}/results/{endpoint}", needs: view, handle: results.get, limit: reads},
		{
			method: get, path: "/{task_type}/{identifier}/results/{endpoint}/log", needs: view, handle: results.log, limit: reads,
			query: []string{"offset", "limit", "attempt", "raw"},
		},
	}
}
