package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/bodies"
	"github.com/taskerhq/tasker/internal/problem"
)

// router finds the route of a request.
type router struct {
	problems problems
	types    *taskTypes
	rights   *rights
	routes   []route
}

// open returns the paths that need no authentication.
func (rt *router) open() map[string]bool {
	open := make(map[string]bool)
	for _, r := range rt.routes {
		if r.needs.reach == unguarded {
			open[r.path] = true
		}
	}
	return open
}

// handler registers each path once, with all its methods: mux's own 405 does
// not say which methods are allowed. Unclean paths are not redirected, they are
// not found.
func (rt *router) handler() http.Handler {
	mx := mux.NewRouter().SkipClean(true)
	mx.NotFoundHandler = http.HandlerFunc(rt.notFound)
	var paths []string
	methods := make(map[string]map[string]route)
	for _, r := range rt.routes {
		if methods[r.path] == nil {
			methods[r.path] = make(map[string]route)
			paths = append(paths, r.path)
		}
		methods[r.path][r.method] = r
	}
	reserved := false
	for _, path := range paths {
		if strings.HasPrefix(path, "/{") && !reserved {
			// Other paths under tasker's own prefix are not task types.
			mx.PathPrefix("/v1/").HandlerFunc(rt.notFound)
			reserved = true
		}
		mx.Handle(path, rt.serve(path, methods[path]))
	}
	return rt.plainPaths(mx)
}

// plainPaths rejects percent-encoded paths: no route needs them, and whoever
// filters paths in front of the API sees what the router sees.
func (rt *router) plainPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != r.URL.Path {
			rt.problems.fail(w, r, tasker.Errorf(tasker.NotFound, "path %q not found: a path must not be percent-encoded",
				clip(r.URL.EscapedPath(), 256)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve returns the handler of a path.
func (rt *router) serve(path string, methods map[string]route) http.Handler {
	allow := allowed(methods)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requestInfoOf(r).route = path
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		route, ok := methods[method]
		if !ok {
			w.Header().Set("Allow", allow)
			rt.problems.fail(w, r, tasker.Errorf(problem.MethodNotAllowed, "method %s not allowed for %s: use %s",
				clip(r.Method, 16), path, allow))
			return
		}
		if !route.stream {
			ctx, cancel := context.WithTimeout(r.Context(), requestTimeout+route.preferredWait(r))
			defer cancel()
			r = r.WithContext(ctx)
		}
		out, done := w, func() {}
		if !route.stream {
			out, done = compress(w, r)
		}
		err := rt.rights.admit(r, route.needs)
		if err == nil {
			err = route.serve(out, r, rt.rights)
		}
		if err != nil {
			bodies.Drop(r)
			rt.problems.fail(out, r, err)
		}
		done()
	})
}

// preferredWait returns how long a request may wait for its task, besides the time
// that any request may take.
func (rt route) preferredWait(r *http.Request) time.Duration {
	if !rt.waits {
		return 0
	}
	wait, _ := preferredWait(r.Header) // the handler reports an error
	return wait
}

// serve checks the query, waits for a slot, checks the rights that the database decides, and
// calls the handler.
func (rt route) serve(w http.ResponseWriter, r *http.Request, rights *rights) error {
	if err := rt.checkQuery(r); err != nil {
		return err
	}
	if rt.limit != nil {
		release, err := rt.limit.acquire(r.Context())
		if err != nil {
			return err
		}
		defer release()
	}
	if err := rights.hold(r, rt.needs); err != nil {
		return err
	}
	return rt.handle(w, r)
}

// allowed returns the value of the Allow header.
func allowed(methods map[string]route) string {
	var names []string
	for method := range methods {
		names = append(names, method)
		if method == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// checkQuery rejects what would otherwise be ignored silently: a misspelt
// filter must not return everything.
func (rt route) checkQuery(r *http.Request) error {
	if rt.anyQuery || r.URL.RawQuery == "" {
		return nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return tasker.WrapError(tasker.Malformed, err, "invalid query: must be name=value pairs joined with '&', percent-encoded")
	}
	known := "there are none here"
	if len(rt.query) > 0 {
		known = "use " + strings.Join(rt.query, ", ")
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
		case !slices.Contains(rt.query, name):
			errs.add("?"+shown, "unknown query parameter %q: %s", shown, known)
		case len(values[name]) > 1 && !slices.Contains(rt.repeatable, name):
			errs.add("?"+name, "duplicate query parameter %q: pass it once", name)
		}
	}
	return errs.err()
}

// notFound answers for paths that no route matches.
func (rt *router) notFound(w http.ResponseWriter, r *http.Request) {
	path := clip(r.URL.Path, 256)
	hint := routeOpenAPI + " lists all paths"
	if trimmed := strings.TrimRight(path, "/"); trimmed != path && rt.serves(r, trimmed) {
		hint = fmt.Sprintf("paths have no slash at the end, try %q", trimmed)
	}
	rt.problems.fail(w, r, tasker.Errorf(tasker.NotFound, "path %q not found: %s", path, hint))
}

// serves reports whether a path has a route, and its task type exists for whoever sent a
// request.
func (rt *router) serves(r *http.Request, path string) bool {
	first, rest, deeper := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if _, ok := rt.types.load().byName[first]; ok && principalOf(r.Context()).Knows(first) {
		return !deeper || rest != ""
	}
	return slices.ContainsFunc(rt.routes, func(known route) bool { return known.path == path })
}
