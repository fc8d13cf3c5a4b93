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
	"sync"
	"time"

	"github.com/taskerhq/tasker/test/chaos/work"
	"github.com/taskerhq/tasker/test/promises"
)

// clients post tasks and poll them, each time at a random API.
type clients struct {
	bases []string

	mu      sync.Mutex
	posts   []promises.Post // accepted or abandoned
	cancels []promises.Cancel
	holds   []promises.Hold
	retries []promises.Retry
	// schedules are those that were accepted or abandoned.
	schedules []promises.Schedule
	started   int // POSTs started
	seen      []promises.Answer
	wrong     []promises.Violation // wrong answers
}

// order is a task to post.
type order struct {
	at   time.Duration // since the start of the load
	post promises.Post
	body []byte
	// cancel is the body of a cancellation that follows the POST after a delay; nil
	// if none does. canceled are the endpoints that it names.
	cancel   []byte
	canceled []string
	delay    time.Duration
	// retry is the class of a retry that follows the POST after retryDelay; empty if none
	// does.
	retry      string
	retryDelay time.Duration
}

// newOrders generates the tasks of a run from the seed.
func newOrders(seed uint64, count int, length time.Duration, endpoints []string) ([]order, error) {
	r := rand.New(rand.NewPCG(seed, 2))
	types := work.Types()
	orders := make([]order, count)
	for i := range orders {
		post := promises.Post{Type: types[r.IntN(len(types))].Name, Identifier: fmt.Sprintf("t%d-%05d", seed%100000, i)}
		if r.IntN(3) > 0 {
			post.Endpoints = slices.Clone(endpoints)
			r.Shuffle(len(post.Endpoints), func(i, j int) {
				post.Endpoints[i], post.Endpoints[j] = post.Endpoints[j], post.Endpoints[i]
			})
			post.Endpoints = post.Endpoints[:1+r.IntN(4)]
		}
		payload := work.Payload{Milliseconds: r.IntN(200)}
		if r.IntN(4) == 0 { // long enough to be hit by a fault
			payload.Milliseconds = 500 + r.IntN(2500)
		}
		document := map[string]any{"identifier": post.Identifier, "payload": payload}
		if r.IntN(8) == 0 {
			document["in"] = 1 + r.IntN(10)
		} else if r.IntN(6) == 0 {
			post.Topic, post.Supersedes = fmt.Sprintf("topic-%d", r.IntN(3)), true
			document["topic"], document["on_conflict"] = post.Topic, "supersede"
		}
		if r.IntN(8) == 0 {
			document["expires"] = 1 + r.IntN(20)
		}
		if r.IntN(4) == 0 {
			post.Priority = r.IntN(10)
			document["priority"] = post.Priority
		}
		if post.Endpoints != nil {
			document["endpoints"] = post.Endpoints
			if r.IntN(6) == 0 { // never halts: nobody is there to resume it
				document["rollout"] = map[string]any{"batch": 1, "max_failures": "100%", "wave_max_failures": "100%"}
			}
		}
		body, err := json.Marshal(document)
		if err != nil {
			return nil, err
		}
		orders[i] = order{at: length * time.Duration(i) / time.Duration(count), post: post, body: body}
		if err := orders[i].chooseCancel(r); err != nil {
			return nil, err
		}
		orders[i].chooseRetry(r)
	}
	return orders, nil
}

// chooseCancel has one in eight tasks canceled, some of these at one endpoint only.
func (o *order) chooseCancel(r *rand.Rand) (err error) {
	if r.IntN(8) > 0 {
		return nil
	}
	o.delay = time.Duration(r.IntN(1500)) * time.Millisecond
	document := map[string]any{"reason": "chaos"}
	if len(o.post.Endpoints) > 0 && r.IntN(3) == 0 {
		o.canceled = o.post.Endpoints[:1]
		document["endpoints"] = o.canceled
	}
	o.cancel, err = json.Marshal(document)
	return err
}

// postTimeout limits the retries of one POST.
const postTimeout = 90 * time.Second

// post posts the orders at their times, and returns when all are accepted or
// abandoned.
func (c *clients) post(ctx context.Context, orders []order) {
	begin := time.Now()
	var posters sync.WaitGroup
	defer posters.Wait()
	for _, o := range orders {
		if !sleep(ctx, time.Until(begin.Add(o.at))) {
			return
		}
		c.mu.Lock()
		c.started++
		c.mu.Unlock()
		posters.Go(func() {
			o := o
			c.keepPosting(ctx, &o)
			c.mu.Lock()
			c.posts = append(c.posts, o.post)
			c.mu.Unlock()
			if o.post.Accepted.IsZero() {
				return
			}
			if o.cancel != nil && sleep(ctx, o.delay) {
				c.keepCanceling(ctx, &o)
			}
			if o.retry != "" && sleep(ctx, o.retryDelay) {
				c.keepRetrying(ctx, &o)
			}
		})
	}
}

