package api

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/choice"
	"github.com/taskerhq/tasker/internal/selector"
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
	chooser choice.Chooser
	store   EndpointStore
	remover Remover
	log     *slog.Logger
}

// list serves GET /v1/endpoints, by name.
func (h *endpointHandlers) list(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	q := tasker.EndpointQuery{Limit: pageLimit(query, &errs)}
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
	chosen := selectParam(query, &errs)
	if err := errs.err(); err != nil {
		return err
	}
	endpoints, last, err := h.page(r.Context(), q, chosen)
	if err != nil {
		return err
	}
	page := client.EndpointPage{Endpoints: append([]tasker.Endpoint{}, endpoints...)}
	for i := range page.Endpoints {
		page.Endpoints[i].TaskTypes = knownTypes(r.Context(), page.Endpoints[i].TaskTypes)
	}
	if last != "" {
		page.Next = nextPage(w, r, last)
	}
	return writeJSON(w, http.StatusOK, page)
}

// knownTypes returns the task types for which the principal of a request has any right.
func knownTypes(ctx context.Context, types []string) []string {
	p, known := principalOf(ctx), []string{}
	for _, taskType := range types {
		if p.Knows(taskType) {
			known = append(known, taskType)
		}
	}
	return known
}

// page returns the endpoints of a page and, if more follow, the name of its last
// one. An empty union chooses all of them.
func (h *endpointHandlers) page(
	ctx context.Context, q tasker.EndpointQuery, u selector.Union,
) (page []tasker.Endpoint, last string, err error) {
	limit := q.Limit
	if len(u) > 0 {
		if q.Names, last, err = h.chooser.Names(ctx, q, u); err != nil || len(q.Names) == 0 {
			return nil, "", err
		}
		page, err = h.store.ListEndpoints(ctx, q)
		return page, last, err
	}
	q.Limit++ // to see whether more follow
	page, err = h.store.ListEndpoints(ctx, q)
	if len(page) > limit {
		page, last = page[:limit], page[limit-1].Name
	}
	return page, last, err
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
