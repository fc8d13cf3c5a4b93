package client

import (
	"context"
	"net/http"

	"github.com/taskerhq/tasker"
)

// Pause pauses a task or a task type, or drains an endpoint. The zero value gives no
// reason, and lasts until somebody resumes it.
type Pause struct {
	// Reason is for people; at most [tasker.MaxReason] bytes.
	Reason string `json:"reason,omitempty"`
	// Until is when it ends by itself: a time in the form of RFC 3339, or a duration from
	// now, such as "1h"; empty means never.
	Until string `json:"until,omitempty"`
}

// Paused is what a pause of a task or a task type found. Nothing of it starts any more.
type Paused struct {
	Hold tasker.Hold `json:"hold"`
	// Running are the endpoints that still run it: the pause does not interrupt them.
	Running EndpointNames `json:"running"`
	// Held counts the results that have arrived and wait.
	Held int `json:"held"`
	// Unaware are endpoints whose managers are of a release that does not know pauses,
	// and reach the database by themselves: they start tasks all the same.
	Unaware EndpointNames `json:"unaware"`
}

// Drained is what the drain of an endpoint found. Nothing starts there any more.
type Drained struct {
	Hold tasker.Hold `json:"hold"`
	// Running are the tasks that it still runs: the drain does not interrupt them.
	Running HeldTasks `json:"running"`
	// Held counts the results that have arrived there and wait.
	Held int `json:"held"`
	// Unaware is true if its manager is of a release that does not know drains, and
	// reaches the database by itself: it starts tasks all the same.
	Unaware bool `json:"unaware"`
}

// HeldTasks is a set of tasks.
type HeldTasks struct {
	Count int      `json:"count"`
	Tasks []string `json:"tasks"` // the first 1,000 of them, as TYPE/IDENTIFIER, sorted
}

// Resumed is the end of a pause or a drain.
type Resumed struct {
	Changed bool `json:"changed"` // false if nothing was paused or drained
	// Rollout is that of the task afterwards, if it has one.
	Rollout *tasker.Rollout `json:"rollout,omitempty"`
}

// Pause pauses a task: no endpoint starts it, or tries it again, until it is resumed.
// What runs goes on, endpoints receive it as before, and its expiry goes on. Of a task
// that is paused already the reason and the end are replaced. The error is
// [tasker.Conflict] if the task has ended or is being canceled.
func (c *Client) Pause(ctx context.Context, taskType, identifier string, pause Pause) (paused Paused, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return Paused{}, err
	}
	err = c.post(ctx, pause, &paused, taskType, identifier, "pause")
	return paused, err
}

// Resume ends the pause of a task.
func (c *Client) Resume(ctx context.Context, taskType, identifier string) (resumed Resumed, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return Resumed{}, err
	}
	err = c.post(ctx, nil, &resumed, taskType, identifier, "resume")
	return resumed, err
}

// PauseType pauses a task type at all endpoints, as [Client.Pause] pauses a task.
func (c *Client) PauseType(ctx context.Context, taskType string, pause Pause) (paused Paused, err error) {
	if err := tasker.ValidateTaskType(taskType); err != nil {
		return Paused{}, err
	}
	err = c.post(ctx, pause, &paused, "v1", "task-types", taskType, "pause")
	return paused, err
}

// ResumeType ends the pause of a task type.
func (c *Client) ResumeType(ctx context.Context, taskType string) (resumed Resumed, err error) {
	if err := tasker.ValidateTaskType(taskType); err != nil {
		return Resumed{}, err
	}
	err = c.post(ctx, nil, &resumed, "v1", "task-types", taskType, "resume")
	return resumed, err
}

// Drain has an endpoint finish what it runs and start nothing. It receives and records
// tasks as before.
func (c *Client) Drain(ctx context.Context, endpoint string, pause Pause) (drained Drained, err error) {
	if err := tasker.ValidateEndpoint(endpoint); err != nil {
		return Drained{}, err
	}
	err = c.post(ctx, pause, &drained, "v1", "endpoints", endpoint, "drain")
	return drained, err
}

// ResumeEndpoint ends the drain of an endpoint.
func (c *Client) ResumeEndpoint(ctx context.Context, endpoint string) (resumed Resumed, err error) {
	if err := tasker.ValidateEndpoint(endpoint); err != nil {
		return Resumed{}, err
	}
	err = c.post(ctx, nil, &resumed, "v1", "endpoints", endpoint, "resume")
	return resumed, err
}

// post sends a POST that is safe to repeat.
func (c *Client) post(ctx context.Context, body, into any, path ...string) error {
	_, err := c.call(ctx, request{method: http.MethodPost, path: path, body: body, retry: true}, into)
	return err
}
