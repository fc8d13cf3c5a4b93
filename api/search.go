package api

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// search serves GET /v1/tasks: the tasks of all types, newest first.
func (h *taskHandlers) search(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	q := tasker.TaskSearch{
		Types: h.typesParam(query["task_type"], &errs), Prefix: query.Get("identifier"), Text: query.Get("text"),
		Since: h.sinceParam(query, &errs), Before: idCursor(query, &errs), Limit: pageLimit(query, &errs), MaxBytes: maxPageBytes,
	}
	for _, value := range query["status"] {
		q.Statuses = append(q.Statuses, statusParam(value, &errs))
	}
	if query.Has("endpoint") {
		q.Endpoint = query.Get("endpoint")
		if err := tasker.ValidateEndpoint(q.Endpoint); err != nil {
			errs.add("?endpoint", "%v", err)
		}
	}
	if query.Has("identifier") {
		if err := tasker.ValidateIdentifier(q.Prefix); err != nil {
			errs.add("?identifier", "%v", err)
		}
	}
	if query.Has("text") && (q.Text == "" || len(q.Text) > maxSearchText || !utf8.ValidString(q.Text)) {
		errs.add("?text", "invalid text: must be 1-%d bytes of UTF-8", maxSearchText)
	}
	if err := errs.err(); err != nil {
		return err
	}
	release, err := h.limits.payloads.acquire(r.Context(), q.MaxBytes)
	if err != nil {
		return err
	}
	defer release()
	tasks, next, err := h.store.SearchTasks(r.Context(), q)
	if err != nil {
		return err
	}
	page := client.TaskPage[client.TaskView]{Tasks: viewTasks(tasks)}
	if next > 0 {
		page.Next = nextPage(w, r, strconv.FormatInt(next, 10))
	}
	return writeJSON(w, http.StatusOK, page)
}

// maxSearchText limits the text of a search, in bytes.
const maxSearchText = 256

// typesParam returns the task types that a search names, or else all of them, sorted.
func (h *taskHandlers) typesParam(names []string, errs *inputErrors) []string {
	known := h.types.load().byName
	for _, name := range names {
		if known[name] == nil {
			errs.add("?task_type", "%v", errNoTaskType(name))
		}
	}
	if len(names) == 0 {
		return slices.Sorted(maps.Keys(known))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sinceParam returns a time, which is given as such or as how long ago it was.
func (h *taskHandlers) sinceParam(query url.Values, errs *inputErrors) time.Time {
	value := query.Get("since")
	if !query.Has("since") {
		return time.Time{}
	}
	if since, err := time.Parse(time.RFC3339, value); err == nil {
		return since
	}
	ago, ok := clock.Parse(value)
	if !ok || ago < 0 {
		errs.add("?since", "invalid since: must be a time such as 2026-11-30T10:00:00Z, or how long ago it was, such as 2h")
		return time.Time{}
	}
	return h.clock.Now().Add(-ago)
}
