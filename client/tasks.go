package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/taskerhq/tasker"
)

// CreateTask creates a task. created is false if the same task, with the same
// identifier, payload and endpoints, existed already: it is safe to repeat the
// call. If the identifier belongs to another task the error is [tasker.Conflict].
func (c *Client) CreateTask(ctx context.Context, taskType string, t NewTask) (task tasker.Task, created bool, err error) {
	if err := tasker.ValidateTaskType(taskType); err != nil {
		return tasker.Task{}, false, err
	}
	status, err := c.call(ctx, request{method: http.MethodPost, path: []string{taskType}, body: t, retry: t.Identifier != ""}, &task)
	return task, status == http.StatusCreated, err
}

// PlanTask returns whom CreateTask would create a task for, and stores nothing.
// Its errors are those of CreateTask.
func (c *Client) PlanTask(ctx context.Context, taskType string, t NewTask) (plan Plan, err error) {
	if err := tasker.ValidateTaskType(taskType); err != nil {
		return Plan{}, err
	}
	query := url.Values{"dry_run": {"true"}}
	_, err = c.call(ctx, request{method: http.MethodPost, path: []string{taskType}, query: query, body: t, retry: true}, &plan)
	return plan, err
}

// Reschedule changes when a SCHEDULED task starts, and returns the task. If it has
// another status the error is [tasker.Conflict].
func (c *Client) Reschedule(ctx context.Context, taskType, identifier string, start Reschedule) (task tasker.Task, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return tasker.Task{}, err
	}
	// With In a repetition would start the task later than the first try did.
	r := request{method: http.MethodPatch, path: []string{taskType, identifier}, body: start, retry: start.In == ""}
	_, err = c.call(ctx, r, &task)
	return task, err
}

// Task returns a task with the results of all endpoints.
func (c *Client) Task(ctx context.Context, taskType, identifier string) (answer TaskAnswer, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return TaskAnswer{}, err
	}
	_, err = c.call(ctx, request{path: []string{taskType, identifier}, retry: true}, &answer)
	return answer, err
}

// TaskDocument is [Client.Task] as the API wrote it, with the fields that this client
// does not know.
func (c *Client) TaskDocument(ctx context.Context, taskType, identifier string) (document json.RawMessage, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return nil, err
	}
	_, err = c.call(ctx, request{path: []string{taskType, identifier}, retry: true}, &document)
	return document, err
}

// Summary returns a task without its payload and results, and their numbers.
func (c *Client) Summary(ctx context.Context, taskType, identifier string) (answer TaskSummary, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return TaskSummary{}, err
	}
	_, err = c.call(ctx, request{path: []string{taskType, identifier, "summary"}, retry: true}, &answer)
	return answer, err
}

// Groups returns a task without its payload, and its results in groups of those that
// are alike. The first are failures.
func (c *Client) Groups(ctx context.Context, taskType, identifier string) (answer TaskGroups, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return TaskGroups{}, err
	}
	_, err = c.call(ctx, request{path: []string{taskType, identifier, "groups"}, retry: true}, &answer)
	return answer, err
}

// Results returns the results of a task in a state, or all of them if it is
// empty, by endpoint. It ends after an error.
func (c *Client) Results(ctx context.Context, taskType, identifier string, state tasker.ResultState) iter.Seq2[tasker.TaskResult, error] {
	query := url.Values{}
	if state != "" {
		query.Set("state", string(state))
	}
	return pages(ctx, c, request{path: []string{taskType, identifier, "results"}, query: query},
		func(p *ResultPage) ([]tasker.TaskResult, *string) { return p.Results, p.Next })
}

// Missing returns the endpoints that have not received a task, by name. It ends
// after an error.
func (c *Client) Missing(ctx context.Context, taskType, identifier string) iter.Seq2[string, error] {
	return pages(ctx, c, request{path: []string{taskType, identifier, "missing"}},
		func(p *MissingPage) ([]string, *string) { return p.Endpoints, p.Next })
}

func validTask(taskType, identifier string) error {
	if err := tasker.ValidateTaskType(taskType); err != nil {
		return err
	}
	return tasker.ValidateIdentifier(identifier)
}

// TaskQuery selects tasks.
type TaskQuery struct {
	Status  tasker.TaskStatus // empty means any
	Payload bool              // read the payloads, too
}

// Tasks returns the tasks of a type, newest first. It ends after an error.
func (c *Client) Tasks(ctx context.Context, taskType string, q TaskQuery) iter.Seq2[tasker.Task, error] {
	query := url.Values{}
	if q.Status != "" {
		query.Set("status", string(q.Status))
	}
	if q.Payload {
		query.Set("payload", "true")
	}
	return pages(ctx, c, request{path: []string{taskType}, query: query},
		func(p *TaskPage[tasker.Task]) ([]tasker.Task, *string) { return p.Tasks, p.Next })
}

// TaskSearch selects tasks of all types. What is empty does not limit it.
type TaskSearch struct {
	Types    []string             // one of these
	Statuses []tasker.TaskStatus  // one of these
	Endpoint string               // for this endpoint
	Topic    string               // with this topic
	Prefix   string               // with an identifier that begins so
	Labels   []tasker.LabelFilter // with all of these
	// CreatedBy is the principal that created it.
	CreatedBy string
	Since     time.Time // changed then or later
	Until     time.Time // changed before then
	// CreatedSince and CreatedUntil say likewise when the task was accepted.
	CreatedSince time.Time
	CreatedUntil time.Time
	Text         string // in the payload, or in the error of a result; case matters
}

