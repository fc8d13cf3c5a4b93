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
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/taskerhq/tasker/test/chaos/work"
	"github.com/taskerhq/tasker/test/promises"
)

// holdAnswer is what the answer to a pause or a drain says.
type holdAnswer struct {
	Hold    struct{ Until time.Time }
	Running struct{ Endpoints, Tasks []string }
}

// errEnded means that a task has ended.
var errEnded = errors.New("it has ended")

// holdThings drains endpoints, pauses types and pauses tasks until ctx ends, one of
// each kind at a time, and resumes them.
func (c *clients) holdThings(ctx context.Context, endpoints []string) {
	types := work.Types()
	var kinds sync.WaitGroup
	defer kinds.Wait()
	for _, choose := range []func() (promises.Hold, bool){
		func() (promises.Hold, bool) {
			return promises.Hold{Endpoint: endpoints[rand.IntN(len(endpoints))]}, true
		},
		func() (promises.Hold, bool) { return promises.Hold{Type: types[rand.IntN(len(types))].Name}, true },
		func() (promises.Hold, bool) {
			posts := c.accepted()
			if len(posts) == 0 {
				return promises.Hold{}, false
			}
			post := posts[len(posts)-1-rand.IntN(min(len(posts), 10))]
			return promises.Hold{Type: post.Type, Identifier: post.Identifier}, true
		},
	} {
		kinds.Go(func() {
			for sleep(ctx, rand.N(4*time.Second)) {
				if h, ok := choose(); ok {
					c.holdOne(ctx, h)
				}
			}
		})
	}
}

// holdOne holds something for a moment, and records it. Whatever happens, it is resumed.
func (c *clients) holdOne(ctx context.Context, h promises.Hold) {
	path, verb := holdPath(h)
	document := map[string]any{"reason": "chaos"}
	if rand.IntN(4) == 0 {
		document["until"] = strconv.Itoa(1+rand.IntN(2000)) + "ms"
	}
	body, err := json.Marshal(document)
	if err != nil {
		return
	}
	var answer holdAnswer
	// One whose answer was lost may hold all the same.
	err = c.keepAsking(ctx, http.MethodPost, path+"/"+verb, body, &answer)
	h.Answered = time.Now()
	if err == nil {
		h.Running = slices.Concat(answer.Running.Endpoints, answer.Running.Tasks)
		if until := answer.Hold.Until; !until.IsZero() {
			h.Until = until.Add(-100 * time.Millisecond) // by the database's clock
		}
		sleep(ctx, rand.N(1500*time.Millisecond))
	}
	if now := time.Now(); h.Until.IsZero() || now.Before(h.Until) {
		h.Until = now
	}
	if resumed := c.keepAsking(context.WithoutCancel(ctx), http.MethodPost, path+"/resume", nil, &struct{}{}); resumed != nil {
		err = resumed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.holds = append(c.holds, h)
	case errors.Is(err, errRefused):
		c.wrong = append(c.wrong, promises.Violation{Promise: 4, Rule: "hold-refused", Detail: fmt.Sprintf("%s: %v", path, err)})
	}
}

func holdPath(h promises.Hold) (path, verb string) {
	switch {
	case h.Endpoint != "":
		return "/v1/endpoints/" + h.Endpoint, "drain"
	case h.Identifier != "":
		return "/" + h.Type + "/" + h.Identifier, "pause"
	}
	return "/v1/task-types/" + h.Type, "pause"
}

// keepAsking sends a POST or a PUT until there is an answer.
func (c *clients) keepAsking(ctx context.Context, method, path string, body []byte, into any) error {
	ctx, stop := context.WithTimeout(ctx, postTimeout)
	defer stop()
	for {
		err := c.tryAsking(ctx, method, path, body, into)
		if err == nil || errors.Is(err, errRefused) || errors.Is(err, errEnded) {
			return err
		}
		if !sleep(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond)) {
			return err
		}
	}
}

func (c *clients) tryAsking(ctx context.Context, method, path string, body []byte, into any) error {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, method, c.base()+path, bytes.NewReader(body))
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
		return errEnded
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s: %s", errRefused, resp.Status, data)
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated:
		return errors.New(resp.Status)
	}
	return json.Unmarshal(data, into)
}
