package web

import (
	"bufio"
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/text"
)

// logLines is how many lines of a log a page shows.
const logLines = 500

// resultPage is what one endpoint made of a task.
type resultPage struct {
	Type, Identifier string
	Result           tasker.TaskResult
	Why              string // what the errnr means, if it is tasker's own
	Attempts         []tasker.Attempt
	Payload          document
	Log              client.LogAnswer
	From             int64 // the first line that is shown
	Newest           bool  // the log is that of the latest attempt, to its end
	Older            string
}

// errnrs says what tasker's own numbers mean.
var errnrs = map[int]string{
	tasker.ErrnrTimedOut:    "the time limit of the run passed",
	tasker.ErrnrCanceled:    "somebody canceled the task",
	tasker.ErrnrLost:        "the endpoint stopped sending signs of life before it finished",
	tasker.ErrnrExpired:     "the task, or its signature, expired before it ran",
	tasker.ErrnrRejected:    "the endpoint has no handler for the task, or its payload or its signature does not permit it",
	tasker.ErrnrInterrupted: "the manager ended while the handler ran",
	tasker.ErrnrBadResult:   "the handler's result was not JSON, or too large",
	tasker.ErrnrRemoved:     "the endpoint was removed before it finished",
	tasker.ErrnrSuperseded:  "a newer task of its topic replaced the task before it ran",
}

// result returns the names of the result in the path of the page.
func (v *visit) result() (taskType, identifier, endpoint string, err error) {
	if taskType, identifier, err = v.task(); err != nil {
		return "", "", "", err
	}
	endpoint = v.r.PathValue("endpoint")
	if tasker.ValidateEndpoint(endpoint) != nil {
		return "", "", "", tasker.Errorf(tasker.NotFound, "result not found")
	}
	return taskType, identifier, endpoint, nil
}

func showResult(v *visit) error {
	taskType, identifier, endpoint, err := v.result()
	if err != nil {
		return err
	}
	found, err := v.api.Result(v.ctx(), taskType, identifier, endpoint)
	if err != nil {
		return err
	}
	p := resultPage{
		Type: taskType, Identifier: identifier, Result: found.Result, Why: errnrs[found.Result.Errnr],
		Attempts: found.Attempts, Payload: documentOf(found.Result.Payload),
	}
	if p.Result.Attempt > 0 {
		if err := v.readLog(&p); err != nil {
			return err
		}
	}
	out := page{
		Title: endpoint + " of " + taskType + "/" + identifier, Section: "tasks", Status: string(found.Result.State),
		Say: endpoint + ": " + string(found.Result.State), Body: p,
	}
	if p.Newest && (!found.Result.State.Finished() || !p.Log.Totals.Complete) {
		// The stream of a task for many endpoints has no logs.
		out.Events, out.Poll = "tasks/"+taskType+"/"+identifier+"/events", pollSoon
		out.Endpoint = endpoint
	}
	return v.show(http.StatusOK, "result", out)
}

// readLog reads the part of the log that the page asks for: the end of the latest
// attempt's, unless it names another place.
func (v *visit) readLog(p *resultPage) error {
	given := v.r.URL.Query()
	attempt, err := strconv.Atoi(cmp.Or(given.Get("attempt"), strconv.Itoa(p.Result.Attempt)))
	if err != nil {
		return tasker.Errorf(tasker.NotFound, "attempt not found")
	}
	var lines int64
	for _, a := range p.Attempts {
		if a.Attempt == attempt {
			lines = a.Log.Lines
		}
	}
	p.From = max(0, lines-logLines)
	if given.Has("offset") {
		if p.From, err = strconv.ParseInt(given.Get("offset"), 10, 64); err != nil {
			return tasker.Errorf(tasker.NotFound, "line not found")
		}
	}
	p.Newest = attempt == p.Result.Attempt && !given.Has("offset")
	query := url.Values{
		"attempt": {strconv.Itoa(attempt)}, "offset": {strconv.FormatInt(p.From, 10)}, "limit": {strconv.Itoa(logLines)},
	}
	if p.Newest {
		query.Set("limit", strconv.Itoa(2*logLines)) // with those that came meanwhile
	}
	p.Log, err = get[client.LogAnswer](v, query, p.Type, p.Identifier, "results", p.Result.Endpoint, "log")
	if p.From > 0 {
		p.Older = strconv.FormatInt(max(0, p.From-logLines), 10)
	}
	return err
}

// serveLog serves the whole log of an attempt as a file.
func serveLog(v *visit) error {
	taskType, identifier, endpoint, err := v.result()
	if err != nil {
		return err
	}
	attempt, err := strconv.Atoi(cmp.Or(v.r.URL.Query().Get("attempt"), "0"))
	if err != nil || attempt < 0 {
		return tasker.Errorf(tasker.NotFound, "attempt not found")
	}
	out := bufio.NewWriter(v.w)
	begun := false
	for line, err := range v.api.Log(v.ctx(), taskType, identifier, endpoint, attempt) {
		if err != nil && !begun {
			return err
		}
		if err != nil {
			// The answer has begun: abort it, so that nobody takes it for complete.
			panic(http.ErrAbortHandler)
		}
		if !begun {
			begun = true
			v.attachment("text/plain; charset=utf-8", taskType+"-"+identifier+"-"+endpoint+".log")
		}
		if line.LeftOut > 0 {
			_, err = fmt.Fprintf(out, "... %d lines left out\n", line.LeftOut)
		} else {
			_, err = fmt.Fprintf(out, "%s %s\n", line.Time.UTC().Format(time.RFC3339Nano), text.VisibleLines(line.Text))
		}
		if err != nil {
			return nil // the browser is gone
		}
	}
	if !begun {
		v.attachment("text/plain; charset=utf-8", taskType+"-"+identifier+"-"+endpoint+".log")
	}
	_ = out.Flush() // an error means that the browser is gone
	return nil
}

// serveResultPayload serves the whole result of the handler as a file.
func serveResultPayload(v *visit) error {
	taskType, identifier, endpoint, err := v.result()
	if err != nil {
		return err
	}
	found, err := v.api.Result(v.ctx(), taskType, identifier, endpoint)
	if err != nil {
		return err
	}
	v.attachment("application/json", taskType+"-"+identifier+"-"+endpoint+".json")
	_, _ = v.w.Write(found.Result.Payload) // an error means that the browser is gone
	return nil
}
