// Package client is the Go client of tasker's HTTP API.
//
// An error of the API is a [*Problem], in which [tasker.CodeOf] finds the code;
// an API that cannot be reached is [tasker.Unavailable]. Requests that can be
// repeated without harm are retried a few times if the API is unreachable or
// overloaded: reads, and the creation of tasks that have an identifier. Every
// method returns early when its context ends.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/backoff"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// DefaultURL is the API's address unless it is configured otherwise.
const DefaultURL = "http://127.0.0.1:8888"

const (
	// timeout bounds one request; the API itself times out after 30 s.
	timeout = 45 * time.Second
	// maxBody bounds a response, in bytes.
	maxBody = 64 << 20
	// maxTries is how often a request is sent at most.
	maxTries = 3
	// maxPause bounds the pause before a retry.
	maxPause = 10 * time.Second
	// pageSize is the largest page that the API returns.
	pageSize = 200
)

// Client is a client of one API. It is safe for concurrent use.
type Client struct{ transport }

// transport sends requests.
type transport struct {
	base  *url.URL
	token string
	http  *http.Client
	tries int // how often a request is sent at most
}

// Option changes how a [Client] sends requests.
type Option func(*transport)

// WithRoundTripper sends requests through rt in place of the network.
func WithRoundTripper(rt http.RoundTripper) Option {
	return func(t *transport) { t.http.Transport = rt }
}

// WithTries sets how often a request that can be repeated without harm is sent at
// most, in place of 3 times.
func WithTries(n int) Option { return func(t *transport) { t.tries = max(1, n) } }

// New returns a client of the API at an http or https URL; [WithTLS] says whom to trust
// there. With an empty token it sends none.
func New(base, token string, options ...Option) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, tasker.Errorf(tasker.Invalid, "invalid API URL: must be like %s", DefaultURL)
	}
	if u.User != nil {
		return nil, tasker.Errorf(tasker.Invalid, "invalid API URL: must not contain a user; the API takes a token")
	}
	c := &Client{transport{base: u, token: token, tries: maxTries, http: &http.Client{
		// A redirect could pass the token to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}}
	for _, option := range options {
		option(&c.transport)
	}
	return c, nil
}

// Get sends a GET for a path, such as "v1", "tasks", and decodes the response into
// v. It is for what has no method of its own, such as a single page of a list.
func (c *Client) Get(ctx context.Context, query url.Values, v any, path ...string) error {
	_, err := c.call(ctx, request{path: path, query: query, retry: true}, v)
	return err
}

// request is a request to the API.
type request struct {
	method string // empty means GET
	path   []string
	query  url.Values
	header http.Header
	body   any  // encoded as JSON; nil for none
	also   int  // a status that is not an error, besides 2xx
	retry  bool // it can be repeated without harm
}

// call sends a request, with retries, and decodes the response into v, unless
// that is nil.
func (t *transport) call(ctx context.Context, r request, v any) (status int, err error) {
	pause := backoff.Backoff{First: 200 * time.Millisecond, Most: maxPause}
	for try := 1; ; try++ {
		status, err = t.try(ctx, r, v)
		if err == nil || !r.retry || try >= t.tries || !temporary(err) {
			return status, err
		}
		if ended := clock.Sleep(ctx, retryAfter(err, &pause)); ended != nil {
			return status, err
		}
	}
}

func (t *transport) try(ctx context.Context, r request, v any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	response, err := t.send(ctx, r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if v == nil {
		return response.StatusCode, nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	switch {
	case err != nil:
		return 0, tasker.WrapError(tasker.Unavailable, err, "read the response of the API")
	case len(body) > maxBody:
		return 0, tasker.Errorf(tasker.TooLarge, "response too large: the limit is %d bytes", maxBody)
	}
	if err := json.Unmarshal(body, v); err != nil {
		if isWebPage(response) {
			return 0, t.errWebPage()
		}
		return 0, fmt.Errorf("decode the response of %s: %w", t.base, err)
	}
	return response.StatusCode, nil
}

// isWebPage reports whether a response is HTML, which the API never sends.
func isWebPage(response *http.Response) bool { return media(response) == "text/html" }

// isProblem reports whether a response is an error of the API.
func isProblem(response *http.Response) bool { return media(response) == "application/problem+json" }

func media(response *http.Response) string {
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return kind
}

func (t *transport) errWebPage() error {
	return tasker.Errorf(tasker.Internal,
		"unexpected web page at %s: check that the address is that of the API, and what stands in front of it", t.base)
}

// send sends a request once. A response that is not a success becomes an error.
func (t *transport) send(ctx context.Context, r request) (*http.Response, error) {
	u := t.base.JoinPath(r.path...)
	u.RawQuery = r.query.Encode()
	var body bytes.Buffer
	if r.body != nil {
		encoder := json.NewEncoder(&body)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(r.body); err != nil {
			return nil, tasker.WrapError(tasker.Invalid, err, "encode the request")
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), &body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	maps.Copy(req.Header, r.header)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if t.token != "" {
		req.Header.Set("Authorization", "Bearer "+t.token)
	}
	response, err := t.http.Do(req)
	if err != nil {
		return nil, t.unreachable(err)
	}
	if response.StatusCode/100 == 2 || response.StatusCode == r.also {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	if t.speaksTLS(response) {
		return nil, tasker.Errorf(tasker.Invalid, "invalid API URL %s: the server speaks TLS: use https://", t.base)
	}
	return nil, problemOf(response)
}

// retryError is an error of a response that says when to retry.
type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

func problemOf(response *http.Response) error {
	var p Problem
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody))
	var err error = &p
	if !isProblem(response) || json.Unmarshal(body, &p) != nil || p.Code == "" {
		code := tasker.Internal
		if response.StatusCode >= http.StatusBadGateway && response.StatusCode <= http.StatusGatewayTimeout {
			code = tasker.Unavailable
		}
		format := "unexpected response of the API: %s"
		if isWebPage(response) {
			format = "unexpected web page in place of the API's response: %s: check the address, and what stands in front of the API"
		}
		err = tasker.Errorf(code, format, response.Status)
	}
	if seconds, e := strconv.Atoi(response.Header.Get("Retry-After")); e == nil && seconds >= 0 {
		err = &retryError{err, time.Duration(seconds) * time.Second}
	}
	return err
}

// temporary reports whether a retry may succeed soon.
func temporary(err error) bool {
	code := tasker.CodeOf(err)
	return (code == tasker.Unavailable || code == tasker.Overloaded) && !errors.Is(err, context.DeadlineExceeded)
}

// retryAfter returns how long to wait before a retry.
func retryAfter(err error, pause *backoff.Backoff) time.Duration {
	if e, ok := errors.AsType[*retryError](err); ok {
		return min(e.after, maxPause)
	}
	return pause.Next()
}

// pages returns the entries of a list, page by page.
func pages[P, T any](ctx context.Context, c *Client, r request, entries func(*P) ([]T, *string)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		r := r // the cursor below is this iteration's
		if r.retry, r.query = true, maps.Clone(r.query); r.query == nil {
			r.query = url.Values{}
		}
		r.query.Set("limit", strconv.Itoa(pageSize))
		for {
			var page P
			if _, err := c.call(ctx, r, &page); err != nil {
				var none T
				yield(none, err)
				return
			}
			list, next := entries(&page)
			for _, entry := range list {
				if !yield(entry, nil) {
					return
				}
			}
			if next == nil {
				return
			}
			r.query.Set("cursor", *next)
		}
	}
}
