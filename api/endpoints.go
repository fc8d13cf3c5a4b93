package api

import (
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
)

// endpointPage is one page of endpoints. Next is the cursor of the page that
// follows, null on the last one.
type endpointPage struct {
	Endpoints []tasker.Endpoint `json:"endpoints"`
	Next      *string           `json:"next"`
}

// listEndpoints answers GET /v1/endpoints, by name.
func (s *Server) listEndpoints(w http.ResponseWriter, r *http.Request) error {
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
			errs.add("?cursor", "the cursor is none that this list gave: take it from \"next\"")
		}
	}
	if err := errs.err(); err != nil {
		return err
	}
	endpoints, err := s.store.ListEndpoints(r.Context(), q)
	if err != nil {
		return err
	}
	page := endpointPage{Endpoints: []tasker.Endpoint{}}
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

// removedEndpoint is what the removal of an endpoint did.
type removedEndpoint struct {
	Name      string    `json:"name"`
	TaskTypes []string  `json:"task_types"`
	Time      time.Time `json:"removed_time"`
	// OpenTasks counts the open tasks that do not expect it any more.
	OpenTasks int `json:"open_tasks"`
	// QueuesPending is true where its queues are deleted later.
	QueuesPending bool `json:"queues_pending"`
}

// removeEndpoint answers DELETE /v1/endpoints/{endpoint}: 202 where its queues
// are left, to be deleted when the message broker can be reached and nobody
// consumes from them.
func (s *Server) removeEndpoint(w http.ResponseWriter, r *http.Request) error {
	name := mux.Vars(r)["endpoint"]
	if tasker.ValidateEndpoint(name) != nil {
		return tasker.Errorf(tasker.NotFound, "endpoint %q not found: %s lists the registered ones", clip(name, tasker.MaxName), routeEndpoints)
	}
	removal, tasks, queuesLeft, err := s.remover.Remove(r.Context(), name)
	if err != nil {
		return err
	}
	s.log.InfoContext(r.Context(), "an endpoint was removed",
		"endpoint", name, "open_tasks", tasks, "queues_pending", queuesLeft, "request_id", requestInfoOf(r).id)
	answer := removedEndpoint{Name: name, TaskTypes: removal.TaskTypes, Time: removal.Time, OpenTasks: tasks, QueuesPending: queuesLeft}
	if answer.TaskTypes == nil {
		answer.TaskTypes = []string{}
	}
	if queuesLeft {
		return writeJSON(w, http.StatusAccepted, answer)
	}
	return writeJSON(w, http.StatusOK, answer)
}
