package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowd is a number of clients, each with its own connection.
type crowd struct {
	*system
	client  *http.Client
	payload string
}

func (s *system) crowd(size int) *crowd {
	transport := &http.Transport{MaxIdleConns: size, MaxIdleConnsPerHost: size}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &crowd{s, &http.Client{Transport: transport, Timeout: time.Minute}, `{"seconds":0}`}
}

// post creates a task once. If the client is refused, retry is the pause it is
// asked for; problem is what is wrong with the answer.
func (c *crowd) post(identifier string) (accepted bool, retry time.Duration, problem error) {
	body := strings.NewReader(`{"identifier":"` + identifier + `","payload":` + c.payload + `}`)
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.base+"/sleep", body)
	if err != nil {
		return false, 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return false, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, 0, err
	}
	switch resp.StatusCode {
	case http.StatusCreated, http.StatusOK:
		return true, 0, nil
	case http.StatusServiceUnavailable:
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		var told struct{ Code string }
		if err != nil || seconds < 1 || json.Unmarshal(answer, &told) != nil || told.Code != "overloaded" {
			return false, 0, fmt.Errorf("503 with Retry-After %q: %s", resp.Header.Get("Retry-After"), answer)
		}
		return false, time.Duration(seconds) * time.Second, nil
	}
	return false, 0, fmt.Errorf("%d: %s", resp.StatusCode, answer)
}

// insist posts a task until it is accepted, with the requested pauses, and
// returns how often it was refused.
func (c *crowd) insist(identifier string) (refused int, problem error) {
	for {
		accepted, retry, err := c.post(identifier)
		if _, cut := errors.AsType[*url.Error](err); cut && c.t.Context().Err() == nil {
			retry, err = time.Second, nil // the connection ended: the same POST may be sent again
		}
		if accepted || err != nil {
			return refused, err
		}
		refused++
		select {
		case <-time.After(retry + rand.N(retry)):
		case <-c.t.Context().Done():
			return refused, c.t.Context().Err()
		}
	}
}

// count returns the number of tasks stored with a status.
func (s *system) count(status string) (n int) {
	s.t.Helper()
	for cursor := ""; ; {
		var page struct {
			Tasks []struct{ Status string }
			Next  *string
		}
		path := "/sleep?limit=200&status=" + status
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		if code, _, err := s.request(http.MethodGet, path, "", &page); err != nil || code != http.StatusOK {
			s.t.Fatalf("GET %s: %d, %v", path, code, err)
		}
		n += len(page.Tasks)
		if page.Next == nil {
			return n
		}
		cursor = *page.Next
	}
}

// starts returns the tasks that a manager has started, in order.
func (p *process) starts() (tasks []int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.logs {
		if line.Msg == "handler started" {
			tasks = append(tasks, line.TaskID)
		}
	}
	return tasks
}

// Many clients post at once. Each is answered: accepted, or refused with a time
// to retry. Every accepted task is done once at each endpoint, and every client
// that retries is accepted in the end. Meanwhile the health checks are
// answered.
func TestOverload(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		clients int
		places  int
		refuses bool // some are certainly refused
	}{
		"usual":  {2000, 64, false},
		"narrow": {300, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			clients := test.clients
			s := newSystem(t, `TASKER_TASK_TYPES=[{name: sleep, concurrency: 32}]`, fmt.Sprint("TASKER_API_MAX_CONCURRENT=", test.places))
			s.api()
			managers := []*process{s.manager("console1"), s.manager("console2")}
			c := s.crowd(clients)
			stop := make(chan struct{})
			var probes, posts sync.WaitGroup
			probes.Go(func() { s.probe(c, stop) })
			start := make(chan struct{})
			var mu sync.Mutex
			accepted, unanswered, refusals := 0, 0, 0
			for i := range clients {
				posts.Go(func() {
					<-start
					identifier := fmt.Sprint("t", i)
					at1, _, err := c.post(identifier)
					cut, refused := err != nil, 0
					if !at1 {
						refused, err = c.insist(identifier)
					}
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Errorf("POST %s: %v", identifier, err)
					}
					if at1 {
						accepted++
					}
					if cut {
						unanswered++
					}
					refusals += refused
				})
			}
			close(start)
			posts.Wait()
			close(stop)
			probes.Wait()
			t.Logf("%d of %d accepted at once, %d without an answer, %d refusals of the others", accepted, clients, unanswered, refusals)
			// A busy server closes connections whose requests it could not read
			// in time.
			if unanswered > clients/20 {
				t.Errorf("%d of %d had no answer", unanswered, clients)
			}
			if accepted == 0 || test.refuses && accepted == clients {
				t.Errorf("%d of %d accepted at once", accepted, clients)
			}
			for _, p := range managers {
				s.untilIdle(p)
			}
			if n := s.count("DONE"); n != clients {
				t.Errorf("%d tasks are DONE, want %d", n, clients)
			}
			for _, p := range managers {
				runs := map[int64]int{}
				for _, id := range p.starts() {
					runs[id]++
				}
				for id, n := range runs {
					if n != 1 {
						t.Errorf("%s: task %d ran %d times", p.name, id, n)
					}
				}
				if len(runs) != clients {
					t.Errorf("%s ran %d tasks, want %d", p.name, len(runs), clients)
				}
			}
		})
	}
}

// probe checks health and readiness until stop is closed. Health checks must
// always succeed; readiness may be late now and then on a busy machine.
func (s *system) probe(c *crowd, stop <-chan struct{}) {
	ready, asked := 0, 0
	for {
		if code, err := c.get("/healthz"); err != nil || code != http.StatusOK {
			s.t.Errorf("GET /healthz: %d, %v", code, err)
		}
		code, err := c.get("/readyz")
		asked++
		switch {
		case err == nil && code == http.StatusOK:
			ready++
		case err != nil || code != http.StatusServiceUnavailable:
			s.t.Errorf("GET /readyz: %d, %v", code, err)
		}
		select {
		case <-stop:
			if ready*2 < asked {
				s.t.Errorf("ready %d times of %d", ready, asked)
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// get returns the status code of an answer.
func (c *crowd) get(path string) (code int, err error) {
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
