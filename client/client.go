// Package client talks to tasker's HTTP API.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/taskerhq/tasker"
)

// DefaultURL is where the API listens unless it is configured otherwise.
const DefaultURL = "http://127.0.0.1:8888"

const (
	// timeout bounds one request; the API itself gives up after 30 s.
	timeout = 45 * time.Second
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 16 << 20
)

// Client is a client of one API. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New returns a client of the API at an http or https URL. An empty token sends
// none.
func New(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, tasker.Errorf(tasker.Invalid, "invalid URL of the API: must be such as %s", DefaultURL)
	}
	if u.User != nil {
		return nil, tasker.Errorf(tasker.Invalid, "invalid URL of the API: must not have a user: the API takes a token")
	}
	return &Client{base: u, token: token, http: &http.Client{
		Timeout: timeout,
		// A redirect could carry the token to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Endpoints returns all registered endpoints, by name.
func (c *Client) Endpoints(ctx context.Context) (all []tasker.Endpoint, err error) {
	for cursor := ""; ; {
		var page struct {
			Endpoints []tasker.Endpoint `json:"endpoints"`
			Next      *string           `json:"next"`
		}
		query := url.Values{"limit": {"200"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if err := c.do(ctx, http.MethodGet, c.base.JoinPath("v1", "endpoints"), query, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Endpoints...)
		if page.Next == nil {
			return all, nil
		}
		cursor = *page.Next
	}
}

// RemovedEndpoint is what the removal of an endpoint did.
type RemovedEndpoint struct {
	Name      string    `json:"name"`
	TaskTypes []string  `json:"task_types"`
	Time      time.Time `json:"removed_time"`
	OpenTasks int       `json:"open_tasks"` // those that do not expect it any more
	// QueuesPending reports that its queues are deleted later.
	QueuesPending bool `json:"queues_pending"`
}

// RemoveEndpoint removes an endpoint. The error is [tasker.Conflict] while its
// manager lives, and [tasker.NotFound] where it is not registered.
func (c *Client) RemoveEndpoint(ctx context.Context, name string) (removed RemovedEndpoint, err error) {
	if err := tasker.ValidateEndpoint(name); err != nil {
		return RemovedEndpoint{}, err
	}
	err = c.do(ctx, http.MethodDelete, c.base.JoinPath("v1", "endpoints", name), nil, &removed)
	return removed, err
}

// do sends a request and decodes the answer; a problem is a [tasker.Error] of
// its code.
func (c *Client) do(ctx context.Context, method string, u *url.URL, query url.Values, into any) error {
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return tasker.WrapError(tasker.Unavailable, err, "no answer from the API at "+c.base.String()+": see that it runs, and that this is its address")
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return tasker.WrapError(tasker.Unavailable, err, "the answer of the API was cut off")
	}
	if answer.StatusCode/100 != 2 {
		return problemOf(answer, body)
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(into); err != nil {
		return fmt.Errorf("the answer of %s is not tasker's: %w", c.base, err)
	}
	return nil
}

func problemOf(answer *http.Response, body []byte) error {
	var p struct {
		Code   tasker.Code `json:"code"`
		Detail string      `json:"detail"`
	}
	if json.Unmarshal(body, &p) != nil || p.Code == "" {
		return tasker.Errorf(tasker.Internal, "the API answered %s", answer.Status)
	}
	return tasker.Errorf(p.Code, "%s", p.Detail)
}
