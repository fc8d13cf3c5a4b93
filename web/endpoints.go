package web

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// endpointsPage is the list of the endpoints.
type endpointsPage struct {
	Select, Type string
	Types        []client.TaskTypeInfo
	Wrong        string // why the selector is refused
	Endpoints    []tasker.Endpoint
	First        bool
	Next         string
}

func showEndpoints(v *visit) error {
	given := v.r.URL.Query()
	p := endpointsPage{Select: v.param("select"), Type: v.param("type"), First: !given.Has("cursor")}
	var err error
	if p.Types, err = v.api.TaskTypes(v.ctx()); err != nil {
		return err
	}
	query := url.Values{"limit": {strconv.Itoa(tableRows)}}
	for to, from := range map[string]string{"select": "select", "task_type": "type", "cursor": "cursor"} {
		if given.Get(from) != "" {
			query.Set(to, given.Get(from))
		}
	}
	status := http.StatusOK
	found, err := get[client.EndpointPage](v, query, "v1", "endpoints")
	if err != nil {
		if !refused(err) {
			return err
		}
		f, code := failureOf(err)
		p.Wrong, status = f.Detail, code
	}
	p.Endpoints, p.Next = found.Endpoints, value(found.Next)
	return v.show(status, "endpoints", page{Title: "Endpoints", Section: "endpoints", Body: p})
}

// endpointPage is one endpoint and its latest tasks.
type endpointPage struct {
	Name     string
	Endpoint *tasker.Endpoint // nil if it is not registered, but had tasks
	Tasks    []client.TaskView
	More     bool
}

func showEndpoint(v *visit) error {
	p := endpointPage{Name: v.r.PathValue("endpoint")}
	if tasker.ValidateEndpoint(p.Name) != nil {
		return tasker.Errorf(tasker.NotFound, "endpoint not found")
	}
	found, err := get[client.EndpointPage](v, url.Values{"select": {"name=" + p.Name}}, "v1", "endpoints")
	if err != nil {
		return err
	}
	if len(found.Endpoints) > 0 {
		p.Endpoint = &found.Endpoints[0]
	}
	tasks, err := v.search(url.Values{"endpoint": {p.Name}}, 2*fewRows)
	if err != nil {
		return err
	}
	p.Tasks, p.More = tasks.Tasks, tasks.Next != nil
	if p.Endpoint == nil && len(p.Tasks) == 0 {
		return tasker.Errorf(tasker.NotFound, "endpoint %q not found: it is not registered, and no task is for it", p.Name)
	}
	return v.show(http.StatusOK, "endpoint", page{Title: p.Name, Section: "endpoints", Events: "events", Body: p})
}
