package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/taskerhq/tasker/web"
)

// routeUI is the path of the dashboard. No task type can have its name.
const routeUI = "/ui/"

type ofPageKey struct{}

// ofPage reports whether a page of the dashboard asks, and changes nothing.
func ofPage(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Context().Value(ofPageKey{}) != nil
}

// withUI serves the dashboard beside the API. Its pages need no authentication here:
// they ask the API, as the browser's principal.
func (m *middleware) withUI(api http.Handler) http.Handler {
	asked := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), ofPageKey{}, true)))
	})
	pages := http.StripPrefix(strings.TrimSuffix(routeUI, "/"), web.Handler(web.Options{API: asked, Log: m.log}))
	pages = m.accessLog(m.recoverPanic(securityHeaders(routed(routeUI, pages))))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, routeUI):
			pages.ServeHTTP(w, r)
		case r.URL.Path+"/" == routeUI:
			w.Header().Set("Location", "ui/") // relative: a proxy may have put a prefix before it
			w.WriteHeader(http.StatusMovedPermanently)
		default:
			api.ServeHTTP(w, r)
		}
	})
}

// routed sets the route of every request, for the access log and the metrics.
func routed(route string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requestInfoOf(r).route = route
		next.ServeHTTP(w, r)
	})
}