// Search returns the tasks of all types that a search selects, newest first, without
// their payloads. It ends after an error.
func (c *Client) Search(ctx context.Context, q TaskSearch) iter.Seq2[TaskView, error] {
	return pages(ctx, c, request{path: []string{"v1", "tasks"}, query: q.values()},
		func(p *TaskPage[TaskView]) ([]TaskView, *string) { return p.Tasks, p.Next })
}

// Count returns how many tasks of all types a search selects, by status. It ends early
// where there are very many, and says so.
func (c *Client) Count(ctx context.Context, q TaskSearch) (counts tasker.TaskCounts, err error) {
	_, err = c.call(ctx, request{path: []string{"v1", "tasks", "counts"}, query: q.values(), retry: true}, &counts)
	return counts, err
}

// values returns the parameters of a search.
func (q TaskSearch) values() url.Values {
	query := url.Values{}
	query["task_type"] = q.Types
	for _, status := range q.Statuses {
		query.Add("status", string(status))
	}
	for _, label := range q.Labels {
		query.Add("label", label.String())
	}
	for name, value := range map[string]string{
		"endpoint": q.Endpoint, "topic": q.Topic, "identifier": q.Prefix, "created_by": q.CreatedBy, "text": q.Text,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{
		"since": q.Since, "until": q.Until, "created_since": q.CreatedSince, "created_until": q.CreatedUntil,
	} {
		if !at.IsZero() {
			query.Set(name, at.Format(time.RFC3339Nano))
		}
	}
	return query
}

// Wait waits until a task has ended, and returns it. A task is INCOMPLETE, not
// ended, while an endpoint is missing: bound the wait with ctx.
func (c *Client) Wait(ctx context.Context, taskType, identifier string) (TaskAnswer, error) {
	for {
		answer, err := c.wait(ctx, taskType, identifier)
		if err != nil || answer.Task.Status.Final() {
			return answer, err
		}
		// It was retried just after its end.
	}
}

// wait is Wait until the first end that it sees.
func (c *Client) wait(ctx context.Context, taskType, identifier string) (TaskAnswer, error) {
	for event, err := range c.Watch(ctx, taskType, identifier) {
		if err != nil {
			return TaskAnswer{}, err
		}
		switch data := event.Data.(type) {
		case *TaskAnswer:
			if data.Task.Status.Final() && data.ResultsLeftOut == nil {
				return *data, nil
			}
		case *TaskEvent:
			if data.Task.Status.Final() {
				return c.Task(ctx, taskType, identifier)
			}
		}
	}
	return c.Task(ctx, taskType, identifier)
}

// Result returns an endpoint's result for a task, with all its attempts.
func (c *Client) Result(ctx context.Context, taskType, identifier, endpoint string) (answer ResultAnswer, err error) {
	path, err := resultPath(taskType, identifier, endpoint)
	if err != nil {
		return ResultAnswer{}, err
	}
	_, err = c.call(ctx, request{path: path, retry: true}, &answer)
	return answer, err
}

// Log returns the log of an attempt; 0 means the latest. It ends after an error,
// and when no more lines are stored yet: follow a running attempt with
// [Client.Watch].
func (c *Client) Log(ctx context.Context, taskType, identifier, endpoint string, attempt int) iter.Seq2[tasker.LogLine, error] {
	return func(yield func(tasker.LogLine, error) bool) {
		var err error
		offset := int64(0)
		for err == nil {
			var part LogAnswer
			if part, err = c.LogPart(ctx, taskType, identifier, endpoint, attempt, offset); err != nil {
				break
			}
			for _, line := range part.Lines {
				if !yield(line, nil) {
					return
				}
			}
			if len(part.Lines) == 0 {
				return
			}
			offset, attempt = part.Next, part.Attempt // even if another one begins meanwhile
		}
		yield(tasker.LogLine{}, err)
	}
}

// LogPart returns part of the log of an attempt; 0 means the latest. An offset of 0 is
// its beginning; that of what follows is in the answer, together with whether the log
// is complete.
func (c *Client) LogPart(
	ctx context.Context, taskType, identifier, endpoint string, attempt int, offset int64,
) (part LogAnswer, err error) {
	path, err := resultPath(taskType, identifier, endpoint)
	if err != nil {
		return LogAnswer{}, err
	}
	query := url.Values{}
	if attempt > 0 {
		query.Set("attempt", strconv.Itoa(attempt))
	}
	if offset > 0 {
		query.Set("offset", strconv.FormatInt(offset, 10))
	}
	_, err = c.call(ctx, request{path: append(path, "log"), query: query, retry: true}, &part)
	return part, err
}

func resultPath(taskType, identifier, endpoint string) ([]string, error) {
	if err := validTask(taskType, identifier); err != nil {
		return nil, err
	}
	if err := tasker.ValidateEndpoint(endpoint); err != nil {
		return nil, err
	}
	return []string{taskType, identifier, "results", endpoint}, nil
}
