package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

const (
	// inlinePayload is the size of a payload, in bytes, up to which it is read
	// together with its row. Longer ones are read once there is memory for them.
	inlinePayload = 4 << 10
	// maxPageBytes bounds the payloads and lists, in bytes, of one page.
	maxPageBytes = 4 << 20
	// smallAnswer is the size of the payloads up to which a response is encoded
	// before it is written, with a Content-Length.
	smallAnswer = 256 << 10
)

// StatusStore stores the statuses of tasks.
type StatusStore interface {
	// Aggregate computes the status of tasks from their results and stores those
	// that changed, guarded by the table of legal moves. changed counts them.
	Aggregate(ctx context.Context, taskIDs []int64, waitForEndpoints time.Duration) (changed int, err error)
}

// taskReader reads tasks together with their results.
type taskReader struct {
	tasks            TaskStore
	statuses         StatusStore
	results          ResultStore
	holds            HoldStore
	rollouts         RolloutStore
	db               Database
	waitForEndpoints time.Duration
	log              *slog.Logger
}

// errMany is returned for a task with more endpoints than asked for.
var errMany = errors.New("the task has too many endpoints to read it as a whole")

func errReplaced() error {
	return tasker.Errorf(tasker.Unavailable, "task replaced while it was read: another one took its identifier; retry")
}

// current reads a task with its results, without payloads longer than maxPayload
// bytes, and stores its status if the results imply another one. The error is
// errMany if the task expects more than most endpoints; 0 means any number.
func (t *taskReader) current(
	ctx context.Context, taskType, identifier string, maxPayload int64, most int,
) (client.TaskAnswer, error) {
	answer, status, err := t.read(ctx, taskType, identifier, maxPayload, most)
	if err != nil {
		return client.TaskAnswer{}, err
	}
	if status != answer.Task.Status && t.aggregate(ctx, answer.Task, status) {
		// Stored, or the results changed meanwhile.
		if answer, status, err = t.read(ctx, taskType, identifier, maxPayload, most); err != nil {
			return client.TaskAnswer{}, err
		}
	}
	// A status that is not stored may not last: a lost endpoint comes back, a late
	// one receives the task. A response must not be taken back, so only a final
	// status, which the results cannot leave, is reported before it is stored.
	if status.Final() {
		answer.Task.Status = status
	}
	return answer, nil
}

// read reads a task with its results, without payloads longer than maxPayload
// bytes, and computes the status that the results imply.
func (t *taskReader) read(
	ctx context.Context, taskType, identifier string, maxPayload int64, most int,
) (client.TaskAnswer, tasker.TaskStatus, error) {
	for again := false; ; again = true {
		task, err := t.tasks.PeekTask(ctx, taskType, identifier, maxPayload)
		if err == nil && most > 0 && len(task.Expected)+task.Unopened > most {
			err = errMany
		}
		if err != nil {
			return client.TaskAnswer{}, "", err
		}
		results, err := t.results.PeekResults(ctx, task.ID, maxPayload)
		if err != nil {
			return client.TaskAnswer{}, "", err
		}
		if results == nil {
			results = []tasker.TaskResult{}
		}
		if !again && task.Status.Final() && slices.ContainsFunc(results, unfinished) {
			continue // it was retried between the two reads
		}
		answer := client.TaskAnswer{Task: task, Results: results}
		if err := t.markAll(ctx, &answer); err != nil {
			return client.TaskAnswer{}, "", err
		}
		if err := t.addRollout(ctx, &answer.Task); err != nil {
			return client.TaskAnswer{}, "", err
		}
		status := t.summarize(&answer)
		return answer, status, nil
	}
}

func unfinished(r tasker.TaskResult) bool { return !r.State.Finished() }

// summarize counts the results, and returns the status that they imply.
func (t *taskReader) summarize(a *client.TaskAnswer) tasker.TaskStatus {
	outcomes := make([]tasker.Outcome, len(a.Results))
	held := 0
	for i := range a.Results {
		outcomes[i] = tasker.Outcome{Endpoint: a.Results[i].Endpoint, State: a.Results[i].State}
		if a.Results[i].Held != "" {
			held++
		}
	}
	a.Summary = a.Task.Summarize(outcomes)
	a.Summary.Held = held
	a.Task.Unserved = a.Task.StillUnserved(outcomes)
	return tasker.NextStatus(a.Task.Status, a.Summary, t.overdue(a.Task))
}

// overdue reports whether the time in which every endpoint should have received
// the task has passed. In a rollout each has a time of its own: only the reconciler counts
// them.
func (t *taskReader) overdue(task tasker.Task) bool {
	return task.Rollout == nil && task.Overdue(t.db.Now(), t.waitForEndpoints)
}

