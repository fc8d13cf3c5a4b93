package api

import (
	"bytes"
	"context"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/text"
)

// ResultStore holds the results, one for each endpoint of a task.
type ResultStore interface {
	// PeekResults returns a task's results, sorted by endpoint, and leaves out
	// payloads that are longer than maxPayload bytes. ResultsOf returns the
	// complete results of some endpoints, PeekResultsOf leaves out their payloads.
	PeekResults(ctx context.Context, taskID, maxPayload int64) ([]tasker.TaskResult, error)
	PeekResultsOf(ctx context.Context, taskID int64, endpoints []string) ([]tasker.TaskResult, error)
	ResultsOf(ctx context.Context, taskID int64, endpoints []string) ([]tasker.TaskResult, error)
	// ResultPage returns one page of a task's results, by endpoint, and whether
	// more follow. MissingEndpoints returns expected endpoints without a result,
	// by name, after one of them.
	ResultPage(ctx context.Context, q tasker.ResultQuery) (results []tasker.TaskResult, more bool, err error)
	MissingEndpoints(ctx context.Context, taskID int64, after string, limit int) ([]string, error)
	// Summary counts the results of a task, and names at most limit of the missing
	// endpoints.
	Summary(ctx context.Context, task tasker.Task, limit int) (tasker.Summary, error)
	// FindResult returns an endpoint's result for a task, or a [tasker.NotFound]
	// error.
	FindResult(ctx context.Context, taskID int64, endpoint string) (tasker.TaskResult, error)
	// Attempts returns the attempts of a result, oldest first.
	Attempts(ctx context.Context, taskID int64, endpoint string) ([]tasker.Attempt, error)
}

// LiveStore holds what attempts report while they run.
type LiveStore interface {
	// LogLines returns lines of an attempt from a number on, in order, and at
	// least one if there is one. It may return some before that number, and more
	// than limit.
	LogLines(ctx context.Context, taskID int64, endpoint string, attempt int, from int64, limit int) ([]tasker.LogLine, error)
	// LogChunksAfter returns at most limit chunks of a task's logs, by ID.
	LogChunksAfter(ctx context.Context, taskID, afterID int64, limit int) ([]tasker.LogChunk, error)
	// ResultNews returns the results with the given keys that exist, in any order.
	ResultNews(ctx context.Context, keys []tasker.ResultKey) ([]tasker.ResultNews, error)
}

// resultHandlers serve the results of single endpoints.
type resultHandlers struct {
	types   *taskTypes
	tasks   TaskStore
	results ResultStore
	live    LiveStore
	reader  *taskReader
}

// get serves GET /{task_type}/{identifier}/results/{endpoint}.
func (h *resultHandlers) get(w http.ResponseWriter, r *http.Request) error {
	result, attempts, err := h.read(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.ResultAnswer{Result: result, Attempts: attempts})
}

// read returns the result that a request's path names, and its attempts.
func (h *resultHandlers) read(r *http.Request) (tasker.TaskResult, []tasker.Attempt, error) {
	taskType, identifier, err := h.types.taskOf(r)
	if err != nil {
		return tasker.TaskResult{}, nil, err
	}
	task, err := h.tasks.ViewTask(r.Context(), taskType, identifier)
	if err != nil {
		return tasker.TaskResult{}, nil, err
	}
	endpoint := mux.Vars(r)["endpoint"]
	if tasker.ValidateEndpoint(endpoint) != nil {
		return tasker.TaskResult{}, nil, noResult(&task, endpoint)
	}
	result, err := h.results.FindResult(r.Context(), task.ID, endpoint)
	if tasker.CodeOf(err) == tasker.NotFound {
		if task, err = h.tasks.FindTask(r.Context(), taskType, identifier); err != nil {
			return tasker.TaskResult{}, nil, err
		}
		return tasker.TaskResult{}, nil, noResult(&task, endpoint)
	}
	if err != nil {
		return tasker.TaskResult{}, nil, err
	}
	held, err := h.reader.holdsOf(r.Context(), &task, []string{endpoint})
	if err != nil {
		return tasker.TaskResult{}, nil, err
	}
	held.mark(&result)
	attempts, err := h.results.Attempts(r.Context(), task.ID, endpoint)
	if err != nil {
		return tasker.TaskResult{}, nil, err
	}
	if attempts == nil {
		attempts = []tasker.Attempt{}
	}
	for i := range attempts {
		attempts[i].Log = logTotals(attempts[i])
	}
	return result, attempts, nil
}

