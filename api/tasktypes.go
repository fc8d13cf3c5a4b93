package api

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/schema"
)

// taskTypes are the task types that the API serves; a reload of the
// configuration replaces them.
type taskTypes struct {
	maxBody int64
	current atomic.Pointer[typeSet]
}

// typeSet holds the task types of one reading of the configuration. It is
// immutable.
type typeSet struct {
	list   []tasker.TaskType // in the configuration's order
	byName map[string]*tasker.TaskType
}

// replace replaces the task types; on an error nothing changes.
func (t *taskTypes) replace(types []tasker.TaskType) error {
	if err := validateTaskTypes(types); err != nil {
		return err
	}
	next := &typeSet{list: tasker.WithDefaults(types), byName: make(map[string]*tasker.TaskType, len(types))}
	for i := range next.list {
		next.byName[next.list[i].Name] = &next.list[i]
	}
	t.current.Store(next)
	return nil
}

func validateTaskTypes(types []tasker.TaskType) error {
	if err := tasker.ValidateTaskTypes(types); err != nil {
		return fmt.Errorf("task_types: %w", err)
	}
	return nil
}

func (t *taskTypes) load() *typeSet { return t.current.Load() }

// of returns the task type in a request's path.
func (t *taskTypes) of(r *http.Request) (*tasker.TaskType, error) {
	name := mux.Vars(r)["task_type"]
	if tt, ok := t.load().byName[name]; ok {
		return tt, nil
	}
	return nil, errNoTaskType(name)
}

// taskOf returns the names of the task in a request's path. The type exists, the
// task may not.
func (t *taskTypes) taskOf(r *http.Request) (taskType, identifier string, err error) {
	tt, err := t.of(r)
	if err != nil {
		return "", "", err
	}
	identifier = mux.Vars(r)["identifier"]
	if tasker.ValidateIdentifier(identifier) != nil {
		return "", "", tasker.Errorf(tasker.NotFound, "task %q of type %q not found", clip(identifier, tasker.MaxName), tt.Name)
	}
	return tt.Name, identifier, nil
}

func errNoTaskType(name string) error {
	return tasker.Errorf(tasker.NotFound, "task type %q not found: %s lists them", clip(name, tasker.MaxName), routeTaskTypes)
}

// maxPayload returns the limit that applies to a type: a payload is part of a
// body.
func (t *taskTypes) maxPayload(tt *tasker.TaskType) int64 {
	if tt.MaxPayload > 0 && tt.MaxPayload < t.maxBody {
		return tt.MaxPayload
	}
	return t.maxBody
}

// describe returns all that the configuration says about a task type.
func (t *taskTypes) describe(tt *tasker.TaskType) client.TaskTypeInfo {
	compiled, _ := tt.Payloads.(*schema.Schema)
	info := client.TaskTypeInfo{
		Name: tt.Name, Handler: tt.Handler, Description: tt.Description, Usage: tt.Usage,
		Schema: tt.Schema, Example: tt.Example, ConfigObjects: compiled.Blank(),
		Concurrency: tt.Concurrency, Timeout: tt.Timeout.Seconds(), Retry: make([]float64, len(tt.Retry.Delays)),
		RetryJitter: tt.Retry.Jitter, MaxPayload: t.maxPayload(tt), Labels: tt.Labels, Priority: tt.Priority,
		Approval: tt.Approval,
	}
	if info.Example == nil {
		info.Example = compiled.Example()
	}
	if info.ConfigObjects == nil {
		info.ConfigObjects = schema.BlankOf(info.Example)
	}
	if info.Labels == nil {
		info.Labels = map[string]string{}
	}
	for i, pause := range tt.Retry.Delays {
		info.Retry[i] = pause.Seconds()
	}
	if tt.Retention != tasker.Forever {
		seconds := int64(tt.Retention / time.Second)
		info.Retention = &seconds
	}
	if tt.Expires > 0 {
		info.Expires = new(tt.Expires.Seconds())
	}
	return info
}

// taskTypeHandlers serve the task types.
type taskTypeHandlers struct {
	types     *taskTypes
	endpoints EndpointStore
	holds     HoldStore
}

// list serves GET /v1/task-types, in the configuration's order and in one page: those for
// which the principal has any right.
func (h *taskTypeHandlers) list(w http.ResponseWriter, r *http.Request) error {
	types := h.types.load()
	held, err := h.holds.HeldTypes(r.Context())
	if err != nil {
		return err
	}
	infos := make([]client.TaskTypeInfo, 0, len(types.list))
	for i := range types.list {
		if !principalOf(r.Context()).Knows(types.list[i].Name) {
			continue
		}
		info := h.types.describe(&types.list[i])
		if hold, ok := held[info.Name]; ok {
			info.Hold = &hold
		}
		infos = append(infos, info)
	}
	return writeJSON(w, http.StatusOK, client.TaskTypeList{TaskTypes: infos})
}

// get serves GET /v1/task-types/{task_type}, with the first endpoints that
// perform it; a Link leads to the others.
func (h *taskTypeHandlers) get(w http.ResponseWriter, r *http.Request) error {
	tt, err := h.types.of(r)
	if err != nil {
		return err
	}
	endpoints, err := h.endpoints.ListEndpoints(r.Context(), tasker.EndpointQuery{TaskType: tt.Name, Limit: maxPage + 1})
	if err != nil {
		return err
	}
	hold, _, err := h.holds.HoldsOf(r.Context(), tt.Name, []string{})
	if err != nil {
		return err
	}
	answer := client.TaskTypeAnswer{TaskTypeInfo: h.types.describe(tt), Endpoints: []client.ServingEndpoint{}}
	answer.Hold = hold
	for _, e := range endpoints[:min(maxPage, len(endpoints))] {
		answer.Endpoints = append(answer.Endpoints, client.ServingEndpoint{Name: e.Name, Alive: e.Alive})
	}
	if len(endpoints) > maxPage {
		next := routeEndpoints + "?task_type=" + tt.Name + "&cursor=" + endpoints[maxPage-1].Name
		w.Header().Set("Link", "<"+next+`>; rel="next"`)
		answer.Next = &next
	}
	return writeJSON(w, http.StatusOK, answer)
}
