package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/problem"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

const (
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 64 << 20
	// maxParallel bounds the requests that one call sends at once.
	maxParallel = 16
	// maxPause bounds the pause that a gateway may ask for.
	maxPause = 5 * time.Second
)

// connection sends requests to the addresses of a gateway.
type connection struct {
	cfg      ClientConfig
	http     *http.Client
	bases    []string
	current  atomic.Int64 // the number of failures so far: modulo bases, the address in use
	callers  callers
	clock    serverClock
	pace     pace
	commands atomic.Int64 // the heartbeats that told of canceled or waiting results
}

// answerError is what the gateway answered, or why it did not.
type answerError struct {
	cause *tasker.Error
	// answered is true if the gateway, or the database behind it, gave an answer
	// to the request.
	answered bool
	// after is how long the gateway wants to be left alone, if it is overloaded.
	after time.Duration
}

// Error returns the cause.
func (e *answerError) Error() string { return e.cause.Error() }

// Unwrap returns the error with its code.
func (e *answerError) Unwrap() error { return e.cause }

// call sends a request about an endpoint, and decodes the answer.
func call[A any](ctx context.Context, c *connection, endpoint, operation string, request protocol.Request) (answer A, err error) {
	body, err := jsonx.Encode(request)
	if err != nil {
		return answer, fmt.Errorf("encode the request %s: %w", operation, err)
	}
	caller, err := c.callers.find(endpoint)
	if err != nil {
		return answer, err
	}
	if operation != protocol.OpHeartbeat {
		if err := caller.enter(ctx); err != nil {
			return answer, err
		}
		defer caller.leave()
	}
	data, err := c.post(ctx, caller, operation, body)
	if err != nil {
		if failed, ok := errors.AsType[*answerError](err); ok && failed.after > 0 {
			caller.pause(failed.after)
		}
		return answer, err
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer, c.lost(err, "unreadable answer to "+operation)
	}
	return answer, nil
}

// each calls do for each group at once, and returns the first error.
func each(ctx context.Context, list []group, do func(ctx context.Context, g group) error) error {
	if len(list) == 1 {
		return do(ctx, list[0])
	}
	var calls errgroup.Group
	calls.SetLimit(maxParallel)
	for _, g := range list {
		calls.Go(func() error { return do(ctx, g) })
	}
	return calls.Wait()
}

// post sends a request to the address in use. If that gives no answer, or stops, it
// sends it to the others, once each: requests may be repeated. That one of these does
// not know the operation is no answer, as the first one may still carry it out.
func (c *connection) post(ctx context.Context, caller *caller, operation string, body []byte) (data []byte, err error) {
	var unanswered error
	for range c.bases {
		failures := c.current.Load()
		base := c.bases[int(failures)%len(c.bases)]
		data, err = c.authorized(ctx, base, caller, operation, body)
		var failed *answerError
		if unanswered != nil && tasker.CodeOf(err) == tasker.NotFound {
			return nil, unanswered
		}
		if err == nil || !errors.As(err, &failed) || tasker.CodeOf(err) != tasker.Unavailable {
			return data, err
		}
		unanswered = err
		c.current.CompareAndSwap(failures, failures+1)
		if ctx.Err() != nil {
			return nil, err
		}
	}
	return nil, err
}

// authorized sends a request with the endpoint's token. If that is refused and
// there is another one by now, it sends it with that one.
func (c *connection) authorized(ctx context.Context, base string, caller *caller, operation string, body []byte) ([]byte, error) {
	token, err := caller.token("")
	if err != nil {
		return nil, err
	}
	data, err := c.send(ctx, base, token, operation, body)
	if tasker.CodeOf(err) != tasker.Unauthorized {
		return data, err
	}
	renewed, failed := caller.token(token)
	if failed != nil {
		return nil, failed
	}
	if renewed == token {
		return nil, err
	}
	return c.send(ctx, base, renewed, operation, body)
}

// send sends a request once.
func (c *connection) send(ctx context.Context, base, token, operation string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+protocol.Prefix+operation, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request %s: %w", operation, err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set(protocol.HeaderRevision, strconv.Itoa(protocol.Revision))
	// It may be sent again if a kept-alive connection turns out to be closed; the
	// empty list is not sent.
	request.Header["Idempotency-Key"] = nil
	before := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.lost(withoutURL(err), "no answer from the gateway at "+base)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	after := time.Now()
	switch {
	case err != nil:
		return nil, c.lost(err, "incomplete answer from the gateway at "+base)
	case len(data) > maxAnswer:
		return nil, c.lost(nil, "answer too long from the gateway at "+base)
	}
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode == http.StatusOK && media == "application/json" && response.Header.Get(protocol.HeaderRevision) != "" {
		c.clock.observe(response.Header, before, after)
		return data, nil
	}
	var document protocol.Problem
	if media != problem.MediaType || json.Unmarshal(data, &document) != nil || document.Code == "" {
		return nil, c.lost(nil, fmt.Sprintf("unexpected answer from %s, which may be a proxy and not a gateway: %s, %s: %.100q",
			base, response.Status, media, strings.TrimSpace(string(data[:min(len(data), 200)]))))
	}
	c.clock.observe(response.Header, before, after)
	failed := tasker.Errorf(document.Code, "%s", document.Detail)
	if len(document.Errors) > 0 {
		failed.Field = document.Errors[0].Field
	}
	refused := &answerError{cause: failed, answered: !document.Unanswered}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && document.Code == tasker.Overloaded {
		refused.after = min(time.Duration(seconds)*time.Second, maxPause)
	}
	return nil, refused
}

// lost returns the error for a request that has no answer: it is unknown what
// became of it.
func (*connection) lost(err error, what string) error {
	return &answerError{cause: tasker.WrapError(tasker.Unavailable, err, what)}
}

// withoutURL returns the cause of an error of net/http.
func withoutURL(err error) error {
	if e, ok := errors.AsType[interface {
		error
		Unwrap() error
	}](err); ok {
		return e.Unwrap()
	}
	return err
}
