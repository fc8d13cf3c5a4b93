// Package web is the dashboard of tasker: pages for people, over the HTTP API.
//
// It knows what every client of the API can know. Each page asks the API, with the
// token of the browser, for what it shows, and each form sends what a program would
// send. Pages read and forms work without JavaScript, which keeps pages up to date
// and draws the grid of a task. The URL of a page is its whole state.
//
// All links are relative: the dashboard works under any path, also behind a proxy that
// puts a prefix before it.
package web

import (
	"log/slog"
	"maps"
	"net/http"
	"path"
	"strings"

	"github.com/taskerhq/tasker"
)

// Options are what the dashboard works with; all are required.
type Options struct {
	// API is the HTTP API, which gets the requests of the pages.
	API http.Handler
	// Log receives the errors of the dashboard itself; the API has a log of its own.
	Log *slog.Logger
}

// policy lets pages use what the dashboard itself serves, and nothing inline.
const policy = "default-src 'self'; script-src 'self'; style-src 'self'; object-src 'none'; " +
	"frame-ancestors 'none'; form-action 'self'; base-uri 'self'"

// maxForm bounds the body of a form, in bytes. Larger payloads go to the API.
const maxForm = 4 << 20

// Handler returns the dashboard, for paths without the prefix under which it is
// served: wrap it in [http.StripPrefix].
func Handler(opts Options) http.Handler {
	s := &site{api: opts.API, log: opts.Log, assets: loadAssets()}
	s.pages = parsePages(s.assets)
	mux := http.NewServeMux()
	for pattern, handle := range s.routes() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := s.visit(w, r)
			if err == nil {
				err = handle(v)
			}
			if err != nil {
				v.fail(err) //nolint:contextcheck // the visit has that of the request
			}
		})
	}
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "cross-origin request rejected: open the dashboard itself, and send its form", http.StatusForbidden)
	}))
	return secured(origins.Handler(mux))
}

// routes returns the handler of every pattern.
func (s *site) routes() map[string]func(*visit) error {
	const (
		schedule = "/schedules/{schedule}"
		letter   = "/dead-letters/{id}"
	)
	routes := map[string]func(*visit) error{
		"GET /":                             notFound,
		"POST /":                            notFound,
		"GET /{$}":                          showNow,
		"GET /events":                       passAllEvents,
		"GET /endpoints":                    showEndpoints,
		"GET /endpoints/{endpoint}":         showEndpoint,
		"GET /types":                        showTypes,
		"GET /types/{type}":                 showType,
		"POST /types/{type}/plan":           planTask,
		"POST /types/{type}/run":            runTask,
		"POST /types/{type}/pause":          pauseType,
		"POST /types/{type}/resume":         resumeType,
		"POST /endpoints/{endpoint}/pause":  drainEndpoint,
		"POST /endpoints/{endpoint}/resume": resumeEndpoint,
		"GET /schedules":                    showSchedules,
		"GET " + schedule:                   showSchedule,
		"POST " + schedule + "/pause":       pauseSchedule,
		"POST " + schedule + "/resume":      resumeSchedule,
		"POST " + schedule + "/trigger":     triggerSchedule,
		"GET /dead-letters":                 showDeadLetters,
		"GET " + letter:                     showDeadLetter,
		"POST " + letter + "/requeue":       requeueDeadLetter,
		"POST " + letter + "/discard":       discardDeadLetter,
		"GET /system":                       showSystem,
		"GET /login":                        showLogin,
		"POST /login":                       login,
		"POST /logout":                      logout,
		"GET /" + assetDir + "/{name}":      serveAsset,
	}
	maps.Copy(routes, taskRoutes())
	return routes
}

// taskRoutes returns those of the tasks and their results.
func taskRoutes() map[string]func(*visit) error {
	const (
		task   = "/tasks/{type}/{identifier}"
		result = task + "/results/{endpoint}"
	)
	return map[string]func(*visit) error{
		"GET /tasks":                   showTasks,
		"GET /rollouts":                showRollouts,
		"GET " + task:                  showTask,
		"GET " + task + "/events":      passTaskEvents,
		"GET " + task + "/grid":        serveGrid,
		"GET " + task + "/payload":     serveTaskPayload,
		"GET " + task + "/results":     showResults,
		"GET " + task + "/missing":     showMissing,
		"GET " + task + "/compare":     showCompare,
		"POST " + task + "/cancel":     cancelTask,
		"POST " + task + "/retry/plan": planRetry,
		"POST " + task + "/retry":      retryTask,
		"POST " + task + "/pause":      pauseTask,
		"POST " + task + "/resume":     resumeTask,
		"POST " + task + "/approve":    approveWave,
		"POST " + task + "/promote":    promoteTask,
		"GET " + result:                showResult,
		"GET " + result + "/log":       serveLog,
		"GET " + result + "/payload":   serveResultPayload,
	}
}

// secured sets the headers of every answer, and refuses paths that only a browser
// that was led astray sends: the multiplexer would redirect them, out of the prefix.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		given := r.URL.Path
		if r.URL.RawPath != "" || given != "/" && path.Clean(given) != strings.TrimSuffix(given, "/") {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func notFound(v *visit) error {
	return tasker.Errorf(tasker.NotFound, "page not found: begin at the first page")
}
