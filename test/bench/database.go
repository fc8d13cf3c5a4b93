package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker/test/internal/daemons"
	"github.com/taskerhq/tasker/test/internal/noop"
)

// batchRows is the number of rows per statement, as in tasker.
const batchRows = 100

// rows writes task_results rows into tasker's schema with database/sql alone.
// Each row is inserted as RUNNING and updated to DONE, the minimum for a
// result.
type rows struct {
	db        *sql.DB
	endpoints int
	insert    *sql.Stmt
	update    *sql.Stmt
	tasks     int64        // number of tasks; their ids start at 1
	taken     atomic.Int64 // rows handed out by take
}

// errNoTasks ends a phase that has used up its tasks.
var errNoTasks = errors.New("no tasks are left")

const (
	insertRow = "INSERT INTO task_results (task_id, endpoint, state, attempt, manager, errnr, errmsg, start_time, " +
		"last_modified_time) VALUES "
	rowValues = "(?, ?, 'RUNNING', 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 0, '', ?, ?)"
	updateRow = "UPDATE task_results SET state = 'DONE', errnr = 0, errmsg = '', payload = ?," +
		" lost_from = NULL, retry_time = NULL, last_modified_time = ?" +
		" WHERE state IN ('RUNNING', 'LOST') AND task_id = ? AND endpoint = ? AND attempt = 1"
	// upsertRows stores ends whose payloads differ in one statement.
	upsertRows = "INSERT INTO task_results (task_id, endpoint, state, attempt, manager, errnr, errmsg, payload, start_time, " +
		"last_modified_time) VALUES "
	upsertValues = "(?, ?, 'DONE', 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 0, '', ?, ?, ?)"
	upsertUpdate = " ON DUPLICATE KEY UPDATE state = VALUES(state), payload = VALUES(payload)," +
		" last_modified_time = VALUES(last_modified_time)"
)

