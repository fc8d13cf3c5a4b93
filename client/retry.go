package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/taskerhq/tasker"
)

// Retry asks for a new round of a task.
type Retry struct {
	// Class selects the endpoints that run the task again, unless Endpoints names them.
	Class     tasker.RetryClass
	Endpoints []string
	// Reason is for people; at most [tasker.MaxReason] bytes.
	Reason string
	// Expires is when the task expires now: a time in the form of RFC 3339, or a
	// duration from now, such as "1h"; empty leaves it as it is.
	Expires string
	// Key makes it safe to repeat the call: the same key returns the same round.
	Key string
}

// MarshalJSON encodes the request as in the HTTP contract; Key is a header.
func (r Retry) MarshalJSON() ([]byte, error) {
	var endpoints any = r.Class
	if r.Endpoints != nil {
		endpoints = r.Endpoints
	}
	return json.Marshal(struct {
		Endpoints any    `json:"endpoints"`
		Reason    string `json:"reason,omitempty"`
		Expires   string `json:"expires,omitempty"`
	}{endpoints, r.Reason, r.Expires})
}

// Retried is a round of a task that was retried.
type Retried struct {
	Status tasker.TaskStatus `json:"status"` // of the task
	Round  int               `json:"round"`
	// Retried are the endpoints that run the task again.
	Retried EndpointNames `json:"retried"`
	// NotRetried are those that were asked for as well and do not, by reason.
	NotRetried []NotRetried `json:"not_retried"`
}

// NotRetried is a set of endpoints that do not run a task again.
type NotRetried struct {
	Reason    string   `json:"reason"` // one of [tasker.NotRetriedReasons]
	Count     int      `json:"count"`
	Endpoints []string `json:"endpoints"` // the first 1,000 of them, sorted
}

// Retry has endpoints run a task again, in a new round of it: the task is open again,
// and ends anew. It returns at which endpoints. The error is [tasker.Conflict] if there
// is nothing to retry, or the task cannot be retried now.
func (c *Client) Retry(ctx context.Context, taskType, identifier string, retry Retry) (Retried, error) {
	return c.retry(ctx, taskType, identifier, retry, nil)
}

// PlanRetry returns what Retry would do, and does nothing. Its errors are those of
// Retry.
func (c *Client) PlanRetry(ctx context.Context, taskType, identifier string, retry Retry) (Retried, error) {
	return c.retry(ctx, taskType, identifier, retry, url.Values{"dry_run": {"true"}})
}

func (c *Client) retry(ctx context.Context, taskType, identifier string, retry Retry, query url.Values) (retried Retried, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return Retried{}, err
	}
	if retry.Endpoints == nil && !retry.Class.Valid() {
		return Retried{}, tasker.FieldErrorf("/endpoints", "no endpoints: use one of %v, or name them", tasker.RetryClasses())
	}
	r := request{
		method: http.MethodPost, path: []string{taskType, identifier, "retry"}, query: query, body: retry,
		// Without a key, a repetition may find nothing left to retry.
		retry: retry.Key != "" || query != nil,
	}
	if retry.Key != "" {
		r.header = http.Header{"Idempotency-Key": {retry.Key}}
	}
	_, err = c.call(ctx, r, &retried)
	return retried, err
}
