package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/taskerhq/tasker/test/promises"
)

// chooseRetry has one in six tasks retried, some seconds after its POST.
func (o *order) chooseRetry(r *rand.Rand) {
	if r.IntN(6) > 0 {
		return
	}
	o.retry = []string{"failed", "failed", "all", "missing"}[r.IntN(4)]
	o.retryDelay = time.Duration(500+r.IntN(8000)) * time.Millisecond
}

// keepRetrying retries a task until there is an answer, and records it. All its
// requests have the same key, so they begin one round at most. Without an answer, the
// record says only that it was asked for.
func (c *clients) keepRetrying(ctx context.Context, o *order) {
	ctx, stop := context.WithTimeout(ctx, postTimeout)
	defer stop()
	record := promises.Retry{Type: o.post.Type, Identifier: o.post.Identifier, Class: o.retry, Asked: time.Now()}
	for try := 1; ; try++ {
		err := c.tryRetry(ctx, o, &record)
		if err == nil {
			// If an earlier request is still on its way, it may begin a round after a later
			// one was refused.
			if record.Refused && try > 1 {
				record.Refused = false
				break
			}
			record.Answered = time.Now()
			break
		}
		if errors.Is(err, errRefused) {
			c.mu.Lock()
			detail := fmt.Sprintf("%s %s: %v", o.post.Type, o.post.Identifier, err)
			c.wrong = append(c.wrong, promises.Violation{Promise: 4, Rule: "retry-refused", Detail: detail})
			c.mu.Unlock()
			break
		}
		if !sleep(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond)) {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retries = append(c.retries, record)
}

func (c *clients) tryRetry(ctx context.Context, o *order, record *promises.Retry) error {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	path := c.base() + "/" + o.post.Type + "/" + o.post.Identifier + "/retry"
	body := fmt.Sprintf(`{"endpoints":%q,"reason":"chaos"}`, o.retry)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "chaos")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusConflict:
		record.Refused = true
		return nil
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s: %s", errRefused, resp.Status, data)
	case resp.StatusCode != http.StatusOK:
		return errors.New(resp.Status)
	}
	var answer struct {
		Round   int
		Retried struct{ Endpoints []string }
	}
	err = json.Unmarshal(data, &answer)
	record.Round, record.Retried = answer.Round, answer.Retried.Endpoints
	return err
}
