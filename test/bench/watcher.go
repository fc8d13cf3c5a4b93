package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker/test/internal/daemons"
)

const (
	// minPollPause and pollShare bound the cost of polls: a pause takes at least so
	// long, and at least so many times as long as the poll before.
	minPollPause = 3 * time.Millisecond
	pollShare    = 25
)

// watcher finds out when all results of a task are stored, by polling the database
// for all tasks that are waited for.
type watcher struct {
	db      *sql.DB
	results int // of a task
	polls   *atomic.Int64
	end     context.CancelFunc
	ended   chan struct{}
	wake    chan struct{}

	mu      sync.Mutex
	waiting map[int64]*awaited
}

// awaited is a task that is waited for. done is closed when the others are set.
type awaited struct {
	done chan struct{}
	at   time.Time
	err  error
}

func newWatcher(uri string, results int, polls *atomic.Int64) (*watcher, error) {
	db, err := daemons.OpenDB(uri, 1)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	w := &watcher{
		db: db, results: results, polls: polls, end: end, ended: make(chan struct{}), wake: make(chan struct{}, 1),
		waiting: map[int64]*awaited{},
	}
	go func() {
		defer close(w.ended)
		w.run(ctx)
	}()
	return w, nil
}

func (w *watcher) close() error {
	w.end()
	<-w.ended
	return w.db.Close()
}

// wait waits until all results of a task are stored and returns that time. It
// returns an error if one is not DONE.
func (w *watcher) wait(ctx context.Context, id int64) (time.Time, error) {
	task := &awaited{done: make(chan struct{})}
	w.mu.Lock()
	w.waiting[id] = task
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	select {
	case <-task.done:
		return task.at, task.err
	case <-ctx.Done():
		w.mu.Lock()
		delete(w.waiting, id)
		w.mu.Unlock()
		return time.Time{}, fmt.Errorf("wait for task %d: %w", id, context.Cause(ctx))
	}
}

// run polls while tasks are waited for.
func (w *watcher) run(ctx context.Context) {
	for {
		begin := time.Now()
		if !w.look(ctx) {
			select {
			case <-w.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-time.After(max(minPollPause, pollShare*time.Since(begin))):
		case <-ctx.Done():
			return
		}
	}
}

// look completes the tasks that have all their results, and reports whether it
// looked for any.
func (w *watcher) look(ctx context.Context) bool {
	w.mu.Lock()
	ids := make([]string, 0, len(w.waiting))
	for id := range w.waiting {
		ids = append(ids, strconv.FormatInt(id, 10))
	}
	w.mu.Unlock()
	if len(ids) == 0 {
		return false
	}
	w.polls.Add(1)
	failed := w.read(ctx, strings.Join(ids, ", "))
	if failed != nil && ctx.Err() == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		for id := range w.waiting {
			w.complete(id, fmt.Errorf("look for results: %w", failed))
		}
	}
	return true
}

func (w *watcher) read(ctx context.Context, ids string) (err error) {
	rows, err := w.db.QueryContext(ctx, "SELECT task_id, COUNT(*), SUM(state = 'DONE') FROM task_results WHERE task_id IN ("+ids+
		") AND state NOT IN ('RECEIVED', 'RUNNING', 'RETRYING') GROUP BY task_id")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		var finished, done int
		if err := rows.Scan(&id, &finished, &done); err != nil {
			return err
		}
		if finished < w.results {
			continue
		}
		var failed error
		if done < finished {
			failed = fmt.Errorf("%w: %d of %d results of task %d", errNotDone, finished-done, finished, id)
		}
		w.mu.Lock()
		w.complete(id, failed)
		w.mu.Unlock()
	}
	return rows.Err()
}

// complete ends the wait for a task. The caller holds the lock.
func (w *watcher) complete(id int64, err error) {
	task, ok := w.waiting[id]
	if !ok {
		return // it is not waited for any more
	}
	task.at, task.err = time.Now(), err
	delete(w.waiting, id)
	close(task.done)
}
