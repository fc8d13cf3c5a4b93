package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/taskerhq/tasker"
)

// TaskTypes returns the task types, in the order of the configuration.
func (c *Client) TaskTypes(ctx context.Context) ([]TaskTypeInfo, error) {
	var list TaskTypeList
	_, err := c.call(ctx, request{path: []string{"v1", "task-types"}, retry: true}, &list)
	return list.TaskTypes, err
}

// TaskType returns a task type with the first of its endpoints.
func (c *Client) TaskType(ctx context.Context, name string) (answer TaskTypeAnswer, err error) {
	if err := tasker.ValidateTaskType(name); err != nil {
		return TaskTypeAnswer{}, err
	}
	_, err = c.call(ctx, request{path: []string{"v1", "task-types", name}, retry: true}, &answer)
	return answer, err
}

// Endpoints returns the registered endpoints, by name: those that perform a task
// type, or all if it is empty. It ends after an error.
func (c *Client) Endpoints(ctx context.Context, taskType string) iter.Seq2[tasker.Endpoint, error] {
	query := url.Values{}
	if taskType != "" {
		query.Set("task_type", taskType)
	}
	return pages(ctx, c, request{path: []string{"v1", "endpoints"}, query: query},
		func(p *EndpointPage) ([]tasker.Endpoint, *string) { return p.Endpoints, p.Next })
}

// SelectEndpoints returns the registered endpoints that any of 1-16 selectors
// chooses, such as "role=web,zone!=eu", by name. It ends after an error.
func (c *Client) SelectEndpoints(ctx context.Context, selectors ...string) iter.Seq2[tasker.Endpoint, error] {
	if len(selectors) == 0 {
		selectors = []string{""} // an error, not every endpoint
	}
	return pages(ctx, c, request{path: []string{"v1", "endpoints"}, query: url.Values{"select": selectors}},
		func(p *EndpointPage) ([]tasker.Endpoint, *string) { return p.Endpoints, p.Next })
}

// AddEndpoint returns the first token of an endpoint, with which it identifies
// itself at the gateway; it need not be registered yet. The error is
// [tasker.Conflict] if it has a token.
func (c *Client) AddEndpoint(ctx context.Context, name string) (issued IssuedToken, err error) {
	return c.issue(ctx, name, nil, "token")
}

// RotateEndpoint returns another token of an endpoint, in place of its current
// one, which stays valid for the overlap, in whole seconds. The error is
// [tasker.NotFound] if it has no token.
func (c *Client) RotateEndpoint(ctx context.Context, name string, overlap time.Duration) (issued IssuedToken, err error) {
	query := url.Values{"overlap": {strconv.FormatInt(int64(overlap/time.Second), 10)}}
	return c.issue(ctx, name, query, "token", "rotate")
}

func (c *Client) issue(ctx context.Context, name string, query url.Values, path ...string) (issued IssuedToken, err error) {
	if err := tasker.ValidateEndpoint(name); err != nil {
		return IssuedToken{}, err
	}
	_, err = c.call(ctx, request{method: http.MethodPost, path: append([]string{"v1", "endpoints", name}, path...), query: query}, &issued)
	return issued, err
}

// EndpointTokens returns the valid tokens of all endpoints, without the tokens
// themselves, oldest first. It ends after an error.
func (c *Client) EndpointTokens(ctx context.Context) iter.Seq2[tasker.EndpointToken, error] {
	return pages(ctx, c, request{path: []string{"v1", "endpoint-tokens"}, query: url.Values{}},
		func(p *TokenPage) ([]tasker.EndpointToken, *string) { return p.Tokens, p.Next })
}

// RemoveEndpoint removes an endpoint, and ends its tokens. The error is [tasker.Conflict]
// while its manager is alive, and [tasker.NotFound] if it is neither registered
// nor has a token.
func (c *Client) RemoveEndpoint(ctx context.Context, name string) (removed RemovedEndpoint, err error) {
	if err := tasker.ValidateEndpoint(name); err != nil {
		return RemovedEndpoint{}, err
	}
	_, err = c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "endpoints", name}}, &removed)
	return removed, err
}

// DeadLetters returns the dead letters, newest first, each with at most the first
// [tasker.DeadLetterPreview] bytes of its body: those with an id less than
// before, or all if that is 0. It ends after an error.
func (c *Client) DeadLetters(ctx context.Context, before int64) iter.Seq2[DeadLetter, error] {
	query := url.Values{}
	if before > 0 {
		query.Set("cursor", strconv.FormatInt(before, 10))
	}
	return pages(ctx, c, request{path: []string{"v1", "dead-letters"}, query: query},
		func(p *DeadLetterPage) ([]DeadLetter, *string) { return p.DeadLetters, p.Next })
}

// DeadLetter returns a dead letter with its whole body, or a [tasker.NotFound]
// error.
func (c *Client) DeadLetter(ctx context.Context, id int64) (letter DeadLetter, err error) {
	_, err = c.call(ctx, request{path: letterPath(id), retry: true}, &letter)
	return letter, err
}

// RequeueDeadLetter sends a dead letter back to its queue. The error is
// [tasker.NotFound] if it does not exist, and [tasker.Conflict] if it cannot be
// sent back; the letter stays on every error.
func (c *Client) RequeueDeadLetter(ctx context.Context, id int64) error {
	_, err := c.call(ctx, request{method: http.MethodPost, path: append(letterPath(id), "requeue")}, nil)
	return err
}

// DiscardDeadLetter deletes a dead letter, or returns a [tasker.NotFound] error.
func (c *Client) DiscardDeadLetter(ctx context.Context, id int64) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: letterPath(id)}, nil)
	return err
}

func letterPath(id int64) []string {
	return []string{"v1", "dead-letters", strconv.FormatInt(id, 10)}
}

// Health returns the state of the API process. It needs no token.
func (c *Client) Health(ctx context.Context) (health Health, err error) {
	_, err = c.call(ctx, request{path: []string{"healthz"}, retry: true}, &health)
	return health, err
}

// Ready returns the state of the database and the broker. It is not an error if
// they cannot be reached: see the Checks.
func (c *Client) Ready(ctx context.Context) (ready Readiness, err error) {
	_, err = c.call(ctx, request{path: []string{"readyz"}, also: http.StatusServiceUnavailable}, &ready)
	return ready, err
}
