package observe

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// APIMetrics are the metrics of the HTTP server.
type APIMetrics struct {
	TasksCreated Counter   `name:"tasks_created_total" labels:"task_type" help:"New tasks stored by this API."`
	Requests     Histogram `name:"http_request_duration_seconds" labels:"route,method,code" help:"Time to answer a request."`
	StreamsOpen  Gauge     `name:"streams_open" help:"Live views (server-sent events) that this API serves now."`
}

// NewAPIMetrics returns the metrics of the HTTP server.
func NewAPIMetrics(r prometheus.Registerer) APIMetrics { return register[APIMetrics](r) }

// Answered counts a request. route is the template of its path, empty if none
// matched.
func (m APIMetrics) Answered(route, method string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "other" // clients may send any word
	}
	m.Requests.Observe(took, route, method, code(status))
}

// codes are the texts of the statuses, made once.
var codes = func() (list [600]string) {
	for i := range list {
		list[i] = strconv.Itoa(i)
	}
	return list
}()

func code(status int) string {
	if status < 0 || status >= len(codes) {
		return "other"
	}
	return codes[status]
}
