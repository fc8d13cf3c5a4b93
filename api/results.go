package api

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// resultAnswer is one endpoint's result with all its attempts.
type resultAnswer struct {
	Result   tasker.TaskResult `json:"result"`
	Attempts []tasker.Attempt  `json:"attempts"` // oldest first
}

// getResult answers GET /{task_type}/{identifier}/results/{endpoint}.
func (s *Server) getResult(w http.ResponseWriter, r *http.Request) error {
	result, attempts, err := s.readResult(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, resultAnswer{result, attempts})
}

// readResult gives the result that a request's path names, and its attempts.
func (s *Server) readResult(r *http.Request) (tasker.TaskResult, []tasker.Attempt, error) {
	taskType, identifier, err := s.taskName(r)
	if err != nil {
		return tasker.TaskResult{}, nil, err
	}
	task, err := s.store.FindTask(r.Context(), taskType, identifier)
	if err != nil {
		return tasker.TaskResult{}, nil, err
	}
	endpoint := mux.Vars(r)["endpoint"]
	if tasker.ValidateEndpoint(endpoint) != nil {
		return tasker.TaskResult{}, nil, noResult(&task, endpoint)
	}
	result, err := s.store.FindResult(r.Context(), task.ID, endpoint)
	if tasker.CodeOf(err) == tasker.NotFound {
		return tasker.TaskResult{}, nil, noResult(&task, endpoint)
	}
	if err != nil {
		return tasker.TaskResult{}, nil, err
	}
	attempts, err := s.store.Attempts(r.Context(), task.ID, endpoint)
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

// noResult says why an endpoint has no result of a task.
func noResult(t *tasker.Task, endpoint string) error {
	shown := clip(endpoint, tasker.MaxName)
	switch {
	case slices.Contains(t.Expected, endpoint):
		return tasker.Errorf(tasker.NotFound, "endpoint %q has no result of the task: it is expected, and missing until now", shown)
	case t.Endpoints == nil && t.SentTime == nil:
		return tasker.Errorf(tasker.NotFound, "endpoint %q has no result of the task: the task is %s, and not sent yet", shown, t.Status)
	case t.Endpoints == nil:
		return tasker.Errorf(tasker.NotFound, "endpoint %q has no result of the task: it was not registered for the type when the task was sent", shown)
	}
	return tasker.Errorf(tasker.NotFound, "endpoint %q has no result of the task: the task is not addressed to it", shown)
}

// logTotals are those of an attempt. One that has ended without a line is
// complete, although nobody stored that.
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

// logAnswer is a part of an attempt's log.
type logAnswer struct {
	Attempt int              `json:"attempt"` // 0 where none has begun
	Lines   []tasker.LogLine `json:"lines"`
	// Next is the offset of what follows.
	Next   int64            `json:"next"`
	Totals tasker.LogTotals `json:"totals"`
}

// getLog answers GET /{task_type}/{identifier}/results/{endpoint}/log, as JSON
// or as the plain lines.
func (s *Server) getLog(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	offset := wholeNumber(query, "offset", 0, 0, 1<<62, &errs)
	limit := wholeNumber(query, "limit", defaultLogPage, 1, maxLogPage, &errs)
	number := wholeNumber(query, "attempt", 0, 1, 1<<31-1, &errs)
	raw := trueOrFalse(query, "raw", &errs)
	if err := errs.err(); err != nil {
		return err
	}
	result, attempts, err := s.readResult(r)
	if err != nil {
		return err
	}
	answer := logAnswer{Attempt: result.Attempt, Lines: []tasker.LogLine{}, Next: offset}
	if query.Has("attempt") {
		if answer.Attempt = int(number); answer.Attempt > result.Attempt {
			return tasker.Errorf(tasker.NotFound, "there is no attempt %d of the task at endpoint %q: %d have begun", number, result.Endpoint, result.Attempt)
		}
	}
	for _, a := range attempts {
		if a.Attempt == answer.Attempt {
			answer.Totals = a.Log
		}
	}
	if answer.Attempt > 0 {
		lines, err := s.store.LogLines(r.Context(), result.TaskID, result.Endpoint, answer.Attempt, offset, int(limit))
		if err != nil {
			return err
		}
		answer.cut(lines, int(limit))
	}
	w.Header().Set("Vary", "Accept")
	w.Header().Set("X-Next-Offset", strconv.FormatInt(answer.Next, 10))
	if wantsPlain(r.Header.Values("Accept")) {
		writePlain(w, answer.Lines, raw)
		return nil
	}
	return writeJSON(w, http.StatusOK, answer)
}

// cut takes the lines from the offset on, up to a limit: the store gives whole
// pieces.
func (a *logAnswer) cut(lines []tasker.LogLine, limit int) {
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

// wholeNumber reads a query parameter that has a value by default.
func wholeNumber(query url.Values, name string, value, from, to int64, errs *inputErrors) int64 {
	if !query.Has(name) {
		return value
	}
	n, err := strconv.ParseInt(query.Get(name), 10, 64)
	if err != nil || n < from || n > to {
		errs.add("?"+name, "%s takes a whole number from %d to %d", name, from, to)
		return value
	}
	return n
}

// trueOrFalse reads a query parameter that is false by default.
func trueOrFalse(query url.Values, name string, errs *inputErrors) bool {
	value := query.Get(name)
	if query.Has(name) && value != "true" && value != "false" {
		errs.add("?"+name, "%s takes true or false", name)
	}
	return value == "true"
}

// wantsPlain tells whether a client asks for text/plain and not, or less, for
// JSON.
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

// writePlain answers with the lines as text, a gap as a line of its own. As a
// rule somebody looks at them in a terminal, which they could steer: their
// control characters are visible, unless they are asked for raw.
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
	_, _ = w.Write(body.Bytes()) // an error means that the client is gone
}