// aggregate stores the status just computed, and reports whether it could.
func (t *taskReader) aggregate(ctx context.Context, task tasker.Task, status tasker.TaskStatus) bool {
	_, err := t.statuses.Aggregate(ctx, []int64{task.ID}, t.waitForEndpoints)
	if err != nil {
		t.log.WarnContext(ctx, "store task status failed: the reconciler will do it",
			"err", err, "task_id", task.ID, "status", string(status), "request_id", contextInfo(ctx).id)
	}
	return err == nil
}

// fill reads the payloads that an answer lacks. Results that changed meanwhile
// are replaced, and the summary and the status with them.
func (t *taskReader) fill(ctx context.Context, a *client.TaskAnswer) error {
	if a.Task.PayloadSize > 0 {
		task, err := t.tasks.FindTask(ctx, a.Task.Type, a.Task.Identifier)
		if err != nil {
			return err
		}
		if task.ID != a.Task.ID {
			return errReplaced()
		}
		a.Task.Payload, a.Task.PayloadSize = task.Payload, 0
	}
	endpoints := leftOut(a.Results)
	if len(endpoints) == 0 {
		return nil
	}
	byEndpoint, err := t.resultsOf(ctx, a.Task.ID, endpoints)
	if err != nil {
		return err
	}
	for i := range a.Results {
		if r, ok := byEndpoint[a.Results[i].Endpoint]; ok {
			if r.State == a.Results[i].State {
				r.Held = a.Results[i].Held
			}
			a.Results[i] = *r
		}
	}
	if status := t.summarize(a); status.Final() { // for the other statuses see current
		a.Task.Status = status
	}
	return nil
}

// resultsOf reads the results of some endpoints with their payloads, by endpoint.
func (t *taskReader) resultsOf(ctx context.Context, taskID int64, endpoints []string) (map[string]*tasker.TaskResult, error) {
	whole, err := t.results.ResultsOf(ctx, taskID, endpoints)
	if err != nil {
		return nil, err
	}
	byEndpoint := make(map[string]*tasker.TaskResult, len(whole))
	for i := range whole {
		byEndpoint[whole[i].Endpoint] = &whole[i]
	}
	return byEndpoint, nil
}

// leftOut returns the endpoints whose results lack their payloads.
func leftOut(results []tasker.TaskResult) (endpoints []string) {
	for i := range results {
		if results[i].PayloadSize > 0 {
			endpoints = append(endpoints, results[i].Endpoint)
		}
	}
	return endpoints
}

// answerSize returns the bytes of all payloads of an answer, including those that it
// lacks; 0 if they are too few to matter.
func answerSize(a *client.TaskAnswer) int64 {
	size := int64(len(a.Task.Payload)) + a.Task.PayloadSize
	for i := range a.Results {
		size += int64(len(a.Results[i].Payload)) + a.Results[i].PayloadSize
	}
	if size <= smallAnswer {
		return 0
	}
	return size
}

// writeTask writes a task. A large one is encoded result by result while it is
// written, so that it is in memory once.
func writeTask(w http.ResponseWriter, a client.TaskAnswer, size int64) error {
	if size == 0 {
		return writeJSON(w, http.StatusOK, a)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, streamPiece)
	e := answerEncoder{out: out}
	e.begin(a.Task)
	for i := range a.Results {
		e.result(a.Results[i])
		a.Results[i].Payload = nil
	}
	e.end(a.Summary)
	e.text("\n")
	if errors.Join(e.err, out.Flush()) != nil {
		// The response has begun: abort it, so that nobody takes it for complete.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// answerEncoder writes a [client.TaskAnswer] piece by piece, so that it is never in
// memory as a whole. It keeps the first error.
type answerEncoder struct {
	out     io.Writer
	results int
	err     error
}

func (e *answerEncoder) begin(task tasker.Task) {
	e.text(`{"task":`)
	e.value(task)
	e.text(`,"taskResponseList":[`)
}

func (e *answerEncoder) result(r tasker.TaskResult) {
	if e.results > 0 {
		e.text(",")
	}
	e.results++
	e.value(r)
}

func (e *answerEncoder) end(summary tasker.Summary) {
	e.text(`],"summary":`)
	e.value(summary)
	e.text("}")
}

func (e *answerEncoder) text(s string) {
	if e.err == nil {
		_, e.err = io.WriteString(e.out, s)
	}
}

// value writes a value without the newline that the encoder adds.
func (e *answerEncoder) value(v any) {
	if e.err != nil {
		return
	}
	encoder := json.NewEncoder(noNewline{e.out})
	encoder.SetEscapeHTML(false)
	e.err = encoder.Encode(v)
}

// noNewline removes the newline at the end of each write. An encoder writes each
// value in one piece.
type noNewline struct{ out io.Writer }

func (n noNewline) Write(p []byte) (int, error) {
	body := p
	if len(body) > 0 && body[len(body)-1] == '\n' {
		body = body[:len(body)-1]
	}
	if written, err := n.out.Write(body); err != nil {
		return written, err
	}
	return len(p), nil
}
