package api

import (
	"bufio"
	"context"
	"errors"
	"net/http"

	"github.com/taskerhq/tasker"
)

const (
	// manyEndpoints is how many endpoints a task expects from which its results are
	// read in pages while the answer is written.
	manyEndpoints = 1000
	// streamPage is how many results one of these pages has.
	streamPage = 500
)

// stream answers with a task of many endpoints: whatever their number, a page of
// results is in memory. The status is from before the results were read, so
// results may be newer than it is; those of a task that has ended do not change, unless
// it is retried meanwhile: then the answer is cut off.
func (h *taskHandlers) stream(w http.ResponseWriter, r *http.Request, taskType, identifier string) error {
	view, _, err := h.reader.summary(r.Context(), taskType, identifier)
	if err != nil {
		return err
	}
	release, err := h.limits.payloads.acquire(r.Context(), maxPageBytes)
	if err != nil {
		return err
	}
	defer release()
	task, held, err := h.streamed(r.Context(), &view)
	if err != nil {
		return err
	}
	q := tasker.ResultQuery{TaskID: task.ID, Limit: streamPage, MaxBytes: maxPageBytes}
	page, more, err := h.reader.results.ResultPage(r.Context(), q)
	if err != nil {
		return err // not later: the answer has not begun
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, streamPiece)
	e := answerEncoder{out: out}
	e.begin(task)
	var outcomes []tasker.Outcome
	waiting := 0
	for {
		for i := range page {
			if task.Status.Final() && unfinished(page[i]) && !task.Removed(page[i].Endpoint) {
				err = errReplaced()
			}
			if held.mark(&page[i]); page[i].Held != "" {
				waiting++
			}
			e.result(page[i])
			outcomes = append(outcomes, tasker.Outcome{Endpoint: page[i].Endpoint, State: page[i].State})
		}
		if !more || err != nil || e.err != nil {
			break
		}
		q.After = page[len(page)-1].Endpoint
		page, more, err = h.reader.results.ResultPage(r.Context(), q)
	}
	summary := task.Summarize(outcomes)
	summary.Held = waiting
	e.end(summary)
	e.text("\n")
	if errors.Join(err, e.err, out.Flush()) != nil {
		// The response has begun: abort it, so that nobody takes it for complete.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// streamed returns the whole task of a view, with its rollout, and what holds it.
func (h *taskHandlers) streamed(ctx context.Context, view *tasker.Task) (task tasker.Task, held holds, err error) {
	if task, err = h.store.FindTask(ctx, view.Type, view.Identifier); err != nil {
		return task, held, err
	}
	if task.ID != view.ID {
		return task, held, errReplaced()
	}
	if view.Status.Final() {
		task.Status = view.Status
	}
	if err := h.reader.addRollout(ctx, &task); err != nil {
		return task, held, err
	}
	held, err = h.reader.holdsOf(ctx, &task, nil)
	return task, held, err
}
