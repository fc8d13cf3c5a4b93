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

// keepCanceling cancels a task until there is an answer, and records it. Without one,
// the record says only that it was asked for.
func (c *clients) keepCanceling(ctx context.Context, o *order) {
	ctx, stop := context.WithTimeout(ctx, postTimeout)
	defer stop()
	record := promises.Cancel{Type: o.post.Type, Identifier: o.post.Identifier, Endpoints: o.canceled, Asked: time.Now()}
	for {
		err := c.tryCancel(ctx, o, &record)
		record.Answered = time.Now()
		if err == nil {
			break
		}
		if errors.Is(err, errRefused) {
			c.mu.Lock()
			detail := fmt.Sprintf("%s %s: %v", o.post.Type, o.post.Identifier, err)
			c.wrong = append(c.wrong, promises.Violation{Promise: 4, Rule: "cancel-refused", Detail: detail})
			c.mu.Unlock()
			break
		}
		if !sleep(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond)) {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancels = append(c.cancels, record)
}

func (c *clients) tryCancel(ctx context.Context, o *order, record *promises.Cancel) error {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	path := c.base() + "/" + o.post.Type + "/" + o.post.Identifier + "/cancel"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(o.cancel))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
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
	type set struct{ Endpoints []string }
	var answer struct {
		Stopped, Stopping, Unreachable set
		FinishedBefore                 set `json:"finished_before"`
	}
	err = json.Unmarshal(data, &answer)
	record.Stopped, record.Stopping = answer.Stopped.Endpoints, answer.Stopping.Endpoints
	record.FinishedBefore, record.Unreachable = answer.FinishedBefore.Endpoints, answer.Unreachable.Endpoints
	return err
}
