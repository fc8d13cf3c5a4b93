package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// maxNamed is how many missing endpoints a summary names.
const maxNamed = 100

// pageHandlers serve a task with thousands of results in parts.
type pageHandlers struct {
	types   *taskTypes
	tasks   TaskStore
	results ResultStore
	reader  *taskReader
	waiter  *waiter
	limits  *limits
}

// summary serves GET /{task_type}/{identifier}/summary.
func (h *pageHandlers) summary(w http.ResponseWriter, r *http.Request) error {
	taskType, identifier, err := h.types.taskOf(r)
	if err != nil {
		return err
	}
	release, err := h.waiter.acquire(w, r, taskType, identifier, h.limits.reads)
	if err != nil {
		return err
	}
	defer release()
	task, summary, err := h.reader.summary(r.Context(), taskType, identifier)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.TaskSummary{Task: viewTask(task), Summary: summary})
}

// list serves GET /{task_type}/{identifier}/results. A page is bounded by its
// bytes, too: it may be shorter than its limit although more follow.
func (h *pageHandlers) list(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	q := tasker.ResultQuery{Limit: pageLimit(query, &errs), MaxBytes: maxPageBytes, After: h.cursor(r, &errs)}
	if query.Has("state") {
		q.State = tasker.ResultState(query.Get("state"))
		if !slices.Contains(tasker.ResultStates(), q.State) {
			errs.add("?state", "unknown state %q: must be one of %s", clip(query.Get("state"), tasker.MaxName), stateNames())
		}
	}
	task, err := h.task(r, &errs)
	if err != nil {
		return err
	}
	q.TaskID = task.ID
	release, err := h.limits.payloads.acquire(r.Context(), q.MaxBytes)
	if err != nil {
		return err
	}
	defer release()
	results, more, err := h.results.ResultPage(r.Context(), q)
	if err != nil {
		return err
	}
	page := client.ResultPage{Results: append([]tasker.TaskResult{}, results...)}
	held, err := h.reader.holdsOf(r.Context(), &task, nil)
	if err != nil {
		return err
	}
	for i := range page.Results {
		held.mark(&page.Results[i])
	}
	if more && len(results) > 0 {
		page.Next = nextPage(w, r, results[len(results)-1].Endpoint)
	}
	return writeJSON(w, http.StatusOK, page)
}

// missing serves GET /{task_type}/{identifier}/missing.
func (h *pageHandlers) missing(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	limit, after := pageLimit(r.URL.Query(), &errs), h.cursor(r, &errs)
	task, err := h.task(r, &errs)
	if err != nil {
		return err
	}
	missing, err := h.results.MissingEndpoints(r.Context(), task.ID, after, limit+1)
	if err != nil {
		return err
	}
	page := client.MissingPage{Endpoints: append([]string{}, missing[:min(limit, len(missing))]...)}
	if len(missing) > limit {
		page.Next = nextPage(w, r, missing[limit-1])
	}
	return writeJSON(w, http.StatusOK, page)
}

// cursor returns the cursor of a list that is sorted by endpoint.
func (h *pageHandlers) cursor(r *http.Request, errs *inputErrors) string {
	query := r.URL.Query()
	after := query.Get("cursor")
	if query.Has("cursor") && tasker.ValidateEndpoint(after) != nil {
		errs.add("?cursor", invalidCursor)
	}
	return after
}

// task returns the task that a request's path names, or what is wrong with its
// query.
func (h *pageHandlers) task(r *http.Request, errs *inputErrors) (tasker.Task, error) {
	taskType, identifier, err := h.types.taskOf(r)
	if err == nil {
		err = errs.err()
	}
	if err != nil {
		return tasker.Task{}, err
	}
	return h.tasks.ViewTask(r.Context(), taskType, identifier)
}

func stateNames() string {
	var names []string
	for _, state := range tasker.ResultStates() {
		names = append(names, string(state))
	}
	return strings.Join(names, ", ")
}

// summary reads a task without its results, and counts them. It stores the
// task's status if the results imply another one; see current.
func (t *taskReader) summary(ctx context.Context, taskType, identifier string) (tasker.Task, tasker.Summary, error) {
	for again := false; ; again = true {
		task, err := t.tasks.ViewTask(ctx, taskType, identifier)
		if err != nil {
			return tasker.Task{}, tasker.Summary{}, err
		}
		summary, err := t.results.Summary(ctx, task, maxNamed)
		if err != nil {
			return tasker.Task{}, tasker.Summary{}, err
		}
		status := tasker.NextStatus(task.Status, summary, t.overdue(task))
		if task.Status.Final() && summary.Finished < summary.Received && !again {
			continue // it was retried between the two reads
		}
		if status != task.Status && !again && t.aggregate(ctx, task, status) {
			continue
		}
		if status.Final() {
			task.Status = status
		}
		return task, summary, nil
	}
}
