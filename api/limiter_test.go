package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
)

// places is how many requests are worked on at once in these tests, and queued
// how many wait.
const (
	places = 2
	queued = 32
)

// crowded is a harness whose store holds requests up until it is let go.
type crowded struct {
	*harness
	store   *heldStore
	answers chan answer
	group   sync.WaitGroup
}

// heldStore holds CreateTask and FindTask up.
type heldStore struct {
	*fakeStore
	entered chan struct{}
	release chan struct{}
}

func (s *heldStore) hold(ctx context.Context) error {
	s.entered <- struct{}{}
	select {
	case <-s.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *heldStore) CreateTask(ctx context.Context, t tasker.Task) (tasker.Task, bool, error) {
	if err := s.hold(ctx); err != nil {
		return tasker.Task{}, false, err
	}
	return s.fakeStore.CreateTask(ctx, t)
}

func (s *heldStore) FindTask(ctx context.Context, taskType, identifier string) (tasker.Task, error) {
	if err := s.hold(ctx); err != nil {
		return tasker.Task{}, err
	}
	return s.fakeStore.FindTask(ctx, taskType, identifier)
}

func (s *heldStore) PeekTask(ctx context.Context, taskType, identifier string, maxPayload int64) (tasker.Task, error) {
	if err := s.hold(ctx); err != nil {
		return tasker.Task{}, err
	}
	return s.fakeStore.PeekTask(ctx, taskType, identifier, maxPayload)
}

func newCrowded(t *testing.T, wait time.Duration) *crowded {
	t.Helper()
	c := &crowded{harness: newHarness(t), answers: make(chan answer, 100)}
	c.store = &heldStore{fakeStore: c.harness.store, entered: make(chan struct{}, 100), release: make(chan struct{})}
	cfg := testConfig()
	cfg.MaxConcurrent = places
	deps := c.deps()
	deps.Tasks = c.store
	s, err := api.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	s.SetMaxWait(wait)
	c.server = s
	c.serve(t, s.Handler())
	return c
}

// postTask posts a new task, and sends the response to answers.
func (c *crowded) postTask(t *testing.T, n int) {
	c.group.Go(func() {
		c.answers <- c.post(t, "/worker", fmt.Sprintf(`{"identifier":"t%d"}`, n))
	})
}

// fill fills all slots and the queue with POSTs.
func (c *crowded) fill(t *testing.T) {
	t.Helper()
	for n := range places + queued {
		c.postTask(t, n)
	}
	c.await(t, places, queued)
}

// await waits until so many POSTs work and wait.
func (c *crowded) await(t *testing.T, working, waiting int) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for {
		w, q := c.server.Posts()
		if w == working && q == waiting {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d requests work and %d wait, want %d and %d", w, q, working, waiting)
		}
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the test ended")
		}
	}
}

func (a answer) wantOverloaded(t *testing.T) {
	t.Helper()
	a.want(t, http.StatusServiceUnavailable)
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if p := a.problem(t); p.Code != "overloaded" || err != nil || seconds < 1 || seconds > 3 {
		t.Errorf("Retry-After %q of %+v", a.header.Get("Retry-After"), p)
	}
}

// What is more than can be worked on waits, and what is more than may wait is
// refused at once; nobody else is touched. All that waited are taken then.
func TestOverload(t *testing.T) {
	c := newCrowded(t, time.Hour)
	c.fill(t)
	c.post(t, "/worker", `{"identifier":"refused"}`).wantOverloaded(t)
	c.post(t, "/backup", `not even JSON`).wantOverloaded(t) // the body is not read
	for _, path := range []string{"/healthz", "/readyz", "/openapi.yaml", "/v1/task-types", "/v1/endpoints", "/worker"} {
		c.get(t, path).want(t, http.StatusOK)
	}
	close(c.store.release)
	c.get(t, "/worker/refused").want(t, http.StatusNotFound)
	c.group.Wait()
	close(c.answers)
	for a := range c.answers {
		a.want(t, http.StatusCreated)
	}
	c.await(t, 0, 0)
	c.post(t, "/worker", `{"identifier":"refused"}`).want(t, http.StatusCreated)
	if n := len(c.store.tasks); n != places+queued+1 {
		t.Errorf("%d tasks are stored", n)
	}
	if n := len(c.store.entered); n != places+queued+2 { // the GET and the last POST are two more
		t.Errorf("%d requests came to the store", n)
	}
}

