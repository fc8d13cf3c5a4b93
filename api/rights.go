package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/choice"
)

// need is what a principal must be allowed to do to use a route. The zero need lets
// nobody in, so that a route which names none fails its first test.
type need struct {
	reach reach
	right access.Right
	or    access.Right // does as well; empty for none
}

// reach is what a right must be given for.
type reach int

const (
	_           reach = iota // for nobody
	unguarded                // no authentication is needed
	anybody                  // any principal: what the answer shows depends on the rights
	someTypes                // at least one task type: the handler shows only such
	everything               // all task types or, if it is not about any, tasker as a whole
	knownType                // any right for the task type in the path
	wholeType                // the task type in the path, at all of its endpoints
	wholeTask                // the task in the path, at all endpoints that it is for
	theEndpoint              // the endpoint in the path
	someTargets              // the task type in the path, at least at some endpoints: the handler holds the others
)

// with returns the need of a right for that.
func (r reach) with(right access.Right) need { return need{reach: r, right: right} }

// forAll is the need of routes that are open to everybody.
var forAll = need{reach: unguarded}

// forAnybody is the need of routes for everybody who has a token.
var forAnybody = need{reach: anybody}

// forKnown is the need of routes for who has any right for the task type in the path.
var forKnown = need{reach: knownType}

// rights decides what the principal of a request may do.
type rights struct {
	types     *taskTypes
	tasks     TaskStore
	endpoints EndpointStore
}

func newRights(deps Deps, types *taskTypes) *rights {
	return &rights{types, deps.Tasks, deps.Endpoints}
}

// principalOf returns who sent the request of ctx. Without one it may do nothing.
func principalOf(ctx context.Context) access.Principal {
	p, _ := PrincipalOf(ctx)
	return p.Principal
}

// forbidden returns the error for what a principal may not do.
func forbidden(missing string) error { return tasker.Errorf(tasker.Forbidden, "%s", missing) }

// decided returns the error of a decision; nil if it allows the act.
func decided(d access.Decision) error {
	if d.Allowed {
		return nil
	}
	return forbidden(d.Missing())
}

// admit checks what can be said without the database: it lets no request pass for which
// [rights.hold] could find no endpoint. A task type for which a principal has no right is
// not found, as one that does not exist.
func (a *rights) admit(r *http.Request, n need) error {
	p := principalOf(r.Context())
	act := access.Act{Right: n.right}
	switch n.reach {
	case unguarded, anybody:
		return nil
	case someTypes:
		if p.HasAny(n.right) {
			return nil
		}
		return forbidden(p.MissingAny(n.right))
	case everything:
		return decided(p.Decide(act))
	case theEndpoint:
		if d := p.Decide(act); !d.Somewhere() {
			return forbidden(d.Missing())
		}
		return nil
	case knownType, wholeType, wholeTask, someTargets:
		return a.admitType(r, n, p)
	}
	return tasker.Errorf(tasker.Internal, "route %s names no right", requestInfoOf(r).route)
}

// admitType is admit for the task type in a request's path.
func (a *rights) admitType(r *http.Request, n need, p access.Principal) error {
	tt, err := a.types.of(r)
	switch {
	case err != nil:
		return err
	case !p.Knows(tt.Name):
		return errNoTaskType(tt.Name)
	case n.reach == knownType:
		return nil
	}
	d := p.Decide(access.Act{Right: n.right, Type: tt.Name})
	other := p.Decide(access.Act{Right: n.or, Type: tt.Name})
	if n.reach == wholeType {
		return decided(d)
	}
	if !d.Somewhere() && (n.or == "" || !other.Somewhere()) {
		return forbidden(d.Missing())
	}
	return nil
}

// hold checks the rest of a need, for a request that was admitted.
func (a *rights) hold(r *http.Request, n need) error {
	switch n.reach {
	case wholeTask:
		taskType, identifier, err := a.types.taskOf(r)
		if err != nil {
			return err
		}
		return a.holdTask(r.Context(), access.Act{Right: n.right, Type: taskType}, identifier, nil)
	case theEndpoint:
		return a.holdEndpoints(r.Context(), access.Act{Right: n.right}, []string{mux.Vars(r)["endpoint"]})
	}
	return nil
}

// holdEndpoints returns a [tasker.Forbidden] error unless the principal of a request may
// do something at endpoints with these names; nil means at every endpoint of the type.
func (a *rights) holdEndpoints(ctx context.Context, act access.Act, names []string) error {
	p := principalOf(ctx)
	d := p.Decide(act)
	if d.Allowed || !d.Somewhere() || names == nil {
		return decided(d)
	}
	var err error
	if act.Endpoints, err = a.known(ctx, names); err != nil {
		return err
	}
	return decided(p.Decide(act))
}

// holdTask is holdEndpoints for a task at some of its endpoints; nil means at all that it
// is for.
func (a *rights) holdTask(ctx context.Context, act access.Act, identifier string, names []string) error {
	if names == nil && !principalOf(ctx).Decide(act).Allowed {
		task, err := a.tasks.ViewTask(ctx, act.Type, identifier)
		if err != nil {
			return err
		}
		names = task.Targets()
	}
	return a.holdEndpoints(ctx, act, names)
}

// lookup is how many endpoints are read at once.
const lookup = 1000

// known returns endpoints by name, with what selectors look at.
func (a *rights) known(ctx context.Context, names []string) ([]access.Endpoint, error) {
	registered := map[string]*tasker.Endpoint{}
	for part := range slices.Chunk(names, lookup) {
		found, err := a.endpoints.ListEndpoints(ctx, tasker.EndpointQuery{Names: part, Brief: true, Limit: len(part)})
		if err != nil {
			return nil, err
		}
		for i := range found {
			registered[found[i].Name] = &found[i]
		}
	}
	endpoints := make([]access.Endpoint, len(names))
	for i, name := range names {
		endpoints[i].Name = name
		if e := registered[name]; e != nil {
			endpoints[i] = access.Endpoint{Endpoint: choice.Selectable(e), Registered: true}
		}
	}
	return endpoints, nil
}

// mayView reports whether the principal of a request may view the tasks of a type.
func mayView(ctx context.Context, taskType string) bool {
	return principalOf(ctx).Decide(access.Act{Right: access.View, Type: taskType}).Allowed
}

// viewable returns the task types whose tasks the principal of a request may view.
func viewable(ctx context.Context, types []string) []string {
	return slices.DeleteFunc(types, func(taskType string) bool { return !mayView(ctx, taskType) })
}

// scheduledAct returns what a schedule lets somebody do, and at which endpoints; nil means
// at every endpoint of its type, or at some that are chosen later.
func scheduledAct(definition *tasker.ScheduleDefinition) (act access.Act, names []string) {
	var task struct {
		Type      string   `json:"type"`
		Endpoints []string `json:"endpoints"`
	}
	// It was checked when it was stored. What cannot be read is of a type that nobody has.
	if json.Unmarshal(definition.Task, &task) != nil || len(task.Endpoints) == 0 {
		task.Endpoints = nil
	}
	return access.Act{Right: access.Schedule, Type: task.Type}, task.Endpoints
}
