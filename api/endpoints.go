package api

import (
	"net/http"

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