// Readers have a gate of their own.
func TestOverloadOfReaders(t *testing.T) {
	c := newCrowded(t, time.Millisecond)
	for range places {
		c.group.Go(func() { c.answers <- c.get(t, "/worker/none") })
		<-c.store.entered
	}
	for _, path := range []string{"/worker/none", "/worker", "/v1/endpoints"} {
		c.get(t, path).wantOverloaded(t)
	}
	for _, path := range []string{"/healthz", "/readyz", "/openapi.yaml", "/v1/task-types"} {
		c.get(t, path).want(t, http.StatusOK)
	}
	close(c.store.release)
	c.post(t, "/worker", `{"identifier":"one"}`).want(t, http.StatusCreated)
	c.group.Wait()
	close(c.answers)
	for a := range c.answers {
		a.want(t, http.StatusNotFound)
	}
}

// Nobody waits for long.
func TestOverloadPatience(t *testing.T) {
	c := newCrowded(t, time.Millisecond)
	for n := range places {
		c.postTask(t, n)
		<-c.store.entered
	}
	c.post(t, "/worker", `{"identifier":"waits"}`).wantOverloaded(t)
	c.await(t, places, 0)
	close(c.store.release)
	c.post(t, "/worker", `{"identifier":"waits"}`).want(t, http.StatusCreated)
	c.group.Wait()
}

// A client that hangs up while it waits makes room for another one.
func TestOverloadDisconnect(t *testing.T) {
	c := newCrowded(t, time.Hour)
	for n := range places {
		c.postTask(t, n)
	}
	c.await(t, places, 0)
	ctx, hangUp := context.WithCancel(t.Context())
	for n := range queued {
		c.group.Go(func() {
			body := strings.NewReader(fmt.Sprintf(`{"identifier":"gone%d"}`, n))
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.http.URL+"/worker", body)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := c.http.Client().Do(req)
			if err == nil {
				t.Errorf("who hung up got %d", resp.StatusCode)
				_ = resp.Body.Close()
			}
		})
	}
	c.await(t, places, queued)
	hangUp()
	c.await(t, places, 0)
	c.postTask(t, places)
	c.await(t, places, 1)
	close(c.store.release)
	c.group.Wait()
	close(c.answers)
	for a := range c.answers {
		a.want(t, http.StatusCreated)
	}
	if n := len(c.store.tasks); n != places+1 {
		t.Errorf("%d tasks are stored", n)
	}
}

// A client that sends its body slowly takes nobody's place.
func TestOverloadSlowBody(t *testing.T) {
	c := newCrowded(t, 5*time.Second)
	close(c.store.release)
	var bodies []*io.PipeWriter
	for n := range places + queued + 1 {
		body, feed := io.Pipe()
		bodies = append(bodies, feed)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.http.URL+"/worker", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		c.group.Go(func() {
			resp, err := c.http.Client().Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			c.answers <- answer{status: resp.StatusCode}
		})
		if _, err := fmt.Fprintf(feed, `{"identifier":"slow%d"`, n); err != nil { // taken by the connection
			t.Fatal(err)
		}
	}
	c.post(t, "/worker", `{"identifier":"quick"}`).want(t, http.StatusCreated)
	for _, feed := range bodies {
		if _, err := feed.Write([]byte("}")); err != nil {
			t.Fatal(err)
		}
		_ = feed.Close()
	}
	c.group.Wait()
	close(c.answers)
	for a := range c.answers {
		a.want(t, http.StatusCreated)
	}
}