func (c *clients) keepPosting(ctx context.Context, o *order) {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	for {
		o.post.Tries++
		task, err := c.tryPost(ctx, o)
		if err == nil {
			o.post.TaskID, o.post.StartTime, o.post.Expires, o.post.Accepted = task.ID, task.StartTime, task.Expires, time.Now()
			return
		}
		if errors.Is(err, errRefused) {
			c.mu.Lock()
			detail := fmt.Sprintf("%s %s, try %d: %v", o.post.Type, o.post.Identifier, o.post.Tries, err)
			c.wrong = append(c.wrong, promises.Violation{Promise: 4, Rule: "post-refused", Detail: detail})
			c.mu.Unlock()
			return
		}
		if !sleep(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond)) {
			return
		}
	}
}

// acceptedTask is what the answer to a POST says of a task.
type acceptedTask struct {
	ID        int64
	StartTime time.Time `json:"start_time"`
	Expires   time.Time `json:"expires"`
}

// errRefused means that retrying cannot help.
var errRefused = errors.New("refused")

func (c *clients) tryPost(ctx context.Context, o *order) (task acceptedTask, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base()+"/"+o.post.Type, bytes.NewReader(o.body))
	if err != nil {
		return task, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return task, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return task, err
	case resp.StatusCode == http.StatusCreated, resp.StatusCode == http.StatusOK:
		err := json.Unmarshal(data, &task)
		return task, err
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
		return task, fmt.Errorf("%w: %s: %s", errRefused, resp.Status, data)
	}
	return task, errors.New(resp.Status)
}

func (c *clients) base() string { return c.bases[rand.IntN(len(c.bases))] }

// watch polls accepted tasks until ctx ends: half of the time one of the
// newest, otherwise any.
func (c *clients) watch(ctx context.Context) {
	for sleep(ctx, rand.N(60*time.Millisecond)) {
		c.mu.Lock()
		n := len(c.posts)
		var post promises.Post
		if n > 0 {
			i := rand.IntN(n)
			if rand.IntN(2) == 0 {
				i = n - 1 - rand.IntN(min(n, 20))
			}
			post = c.posts[i]
		}
		c.mu.Unlock()
		if post.Accepted.IsZero() {
			continue
		}
		if a, err := c.ask(ctx, post); err == nil {
			c.mu.Lock()
			c.seen = append(c.seen, a)
			c.mu.Unlock()
		}
	}
}

// ask returns an API's answer about a task.
func (c *clients) ask(ctx context.Context, post promises.Post) (promises.Answer, error) {
	a := promises.Answer{Time: time.Now()}
	err := get(ctx, c.base()+"/"+post.Type+"/"+post.Identifier, &a)
	a.Answered = time.Now()
	return a, err
}

// atRest polls every accepted task until all have ended or ctx ends, and
// returns the last answers and whether all have ended. It calls tell with the
// number of tasks that have not.
func (c *clients) atRest(ctx context.Context, tell func(open int)) (answers []promises.Answer, all bool) {
	for {
		open := 0
		answers = answers[:0]
		for _, post := range c.accepted() {
			// Not ctx: the answers of the last round are needed even after it
			// ended.
			a, err := c.askTwice(context.WithoutCancel(ctx), post)
			if err != nil {
				open++
				continue
			}
			answers = append(answers, a)
			if !ended(&a) {
				open++
			}
		}
		if open == 0 {
			return answers, true
		}
		tell(open)
		if !sleep(ctx, time.Second) {
			return answers, false
		}
	}
}

// askTwice retries ask once, possibly at another API.
func (c *clients) askTwice(ctx context.Context, post promises.Post) (promises.Answer, error) {
	a, err := c.ask(ctx, post)
	if err != nil {
		a, err = c.ask(ctx, post)
	}
	return a, err
}

func (c *clients) accepted() []promises.Post {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.posts), func(p promises.Post) bool { return p.Accepted.IsZero() })
}

// ended reports whether a task has ended.
func ended(a *promises.Answer) bool {
	return slices.Contains([]string{"DONE", "FAILED", "CANCELED"}, a.Task.Status)
}