// noResult returns why an endpoint has no result for a task.
func noResult(t *tasker.Task, endpoint string) error {
	shown := clip(endpoint, tasker.MaxName)
	switch {
	case slices.Contains(t.Expected, endpoint):
		return tasker.Errorf(tasker.NotFound, "result of endpoint %q not found: the endpoint has not received the task yet", shown)
	case t.Endpoints == nil:
		return tasker.Errorf(tasker.NotFound,
			"result of endpoint %q not found: the endpoint was not registered for the task type when the task was accepted", shown)
	}
	return tasker.Errorf(tasker.NotFound, "result of endpoint %q not found: the task is not for this endpoint", shown)
}

// logTotals returns those of an attempt. One that ended without a line is
// complete, although that was not stored.
func logTotals(a tasker.Attempt) tasker.LogTotals {
	totals := a.Log
	if totals.Lines == 0 && a.EndTime != nil {
		totals.Complete = true
	}
	return totals
}

// The sizes of a part of a log, in lines.
const (
	defaultLogPage = 1000
	maxLogPage     = 10_000
)

// log serves GET /{task_type}/{identifier}/results/{endpoint}/log, as JSON
// or as the plain lines.
func (h *resultHandlers) log(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	offset := intParam(query, "offset", 0, 0, 1<<62, &errs)
	limit := intParam(query, "limit", defaultLogPage, 1, maxLogPage, &errs)
	number := intParam(query, "attempt", 0, 1, 1<<31-1, &errs)
	raw := boolParam(query, "raw", &errs)
	if err := errs.err(); err != nil {
		return err
	}
	result, attempts, err := h.read(r)
	if err != nil {
		return err
	}
	answer := client.LogAnswer{Attempt: result.Attempt, Lines: []tasker.LogLine{}, Next: offset}
	if query.Has("attempt") {
		if answer.Attempt = int(number); answer.Attempt > result.Attempt {
			return tasker.Errorf(tasker.NotFound, "attempt %d of endpoint %q not found: %d have begun", number,
				result.Endpoint, result.Attempt)
		}
	}
	for _, a := range attempts {
		if a.Attempt == answer.Attempt {
			answer.Totals = a.Log
		}
	}
	if answer.Attempt > 0 {
		lines, err := h.live.LogLines(r.Context(), result.TaskID, result.Endpoint, answer.Attempt, offset, int(limit))
		if err != nil {
			return err
		}
		cutLog(&answer, lines, int(limit))
	}
	w.Header().Set("Vary", "Accept")
	w.Header().Set("X-Next-Offset", strconv.FormatInt(answer.Next, 10))
	if wantsPlain(r.Header.Values("Accept")) {
		writePlain(w, answer.Lines, raw)
		return nil
	}
	return writeJSON(w, http.StatusOK, answer)
}

// cutLog appends the lines from the offset on, up to a limit: the store returns
// whole chunks.
func cutLog(a *client.LogAnswer, lines []tasker.LogLine, limit int) {
	for _, line := range lines {
		if len(a.Lines) == limit {
			return
		}
		end := line.Number + max(1, line.LeftOut)
		if end <= a.Next {
			continue
		}
		a.Lines = append(a.Lines, beginAt(line, a.Next))
		a.Next = end
	}
}

// wantsPlain reports whether a client prefers text/plain to JSON.
func wantsPlain(accept []string) bool {
	plain, asJSON := 0.0, 0.0
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		mediaType, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		quality := 1.0
		if q, ok := params["q"]; ok {
			if quality, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		switch mediaType {
		case "text/plain":
			plain = quality
		case "application/json":
			asJSON = quality
		}
	}
	return plain > asJSON
}

// writePlain writes the lines as text, and a gap as a line of its own. They
// usually end up in a terminal, which they could control: control characters are
// escaped unless the client asks for raw.
func writePlain(w http.ResponseWriter, lines []tasker.LogLine, raw bool) {
	var body bytes.Buffer
	for _, line := range lines {
		if line.LeftOut > 0 {
			fmt.Fprintf(&body, "... %d lines left out\n", line.LeftOut)
			continue
		}
		if raw {
			body.WriteString(line.Text)
		} else {
			body.WriteString(text.VisibleLines(line.Text))
		}
		body.WriteByte('\n')
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body.Bytes()) // an error means that the client disconnected
}
