package api

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// EndpointStore holds the registered endpoints.
type EndpointStore interface {
	// ListEndpoints returns one page, by name.
	ListEndpoints(ctx context.Context, q tasker.EndpointQuery) ([]tasker.Endpoint, error)
}

// Remover removes endpoints.
type Remover interface {
	// Remove removes an endpoint that is not alive and returns how many open
	// tasks no longer expect it. Its errors are [tasker.NotFound] and, if its
	// manager is alive, [tasker.Conflict]. queuesLeft reports that its queues are
	// deleted later.
	Remove(ctx context.Context, name string) (removal tasker.Removal, tasks int, queuesLeft bool, err error)
}

// endpointHandlers serve the endpoints.
type endpointHandlers struct {
	store   EndpointStore
	remover Remover
	log     *slog.Logger
}

// list serves GET /v1/endpoints, by name.
func (h *endpointHandlers) list(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	limit := pageLimit(query, &errs)
	q := tasker.EndpointQuery{Limit: limit + 1}
	if query.Has("task_type") {
		q.TaskType = query.Get("task_type")
		if err := tasker.ValidateTaskType(q.TaskType); err != nil {
			errs.add("?task_type", "%v", err)
		}
	}
	if query.Has("cursor") {
		q.After = query.Get("cursor")
		if tasker.ValidateEndpoint(q.After) != nil {
			errs.add("?cursor", invalidCursor)
		}
	}
	if err := errs.err(); err != nil {
		return err
	}
	endpoints, err := h.store.ListEndpoints(r.Context(), q)
	if err != nil {
		return err
	}
	page := client.EndpointPage{Endpoints: []tasker.Endpoint{}}
	page.Endpoints = append(page.Endpoints, endpoints[:min(limit, len(endpoints))]...)
	for i := range page.Endpoints {
		if page.Endpoints[i].TaskTypes == nil {
			page.Endpoints[i].TaskTypes = []string{}
		}
	}
	if len(endpoints) > limit {
		page.Next = nextPage(w, r, endpoints[limit-1].Name)
	}
	return writeJSON(w, http.StatusOK, page)
}

// remove serves DELETE /v1/endpoints/{endpoint}: 202 if its queues remain, to be
// deleted when the message broker can be reached and nobody consumes from them.
func (h *endpointHandlers) remove(w http.ResponseWriter, r *http.Request) error {
	name := mux.Vars(r)["endpoint"]
	if tasker.ValidateEndpoint(name) != nil {
		return tasker.Errorf(tasker.NotFound, "endpoint %q not found: %s lists the registered endpoints", clip(name, tasker.MaxName),
			routeEndpoints)
	}
	removal, tasks, queuesLeft, err := h.remover.Remove(r.Context(), name)
	if err != nil {
		return err
	}
	h.log.InfoContext(r.Context(), "endpoint removed",
		"endpoint", name, "open_tasks", tasks, "queues_pending", queuesLeft, "request_id", requestInfoOf(r).id)
	answer := client.RemovedEndpoint{
		Name: name, TaskTypes: removal.TaskTypes, Time: removal.Time, OpenTasks: tasks,
		QueuesPending: queuesLeft,
	}
	if answer.TaskTypes == nil {
		answer.TaskTypes = []string{}
	}
	if queuesLeft {
		return writeJSON(w, http.StatusAccepted, answer)
	}
	return writeJSON(w, http.StatusOK, answer)
}
