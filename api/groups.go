package api

import (
	"context"
	"net/http"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/outcome"
	"github.com/taskerhq/tasker/internal/x/nodeset"
)

// groupingBytes bounds the memory, in bytes, of grouping the results of a task: a
// page of results, the messages of the groups, the endpoints' names, and the encoded
// answer.
const groupingBytes = 4 * maxPageBytes

// groups serves GET /{task_type}/{identifier}/groups. The results are read in pages
// and not kept. They may be newer than a status that is not final.
func (h *pageHandlers) groups(w http.ResponseWriter, r *http.Request) error {
	taskType, identifier, err := h.types.taskOf(r)
	if err != nil {
		return err
	}
	view, _, err := h.reader.summary(r.Context(), taskType, identifier)
	if err != nil {
		return err
	}
	release, err := h.limits.payloads.acquire(r.Context(), groupingBytes)
	if err != nil {
		return err
	}
	defer release()
	task, err := h.tasks.PeekTask(r.Context(), taskType, identifier, 0)
	if err != nil {
		return err
	}
	if task.ID != view.ID {
		return errReplaced()
	}
	var grouper outcome.Grouper
	outcomes, err := h.group(r.Context(), &task, &grouper)
	if err != nil {
		return err
	}
	summary := task.Summarize(outcomes)
	task.Status, task.Unserved = view.Status, task.StillUnserved(outcomes)
	if status := tasker.NextStatus(view.Status, summary, h.reader.overdue(task)); status.Final() { // see current
		task.Status = status
	}
	answer := viewGroups(grouper.Groups())
	answer.Task, answer.Expected, answer.Missing = viewTask(task), summary.Expected, endpointSet(summary.Missing)
	return writeJSON(w, http.StatusOK, answer)
}

// group reads the results of a task, groups those that its summary counts, and
// returns the outcomes of all.
func (h *pageHandlers) group(ctx context.Context, task *tasker.Task, grouper *outcome.Grouper) ([]tasker.Outcome, error) {
	var outcomes []tasker.Outcome
	q := tasker.ResultQuery{TaskID: task.ID, Limit: streamPage, MaxBytes: maxPageBytes}
	for {
		page, more, err := h.results.ResultPage(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range page {
			outcomes = append(outcomes, tasker.Outcome{Endpoint: page[i].Endpoint, State: page[i].State})
			if !task.Removed(page[i].Endpoint) {
				grouper.Add(&page[i])
			}
		}
		if !more || len(page) == 0 {
			return outcomes, nil
		}
		q.After = page[len(page)-1].Endpoint
	}
}

func viewGroups(all outcome.Groups) client.TaskGroups {
	answer := client.TaskGroups{
		Received: all.Results,
		Groups:   make([]client.ResultGroup, len(all.Groups)), Other: make([]client.OtherResults, len(all.Other)),
	}
	for i, g := range all.Groups {
		answer.Groups[i] = client.ResultGroup{
			Hash: g.Hash, State: g.State, Errnr: g.Errnr, Endpoint: g.Endpoint, EndpointSet: endpointSet(g.Endpoints),
		}
		if g.Errmsg != "" {
			answer.Groups[i].Errmsg = &g.Errmsg
		}
	}
	for i, o := range all.Other {
		answer.Other[i] = client.OtherResults{State: o.State, EndpointSet: endpointSet(o.Endpoints)}
	}
	return answer
}

// endpointSet returns the set of different names.
func endpointSet(names []string) client.EndpointSet {
	return client.EndpointSet{Count: len(names), Names: append([]string{}, nodeset.Fold(names)...)}
}
