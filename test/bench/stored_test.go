package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/testservices"
	"github.com/taskerhq/tasker/test/internal/daemons"
	"github.com/taskerhq/tasker/test/internal/noop"
	"github.com/taskerhq/tasker/test/internal/usage"
)

var (
	storedResults = flag.Int("stored", 20_000, "number of results of the one large task of BenchmarkStored")
	storedTasks   = flag.Int("stored-tasks", 200, "number of further tasks of BenchmarkStored, each with 100 results")
)

// BenchmarkStored measures how long the API takes to read a task with very many
// results, and lists of tasks beside it. One of 100 results failed, in one of five ways.
func BenchmarkStored(b *testing.B) {
	testservices.Need(b)
	err := withServices(b.Context(), func(s *services) error {
		ctx, stop := context.WithCancel(b.Context())
		defer stop()
		url, err := storedAPI(ctx, b, s)
		if err != nil {
			return err
		}
		large := "/" + noop.Type + "/large"
		for _, read := range []struct{ name, path string }{
			{"summary", large + "/summary"},
			{"results-first-page", large + "/results?limit=200"},
			{"results-middle-page", large + "/results?limit=200&cursor=" + endpointName(*storedResults/2)},
			{"results-failed", large + "/results?limit=200&state=FAILED"},
			{"groups", large + "/groups"},
			{"whole", large},
			{"list-type", "/" + noop.Type + "?limit=100"},
			{"list-all", "/v1/tasks?limit=100"},
			{"list-endpoint", "/v1/tasks?limit=100&endpoint=" + endpointName(7)},
			{"counts", "/v1/tasks/counts"},
		} {
			b.Run(read.name, func(b *testing.B) { readStored(b, url+read.path) })
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// storedAPI fills a database, starts an API on it and returns its address.
func storedAPI(ctx context.Context, b *testing.B, s *services) (address string, err error) {
	b.Helper()
	if err := daemons.Migrate(ctx, s.mysql); err != nil {
		return "", err
	}
	db, err := daemons.OpenDB(s.mysql, 1)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	begin := time.Now()
	if err := fillStored(ctx, db, 1, "large", *storedResults); err != nil {
		return "", err
	}
	for i := range *storedTasks {
		if err := fillStored(ctx, db, i+2, fmt.Sprintf("small-%d", i), 100); err != nil {
			return "", err
		}
	}
	b.Logf("stored %d results in %v", *storedResults+100**storedTasks, time.Since(begin).Round(time.Second))
	cfg, err := loadConfig(s, options{slots: 1})
	if err != nil {
		return "", err
	}
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		opts := app.APIOptions{Version: "bench", Ready: func(addr string) { ready <- addr }}
		ended <- app.RunAPI(ctx, cfg, opts, newLog(os.Stderr))
	}()
	b.Cleanup(func() {
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			b.Error(err)
		}
	})
	select {
	case addr := <-ready:
		return "http://" + addr, daemons.AwaitAPI(ctx, "http://"+addr)
	case err := <-ended:
		ended <- nil
		return "", err
	}
}

// fillStored stores a task that has ended, with its targets and results.
func fillStored(ctx context.Context, db *sql.DB, id int, identifier string, results int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after a commit
	_, err = tx.ExecContext(ctx, "INSERT INTO tasks (id, type, identifier, request_hash, status, payload, targets, start_time, sent_time,"+
		" last_modified_time) VALUES (?, ?, ?, '', 'FAILED', 'null', ?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))",
		id, noop.Type, identifier, results)
	if err != nil {
		return err
	}
	const rows = 2000
	for first := 0; first < results; first += rows {
		var targets, ends []string
		for i := first; i < min(first+rows, results); i++ {
			state, errnr, errmsg, payload := "DONE", 0, "", `'{"stdout":"Reading package lists... 0 upgraded, 0 newly installed"}'`
			if i%100 == 99 {
				state, errnr, errmsg, payload = "FAILED", 1, fmt.Sprintf("exit status %d: no space left on device", i/100%5), "NULL"
			}
			targets = append(targets, fmt.Sprintf("(%d, '%s')", id, endpointName(i)))
			ends = append(ends, fmt.Sprintf("(%d, '%s', '%s', 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', %d, '%s', %s, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))",
				id, endpointName(i), state, errnr, errmsg, payload))
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO task_targets (task_id, endpoint) VALUES "+strings.Join(targets, ", ")); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO task_results (task_id, endpoint, state, attempt, manager, errnr, errmsg, payload,"+
			" start_time, last_modified_time) VALUES "+strings.Join(ends, ", "))
		if err != nil {
			return err
		}
	}
	return tx.Commit()
}

func readStored(b *testing.B, url string) {
	var size int
	before, err := usage.Of(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		size = len(getStored(b, url))
	}
	after, err := usage.Of(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((after.CPU-before.CPU).Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(size)/1000, "kB")
}

func getStored(b *testing.B, url string) []byte {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("GET %s: %s, %v: %.500s", url, resp.Status, err, data)
	}
	return data
}
