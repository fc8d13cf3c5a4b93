package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/schema"
)

// taskTypes are the task types of one reading of the configuration. It is not
// changed: a reload makes another one.
type taskTypes struct {
	list   []tasker.TaskType // in the configuration's order
	byName map[string]*tasker.TaskType
}

// SetTaskTypes replaces the task types, for a configuration that was read
// again. Requests that begin afterwards see the new ones, those under way keep
// what they have. An error names the rule that types break, and changes
// nothing.
func (s *Server) SetTaskTypes(types []tasker.TaskType) error {
	if err := validateTaskTypes(types); err != nil {
		return err
	}
	next := &taskTypes{list: tasker.WithDefaults(types), byName: make(map[string]*tasker.TaskType, len(types))}
	for i := range next.list {
		next.byName[next.list[i].Name] = &next.list[i]
	}
	s.types.Store(next)
	return nil
}

func validateTaskTypes(types []tasker.TaskType) error {
	if err := tasker.ValidateTaskTypes(types); err != nil {
		return fmt.Errorf("task_types: %w", err)
	}
	return nil
}

// taskType gives the task type of a request's path, if there is one of that
// name.
func (s *Server) taskType(r *http.Request) (*tasker.TaskType, error) {
	types := s.types.Load()
	name := mux.Vars(r)["task_type"]
	if tt, ok := types.byName[name]; ok {
		return tt, nil
	}
	return nil, tasker.Errorf(tasker.NotFound, "there is no task type %q: %s lists the %d that there are", clip(name, tasker.MaxName), routeTaskTypes, len(types.list))
}

// taskTypeAnswer is one task type. Times are in seconds.
type taskTypeAnswer struct {
	Name        string          `json:"name"`
	Handler     string          `json:"handler"`
	Description string          `json:"description"`
	Usage       string          `json:"usage"`
	Schema      json.RawMessage `json:"schema"`  // nil where every payload is taken
	Example     json.RawMessage `json:"example"` // nil where there is none
	// ConfigObjects is what a payload has, with empty values to fill in; nil
	// where that is not known.
	ConfigObjects json.RawMessage   `json:"config_objects"`
	Concurrency   int               `json:"concurrency"`
	Timeout       float64           `json:"timeout"`
	Retry         []float64         `json:"retry"`
	MaxPayload    int64             `json:"max_payload"` // in bytes
	Labels        map[string]string `json:"labels"`
	Retention     *int64            `json:"retention"` // nil for ever
}

// describe tells all that the configuration says of a task type.
func (s *Server) describe(tt *tasker.TaskType) taskTypeAnswer {
	compiled, _ := tt.Payloads.(*schema.Schema)
	a := taskTypeAnswer{
		Name: tt.Name, Handler: tt.Handler, Description: tt.Description, Usage: tt.Usage,
		Schema: tt.Schema, Example: tt.Example, ConfigObjects: compiled.Blank(),
		Concurrency: tt.Concurrency, Timeout: tt.Timeout.Seconds(), Retry: make([]float64, len(tt.Retry.Delays)),
		MaxPayload: s.maxPayload(tt), Labels: tt.Labels,
	}
	if a.Example == nil {
		a.Example = compiled.Example()
	}
	if a.ConfigObjects == nil {
		a.ConfigObjects = schema.BlankOf(a.Example)
	}
	if a.Labels == nil {
		a.Labels = map[string]string{}
	}
	for i, pause := range tt.Retry.Delays {
		a.Retry[i] = pause.Seconds()
	}
	if tt.Retention != tasker.Forever {
		seconds := int64(tt.Retention / time.Second)
		a.Retention = &seconds
	}
	return a
}

// maxPayload is the limit that holds for a type: a payload is part of a body.
func (s *Server) maxPayload(tt *tasker.TaskType) int64 {
	if tt.MaxPayload > 0 && tt.MaxPayload < s.cfg.MaxBody {
		return tt.MaxPayload
	}
	return s.cfg.MaxBody
}

// listTaskTypes answers GET /v1/task-types, in the configuration's order. It
// has no pages: the list is the configuration's.
func (s *Server) listTaskTypes(w http.ResponseWriter, _ *http.Request) error {
	types := s.types.Load()
	answers := make([]taskTypeAnswer, len(types.list))
	for i := range types.list {
		answers[i] = s.describe(&types.list[i])
	}
	return writeJSON(w, http.StatusOK, struct {
		TaskTypes []taskTypeAnswer `json:"task_types"`
	}{answers})
}

// servingEndpoint is an endpoint that performs a task type.
type servingEndpoint struct {
	Name  string `json:"name"`
	Alive bool   `json:"alive"`
}

// getTaskType answers GET /v1/task-types/{task_type}, with the first endpoints
// that serve it; a Link leads to the list of all, where there are more.
func (s *Server) getTaskType(w http.ResponseWriter, r *http.Request) error {
	tt, err := s.taskType(r)
	if err != nil {
		return err
	}
	endpoints, err := s.store.ListEndpoints(r.Context(), tasker.EndpointQuery{TaskType: tt.Name, Limit: maxPage + 1})
	if err != nil {
		return err
	}
	answer := struct {
		taskTypeAnswer
		Endpoints []servingEndpoint `json:"endpoints"`
		// Next is where the endpoints go on; nil where these are all.
		Next *string `json:"next"`
	}{taskTypeAnswer: s.describe(tt), Endpoints: []servingEndpoint{}}
	for _, e := range endpoints[:min(maxPage, len(endpoints))] {
		answer.Endpoints = append(answer.Endpoints, servingEndpoint{e.Name, e.Alive})
	}
	if len(endpoints) > maxPage {
		next := routeEndpoints + "?task_type=" + tt.Name + "&cursor=" + endpoints[maxPage-1].Name
		w.Header().Set("Link", "<"+next+`>; rel="next"`)
		answer.Next = &next
	}
	return writeJSON(w, http.StatusOK, answer)
}
