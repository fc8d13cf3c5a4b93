package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
)

// Paths that are named elsewhere too.
const (
	routeHealth    = "/healthz"
	routeReady     = "/readyz"
	routeOpenAPI   = "/openapi.yaml"
	routeTaskTypes = "/v1/task-types"
	routeTaskType  = "/v1/task-types/{task_type}"
	routeEndpoints = "/v1/endpoints"
	routeEndpoint  = "/v1/endpoints/{endpoint}"
	routeTasks     = "/{task_type}"
	routeTask      = "/{task_type}/{identifier}"
	routeEvents    = "/{task_type}/{identifier}/events"
	routeResult    = "/{task_type}/{identifier}/results/{endpoint}"
	routeLog       = "/{task_type}/{identifier}/results/{endpoint}/log"
	routeAllEvents = "/v1/events"
	routeTaskID    = "/v1/tasks/{id}"

	routeDeadLetters = "/v1/dead-letters"
	routeDeadLetter  = "/v1/dead-letters/{id}"
	routeRequeue     = "/v1/dead-letters/{id}/requeue"
)

// handlerFunc answers a request, or gives the error that shall be answered,
// before anything is written.
type handlerFunc func(w http.ResponseWriter, r *http.Request) error

// operation is what one method of a route does.
type operation struct {
	handle handlerFunc
	// query are the query parameters that it takes, each once.
	query []string
	// anyQuery ignores the query: probes add to it what they like.
	anyQuery bool
	// stream is for answers that go on for as long as they like: it has no time
	// limit.
	stream bool
}

// route is one path with all its methods. HEAD works wherever GET does.
type route struct {
	path    string
	open    bool // needs no authentication
	methods map[string]operation
}

// routes is the table of everything that the API answers. Fixed paths come
// before templates.
func (s *Server) routes() []route {
	return []route{
		{path: routeHealth, open: true, methods: map[string]operation{
			http.MethodGet: {handle: s.health, anyQuery: true},
		}},
		{path: routeReady, methods: map[string]operation{
			http.MethodGet: {handle: s.ready, anyQuery: true},
		}},
		{path: routeOpenAPI, methods: map[string]operation{
			http.MethodGet: {handle: s.openAPI, anyQuery: true},
		}},
		{path: routeTaskTypes, methods: map[string]operation{
			http.MethodGet: {handle: s.listTaskTypes},
		}},
		{path: routeTaskType, methods: map[string]operation{
			http.MethodGet: {handle: behind(s.gets, s.getTaskType)},
		}},
		{path: routeEndpoints, methods: map[string]operation{
			http.MethodGet: {handle: behind(s.gets, s.listEndpoints), query: []string{"task_type", "limit", "cursor"}},
		}},
		{path: routeEndpoint, methods: map[string]operation{
			http.MethodDelete: {handle: behind(s.posts, s.removeEndpoint)},
		}},
		{path: routeTaskID, methods: map[string]operation{
			http.MethodGet: {handle: behind(s.gets, s.leadToTask)},
		}},
		{path: routeAllEvents, methods: map[string]operation{
			http.MethodGet: {handle: s.allEvents, query: []string{"task_type", "status", "last_event_id"}, stream: true},
		}},
		{path: routeDeadLetters, methods: map[string]operation{
			http.MethodGet: {handle: behind(s.gets, s.listDeadLetters), query: []string{"limit", "cursor"}},
		}},
		{path: routeDeadLetter, methods: map[string]operation{
			http.MethodGet:    {handle: behind(s.gets, s.getDeadLetter)},
			http.MethodDelete: {handle: behind(s.posts, s.discardDeadLetter)},
		}},
		{path: routeRequeue, methods: map[string]operation{
			http.MethodPost: {handle: behind(s.posts, s.requeueDeadLetter)},
		}},
		{path: routeTasks, methods: map[string]operation{
			http.MethodGet:  {handle: behind(s.gets, s.listTasks), query: []string{"status", "payload", "limit", "cursor"}},
			http.MethodPost: {handle: s.createTask},
		}},
		{path: routeTask, methods: map[string]operation{
			http.MethodGet: {handle: behind(s.gets, s.getTask)},
		}},
		{path: routeEvents, methods: map[string]operation{
			http.MethodGet: {handle: s.taskEvents, query: []string{"last_event_id"}, stream: true},
		}},
		{path: routeResult, methods: map[string]operation{
			http.MethodGet: {handle: behind(s.gets, s.getResult)},
		}},
		{path: routeLog, methods: map[string]operation{
			http.MethodGet: {handle: behind(s.gets, s.getLog), query: []string{"offset", "limit", "attempt", "raw", "raw"}},
		}},
	}
}

