package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/test/internal/daemons"
	"github.com/taskerhq/tasker/test/internal/noop"
)

// taskLimit is how long a task may take to become DONE, also on a busy machine.
const taskLimit = 3 * time.Minute

// load sends tasks to a system and waits for their results.
type load struct {
	sys     *system
	opts    options
	http    *http.Client
	db      *sql.DB // to count the tasks
	payload json.RawMessage
	next    atomic.Int64 // numbers the tasks
}

func newLoad(sys *system, s *services, opts options) (*load, error) {
	db, err := daemons.OpenDB(s.mysql, 1)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConns: opts.inFlight, MaxIdleConnsPerHost: opts.inFlight}
	return &load{
		sys: sys, opts: opts, http: &http.Client{Transport: transport, Timeout: taskLimit}, db: db, payload: payloadOf(opts.payload),
	}, nil
}

func (l *load) close() error {
	l.http.CloseIdleConnections()
	return l.db.Close()
}

// payloadOf returns a JSON object of size bytes.
func payloadOf(size int) json.RawMessage {
	const frame = `{"data":""}`
	return json.RawMessage(`{"data":"` + strings.Repeat("x", max(size-len(frame), 0)) + `"}`)
}

// messageSize returns the size of the AMQP message of a task with a payload of
// that many bytes.
func messageSize(payload int) int {
	body, err := wire.EncodeTask(tasker.Task{
		ID: 10_000, Identifier: identifier(10_000), Type: noop.Type, Payload: payloadOf(payload), StartTime: time.Now().UTC(),
	})
	if err != nil {
		return payload
	}
	return len(body)
}

func identifier(n int64) string { return fmt.Sprintf("bench-%08d", n) }

// call sends a request, checks the status and decodes the answer.
func (l *load) call(ctx context.Context, method, path string, body []byte, want int, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, l.sys.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode != want {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// times are how long a task took, measured from before its POST.
type times struct {
	posted time.Duration // until the POST was answered
	stored time.Duration // until all results were stored
}

// one sends a task and waits until all its results are stored.
func (l *load) one(ctx context.Context) (name string, t times, err error) {
	name = identifier(l.next.Add(1))
	members := map[string]any{"identifier": name, "payload": l.payload}
	if l.opts.any {
		members["deliver"] = "any"
	}
	maps.Copy(members, l.opts.fields)
	body, err := json.Marshal(members)
	if err != nil {
		return name, t, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, taskLimit, errors.New("results took too long"))
	defer cancel()
	var task tasker.Task
	begin := time.Now()
	if err := l.call(ctx, http.MethodPost, "/"+noop.Type, body, http.StatusCreated, &task); err != nil {
		return name, t, err
	}
	t.posted = time.Since(begin)
	at, err := l.sys.await(ctx, task.ID)
	t.stored = at.Sub(begin)
	return name, t, err
}

// status returns the status of a task from the API.
func (l *load) status(ctx context.Context, name string) (tasker.TaskStatus, error) {
	var answer struct {
		Task tasker.Task `json:"task"`
	}
	err := l.call(ctx, http.MethodGet, "/"+noop.Type+"/"+name, nil, http.StatusOK, &answer)
	return answer.Task.Status, err
}

// latencies were measured with one task at a time.
type latencies struct {
	Posted latency `json:"post_answered"`
	Stored latency `json:"all_results_stored"`
	// Done includes a GET sent when the last result is stored: the best that a
	// polling client can see.
	Done latency `json:"get_says_done"`
}

func (l *load) latency(ctx context.Context, samples int, limit time.Duration) (latencies, error) {
	var posted, stored, done []time.Duration
	begin := time.Now()
	for len(done) < samples && time.Since(begin) < limit {
		start := time.Now()
		name, t, err := l.one(ctx)
		if err != nil {
			return latencies{}, err
		}
		status, err := l.status(ctx, name)
		if err != nil {
			return latencies{}, err
		}
		took := time.Since(start)
		// If the last result is stored before the POST marks the task SENT, the
		// task is not DONE yet.
		for status == tasker.Created || status == tasker.Sent {
			if time.Since(start) > taskLimit {
				break
			}
			if status, err = l.status(ctx, name); err != nil {
				return latencies{}, err
			}
			took = time.Since(start)
		}
		if status != tasker.Done {
			return latencies{}, fmt.Errorf("%w: %s is %s", errNotDone, name, status)
		}
		posted, stored, done = append(posted, t.posted), append(stored, t.stored), append(done, took)
	}
	return latencies{latencyOf(posted), latencyOf(stored), latencyOf(done)}, nil
}

// throughput was measured with many clients: each sends a task, waits until all
// its results are stored, and sends the next.
type throughput struct {
	Tasks   int64   `json:"tasks"`
	Seconds float64 `json:"seconds"`
	PerSec  float64 `json:"tasks_per_s"`
	Results float64 `json:"results_per_s"`
	Stored  latency `json:"all_results_stored"` // of a task, under this load
	// Settled is how long after the last result the last task was stored as
	// DONE; every GET had said so before.
	Settled float64 `json:"settled_after_ms"`

	results int64
}

func (l *load) throughput(ctx context.Context, endpoints int, limit time.Duration) (t throughput, err error) {
	var mu sync.Mutex
	var all []time.Duration
	var started atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	for range l.opts.inFlight {
		group.Go(func() error {
			var took []time.Duration
			for time.Since(begin) < limit && (l.opts.tasks == 0 || started.Add(1) <= int64(l.opts.tasks)) {
				_, one, err := l.one(ctx)
				if err != nil {
					return err
				}
				took = append(took, one.stored)
			}
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return t, err
	}
	elapsed := time.Since(begin)
	results := int64(len(all) * l.opts.results(endpoints))
	return throughput{
		Tasks: int64(len(all)), Seconds: elapsed.Seconds(), PerSec: rate(int64(len(all)), elapsed),
		Results: rate(results, elapsed), Stored: latencyOf(all), results: results,
	}, nil
}

// settle waits until every task is stored as DONE. It returns an error if one
// is not.
func (l *load) settle(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	var tasks, open int64
	ctx, cancel := context.WithTimeout(ctx, taskLimit)
	defer cancel()
	err := daemons.Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		err := l.db.QueryRowContext(ctx, "SELECT COUNT(*), COALESCE(SUM(status <> 'DONE'), 0) FROM tasks").Scan(&tasks, &open)
		return open == 0, err
	})
	took := time.Since(begin)
	switch {
	case err != nil && open > 0:
		return took, fmt.Errorf("%w: %d of %d tasks after %v", errNotDone, open, tasks, took.Round(time.Second))
	case err != nil:
		return took, fmt.Errorf("count the tasks: %w", err)
	case tasks != l.next.Load():
		return took, fmt.Errorf("%d tasks sent, but %d stored", l.next.Load(), tasks)
	}
	return took, nil
}
