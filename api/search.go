package api

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// searchQuery are the parameters that select tasks of all types, and searchRepeatable
// those that may be given more than once.
var (
	searchQuery = []string{
		"task_type", "status", "endpoint", "topic", "identifier", "label", "created_by", "since", "until", "created_since",
		"created_until", "text",
	}
	searchRepeatable = []string{"task_type", "status", "label"}
)

// search serves GET /v1/tasks: the tasks of all types, newest first.
func (h *taskHandlers) search(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	q := h.searchParams(r.Context(), query, &errs)
	q.Before, q.Limit, q.MaxBytes = idCursor(query, &errs), pageLimit(query, &errs), maxPageBytes
	if err := errs.err(); err != nil {
		return err
	}
	if len(q.Types) == 0 { // the principal may view types that there are not
		return writeTaskPage(w, r, nil, 0)
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
	return writeTaskPage(w, r, tasks, next)
}

// writeTaskPage writes one page of tasks; next is the ID before which the next one begins, 0
// if this is the last.
func writeTaskPage(w http.ResponseWriter, r *http.Request, tasks []tasker.Task, next int64) error {
	page := client.TaskPage[client.TaskView]{Tasks: viewTasks(tasks)}
	if next > 0 {
		page.Next = nextPage(w, r, strconv.FormatInt(next, 10))
	}
	return writeJSON(w, http.StatusOK, page)
}

// counts serves GET /v1/tasks/counts: how many tasks a search selects.
func (h *taskHandlers) counts(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	q := h.searchParams(r.Context(), r.URL.Query(), &errs)
	if err := errs.err(); err != nil {
		return err
	}
	if len(q.Types) == 0 {
		return writeJSON(w, http.StatusOK, noTasks(q.Statuses))
	}
	counts, err := h.store.CountTasks(r.Context(), q)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, counts)
}

// notVisible reports whether a character is not a printable one of ASCII other than the space.
func notVisible(r rune) bool { return r <= ' ' || r > '~' }

// noTasks counts nothing for some statuses, or for all if none is named.
func noTasks(statuses []tasker.TaskStatus) tasker.TaskCounts {
	counts := tasker.TaskCounts{Statuses: []tasker.StatusCount{}}
	for _, status := range tasker.TaskStatuses() {
		if len(statuses) == 0 || slices.Contains(statuses, status) {
			counts.Statuses = append(counts.Statuses, tasker.StatusCount{Status: status})
		}
	}
	return counts
}

// maxSearchText limits the text of a search, in bytes.
const maxSearchText = 256

// searchParams returns which tasks a request selects.
func (h *taskHandlers) searchParams(ctx context.Context, query url.Values, errs *inputErrors) tasker.TaskSearch {
	q := tasker.TaskSearch{Types: h.typesParam(ctx, query["task_type"], errs), Prefix: query.Get("identifier"), Text: query.Get("text")}
	for _, value := range query["status"] {
		q.Statuses = append(q.Statuses, statusParam(value, errs))
	}
	if query.Has("endpoint") {
		q.Endpoint = query.Get("endpoint")
		if err := tasker.ValidateEndpoint(q.Endpoint); err != nil {
			errs.add("?endpoint", "%v", err)
		}
	}
	if query.Has("topic") {
		q.Topic = query.Get("topic")
		if err := tasker.ValidateTopic(q.Topic); err != nil {
			errs.add("?topic", "%v", err)
		}
	}
	if query.Has("created_by") {
		q.CreatedBy = query.Get("created_by")
		if q.CreatedBy == "" || len(q.CreatedBy) > tasker.MaxName || strings.ContainsFunc(q.CreatedBy, notVisible) {
			errs.add("?created_by", "invalid created_by: must be the name of a principal, or schedule: and that of a schedule")
		}
	}
	if query.Has("identifier") {
		if err := tasker.ValidateIdentifier(q.Prefix); err != nil {
			errs.add("?identifier", "%v", err)
		}
	}
	q.Labels = labelParams(query, errs)
	q.Since, q.Until = h.windowParams(query, "since", "until", errs)
	q.CreatedSince, q.CreatedUntil = h.windowParams(query, "created_since", "created_until", errs)
	if query.Has("text") && (q.Text == "" || len(q.Text) > maxSearchText || !utf8.ValidString(q.Text)) {
		errs.add("?text", "invalid text: must be 1-%d bytes of UTF-8", maxSearchText)
	}
	return q
}

// typesParam returns the task types that a search names, or else all that the principal may
// view, sorted. Of others it says that they do not exist.
func (h *taskHandlers) typesParam(ctx context.Context, names []string, errs *inputErrors) []string {
	known := h.types.load().byName
	for _, name := range names {
		if known[name] == nil || !mayView(ctx, name) {
			errs.add("?task_type", "%v", errNoTaskType(name))
		}
	}
	if len(names) == 0 {
		return viewable(ctx, slices.Sorted(maps.Keys(known)))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// windowParams returns a window of time from the parameters of its two ends, which are
// zero if absent: it has the first one, and not the other.
func (h *taskHandlers) windowParams(query url.Values, first, other string, errs *inputErrors) (since, until time.Time) {
	now := h.clock.Now() // once, so that both are as long ago as they say
	since, until = timeParam(query, first, now, errs), timeParam(query, other, now, errs)
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		errs.add("?"+other, "invalid %s: must be later than %s", other, first)
	}
	return since, until
}

// timeParam returns a time, which is given as such or as how long ago it was; it is zero
// if absent.
func timeParam(query url.Values, name string, now time.Time, errs *inputErrors) time.Time {
	value := query.Get(name)
	if !query.Has(name) {
		return time.Time{}
	}
	if at, err := time.Parse(time.RFC3339, value); err == nil {
		if year := at.UTC().Year(); year < 1970 || year > 9999 { // MySQL has no others, and year 1 would mean no time
			errs.add("?"+name, "invalid %s: must be a time between 1970 and 9999", name)
		}
		return at
	}
	ago, ok := clock.Parse(value)
	if !ok || ago < 0 {
		errs.add("?"+name, "invalid %s: must be a time such as 2026-11-30T10:00:00Z, or how long ago it was, such as 2h", name)
		return time.Time{}
	}
	return now.Add(-ago)
}