// openRows migrates the database and inserts the tasks.
func openRows(ctx context.Context, uri string, endpoints, connections int, tasks int64) (*rows, error) {
	if err := daemons.Migrate(ctx, uri); err != nil {
		return nil, err
	}
	db, err := daemons.OpenDB(uri, connections)
	if err != nil {
		return nil, err
	}
	r := &rows{db: db, endpoints: endpoints, tasks: tasks}
	if err := r.prepare(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *rows) prepare(ctx context.Context) (err error) {
	const fill = 500
	for id := int64(1); id <= r.tasks; id += fill {
		var values []string
		for i := id; i < id+fill && i <= r.tasks; i++ {
			values = append(values, fmt.Sprintf("(%d, 'noop', 'row-%d', '', 'SENT', 'null', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))", i, i))
		}
		_, err := r.db.ExecContext(ctx, "INSERT INTO tasks (id, type, identifier, request_hash, status, payload,"+
			" start_time, last_modified_time) VALUES "+strings.Join(values, ", "))
		if err != nil {
			return fmt.Errorf("insert tasks: %w", err)
		}
	}
	if r.insert, err = r.db.PrepareContext(ctx, insertRow+rowValues); err != nil {
		return fmt.Errorf("prepare the insert: %w", err)
	}
	if r.update, err = r.db.PrepareContext(ctx, updateRow); err != nil {
		return fmt.Errorf("prepare the update: %w", err)
	}
	return nil
}

func (r *rows) close() error {
	var errs []error
	for _, statement := range []*sql.Stmt{r.insert, r.update} {
		if statement != nil {
			errs = append(errs, statement.Close())
		}
	}
	return errors.Join(append(errs, r.db.Close())...)
}

// take reserves n rows and returns the first.
func (r *rows) take(n int64) (first int64, err error) {
	first = r.taken.Add(n) - n
	if first+n > r.tasks*int64(r.endpoints) {
		return 0, errNoTasks
	}
	return first, nil
}

// key returns a row's key. The rows of one task are consecutive, as in a
// fan-out.
func (r *rows) key(row int64) (taskID int64, endpoint string) {
	return row/int64(r.endpoints) + 1, endpointName(int(row % int64(r.endpoints)))
}

func endpointName(i int) string { return fmt.Sprintf("bench%04d", i) }

func (r *rows) insertOne(ctx context.Context, taskID int64, endpoint string) error {
	now := time.Now().UTC()
	if _, err := r.insert.ExecContext(ctx, taskID, endpoint, now, now); err != nil {
		return fmt.Errorf("insert a row: %w", err)
	}
	return nil
}

func (r *rows) updateOne(ctx context.Context, taskID int64, endpoint string) error {
	result, err := r.update.ExecContext(ctx, string(noop.Result(taskID, endpoint)), time.Now().UTC(), taskID, endpoint)
	if err == nil {
		err = expect(result, 1)
	}
	if err != nil {
		return fmt.Errorf("update a row: %w", err)
	}
	return nil
}

// one inserts and updates a row, in two statements.
func (r *rows) one(ctx context.Context) (int64, error) {
	row, err := r.take(1)
	if err != nil {
		return 0, err
	}
	taskID, endpoint := r.key(row)
	if err := r.insertOne(ctx, taskID, endpoint); err != nil {
		return 0, err
	}
	return 1, r.updateOne(ctx, taskID, endpoint)
}

// batch inserts and updates batchRows rows, in two statements, with payloads that
// differ.
func (r *rows) batch(ctx context.Context) (int64, error) {
	first, err := r.take(batchRows)
	if err != nil {
		return 0, err
	}
	batch := make([]arrival, batchRows)
	now := time.Now().UTC()
	inserted := make([]any, 0, 4*batchRows)
	for i := range batch {
		taskID, endpoint := r.key(first + int64(i))
		batch[i] = arrival{taskID: taskID, endpoint: endpoint}
		inserted = append(inserted, taskID, endpoint, now, now)
	}
	if _, err := r.db.ExecContext(ctx, insertRow+repeat(rowValues, batchRows), inserted...); err != nil {
		return 0, fmt.Errorf("insert %d rows: %w", batchRows, err)
	}
	return batchRows, r.upsert(ctx, batch)
}

// arrival is a task at an endpoint.
type arrival struct {
	taskID   int64
	endpoint string
}

// upsert stores the results of a batch in one statement, whether their rows exist or
// not.
func (r *rows) upsert(ctx context.Context, batch []arrival) error {
	now := time.Now().UTC()
	args := make([]any, 0, 5*len(batch))
	for _, a := range batch {
		args = append(args, a.taskID, a.endpoint, string(noop.Result(a.taskID, a.endpoint)), now, now)
	}
	if _, err := r.db.ExecContext(ctx, upsertRows+repeat(upsertValues, len(batch))+upsertUpdate, args...); err != nil {
		return fmt.Errorf("store %d results: %w", len(batch), err)
	}
	return nil
}

func repeat(values string, n int) string {
	return strings.Repeat(values+", ", n-1) + values
}

func expect(result sql.Result, want int64) error {
	got, err := result.RowsAffected()
	if err == nil && got != want {
		err = fmt.Errorf("%d rows changed, want %d", got, want)
	}
	return err
}

// during calls step repeatedly in as many goroutines as there are connections,
// and returns the rows per second and the durations of the steps.
func (r *rows) during(
	ctx context.Context, d time.Duration, connections int, step func(context.Context) (int64, error),
) (float64, []time.Duration, error) {
	var total atomic.Int64
	var mu sync.Mutex
	var all []time.Duration
	group, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	for range connections {
		group.Go(func() error {
			var took []time.Duration
			defer func() {
				mu.Lock()
				all = append(all, took...)
				mu.Unlock()
			}()
			for time.Since(begin) < d {
				start := time.Now()
				n, err := step(ctx)
				switch {
				case errors.Is(err, errNoTasks):
					return nil
				case err != nil:
					return err
				}
				total.Add(n)
				took = append(took, time.Since(start))
			}
			return nil
		})
	}
	err := group.Wait()
	return rate(total.Load(), time.Since(begin)), all, err
}

// databaseCeiling is what the database can do with result rows.
type databaseCeiling struct {
	// OneByOne is one connection that inserts and updates row after row.
	OneByOne float64 `json:"one_by_one_rows_per_s"`
	Life     latency `json:"one_by_one"` // of an insert and an update
	// Single and Batches use 8 connections, with single rows and with 100 rows
	// per statement.
	Single  float64 `json:"single_rows_per_s"`
	Batches float64 `json:"batched_rows_per_s"`
}

// databaseConnections is the number of connections for the ceilings.
const databaseConnections = 8

func measureDatabase(ctx context.Context, uri string, endpoints int, d time.Duration) (c databaseCeiling, err error) {
	seconds := max(d.Seconds(), 0.5)
	// On faster machines the batched phase ends earlier.
	tasks := int64(20_000*seconds)/int64(endpoints) + 1000
	r, err := openRows(ctx, uri, endpoints, databaseConnections, tasks)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if _, _, err := r.during(ctx, d/10, databaseConnections, r.one); err != nil {
		return c, err
	}
	var lives []time.Duration
	if c.OneByOne, lives, err = r.during(ctx, d/4, 1, r.one); err != nil {
		return c, err
	}
	c.Life = latencyOf(lives)
	if c.Single, _, err = r.during(ctx, d/2, databaseConnections, r.one); err != nil {
		return c, err
	}
	c.Batches, _, err = r.during(ctx, d/2, databaseConnections, r.batch)
	return c, err
}