// router registers each path once, with all its methods: mux's own 405 does
// not say which methods are allowed. Unclean paths are not redirected, they
// are not found.
func (s *Server) router() http.Handler {
	router := mux.NewRouter().SkipClean(true)
	router.NotFoundHandler = http.HandlerFunc(s.notFound)
	for _, rt := range s.routes() {
		if strings.HasPrefix(rt.path, "/{") {
			continue
		}
		router.Handle(rt.path, s.serve(rt))
	}
	// What is left of tasker's own names is not a task type.
	router.PathPrefix("/v1/").HandlerFunc(s.notFound)
	for _, rt := range s.routes() {
		if strings.HasPrefix(rt.path, "/{") {
			router.Handle(rt.path, s.serve(rt))
		}
	}
	return s.plainPaths(router)
}

// plainPaths lets no path pass that is percent-encoded: no route needs it, and
// whoever filters paths in front of the API sees what the router sees.
func (s *Server) plainPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != r.URL.Path {
			s.fail(w, r, tasker.Errorf(tasker.NotFound, "there is no route %q: a path must not be percent-encoded", clip(r.URL.EscapedPath(), 256)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve makes the handler of a route.
func (s *Server) serve(rt route) http.Handler {
	allow := allowed(rt)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requestInfoOf(r).route = rt.path
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		op, ok := rt.methods[method]
		if !ok {
			w.Header().Set("Allow", allow)
			s.fail(w, r, tasker.Errorf(methodNotAllowed, "%s is not allowed for %s: it takes %s", clip(r.Method, 16), rt.path, allow))
			return
		}
		if !op.stream {
			ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
			defer cancel()
			r = r.WithContext(ctx)
		}
		err := op.checkQuery(r)
		if err == nil {
			err = op.handle(w, r)
		}
		if err != nil {
			drop(r)
			s.fail(w, r, err)
		}
	})
}

// allowed gives the value of the Allow header.
func allowed(rt route) string {
	var methods []string
	for method := range rt.methods {
		methods = append(methods, method)
		if method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

// checkQuery refuses what would otherwise be ignored without a word: a
// misspelt filter must not give everything.
func (op operation) checkQuery(r *http.Request) error {
	if op.anyQuery || r.URL.RawQuery == "" {
		return nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return tasker.WrapError(tasker.Malformed, err, "the query cannot be read: it takes name=value pairs joined with '&', percent-encoded")
	}
	known := "it takes none"
	if len(op.query) > 0 {
		known = "the known ones are " + strings.Join(op.query, ", ")
	}
	var errs inputErrors
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		shown := clip(name, tasker.MaxName)
		switch {
		case !slices.Contains(op.query, name):
			errs.add("?"+shown, "unknown query parameter %q: %s", shown, known)
		case len(values[name]) > 1:
			errs.add("?"+name, "query parameter %q is given %d times: give it once", name, len(values[name]))
		}
	}
	return errs.err()
}

// notFound answers for paths that no route matches.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	path := clip(r.URL.Path, 256)
	if trimmed := strings.TrimRight(path, "/"); trimmed != path && s.serves(trimmed) {
		s.fail(w, r, tasker.Errorf(tasker.NotFound, "there is no route %q: paths have no slash at the end, try %q", path, trimmed))
		return
	}
	s.fail(w, r, tasker.Errorf(tasker.NotFound, "there is no route %q: %s describes them all", path, routeOpenAPI))
}

// serves reports whether there is a route for a path, of a task type that is
// there.
func (s *Server) serves(path string) bool {
	first, rest, deeper := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if _, ok := s.types.Load().byName[first]; ok {
		return !deeper || rest != ""
	}
	return slices.ContainsFunc(s.routes(), func(rt route) bool { return rt.path == path })
}
