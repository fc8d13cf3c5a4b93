package app_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/store"
)

// scrape returns the series of a /metrics, by name and labels.
func scrape(t *testing.T, url, token string) map[string]float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("%s: %s, %v", url, resp.Status, resp.Header)
	}
	series := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		at := strings.LastIndex(lines.Text(), " ")
		if strings.HasPrefix(lines.Text(), "#") || at < 0 {
			continue
		}
		value, err := strconv.ParseFloat(lines.Text()[at+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		series[lines.Text()[:at]] = value
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return series
}

// untilMetrics scrapes until a condition holds.
func untilMetrics(t *testing.T, url string, holds func(series map[string]float64) bool) map[string]float64 {
	t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for {
		series := scrape(t, url, "")
		if holds(series) {
			return series
		}
		if time.Now().After(deadline) {
			t.Fatalf("the metrics never came to what was waited for: %v", series)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

func post(t *testing.T, base, taskType, identifier string) {
	t.Helper()
	body := fmt.Sprintf(`{"identifier":%q,"payload":{"foo":"bar"}}`, identifier)
	if taskType == "sleep" {
		body = fmt.Sprintf(`{"identifier":%q,"payload":{"seconds":0}}`, identifier)
	}
	if code := request(t, http.MethodPost, base+"/"+taskType, body, nil); code != http.StatusCreated {
		t.Fatalf("POST /%s: %d", taskType, code)
	}
}

// Each metric counts what a user did.
func TestMetricsCount(t *testing.T) {
	base, _ := dev(t, load(t), app.DevOptions{Ephemeral: true, Version: "1.2.3"})
	metrics := base + "/metrics"
	for taskType, want := range map[string]string{"worker": "DONE", "backup": "FAILED"} {
		post(t, base, taskType, "first")
		until(t, base+"/"+taskType+"/first", status(want))
	}
	request(t, http.MethodGet, base+"/nowhere/at/all", "", nil)
	series := untilMetrics(t, metrics, func(s map[string]float64) bool {
		return s[`tasker_loop_last_success_timestamp_seconds{loop="census"}`] > 0 &&
			s[`tasker_loop_last_success_timestamp_seconds{loop="aggregate"}`] > 0 &&
			s[`tasker_attempts_total{outcome="DONE",task_type="worker"}`] == 2 &&
			s[`tasker_attempts_total{outcome="FAILED",task_type="backup"}`] == 2 &&
			s[`tasker_tasks_finished_total{status="DONE",task_type="worker"}`] == 1 &&
			s[`tasker_tasks_finished_total{status="FAILED",task_type="backup"}`] == 1
	})
	for name, want := range map[string]float64{
		`tasker_tasks_created_total{task_type="worker"}`:                                            1,
		`tasker_tasks_created_total{task_type="backup"}`:                                            1,
		`tasker_http_request_duration_seconds_count{code="201",method="POST",route="/{task_type}"}`: 2,
		`tasker_http_request_duration_seconds_count{code="404",method="GET",route="none"}`:          1,
		`tasker_task_send_delay_seconds_count`:                                                      2,
		`tasker_publish_duration_seconds_count`:                                                     2,
		`tasker_publish_failed_total`:                                                               0,
		`tasker_publish_returned_total`:                                                             0,
		`tasker_broker_connected`:                                                                   1,
		`tasker_streams_open`:                                                                       0,
		`tasker_endpoints{state="seen"}`:                                                            2,
		`tasker_endpoints{state="silent"}`:                                                          0,
		`tasker_dead_letters`:                                                                       0,
		`tasker_runs_total{state="DONE",task_type="worker"}`:                                        2,
		`tasker_runs_total{state="FAILED",task_type="backup"}`:                                      2,
		`tasker_run_seconds_count{task_type="worker"}`:                                              2,
		`tasker_slots{state="busy",task_type="worker"}`:                                             0,
		`tasker_slots{state="free",task_type="worker"}`:                                             8,
		`tasker_consumer_registered{task_type="worker"}`:                                            2,
		`tasker_spool_files`:                                                                        0,
		`tasker_spool_oldest_seconds`:                                                               0,
	} {
		if got, ok := series[name]; !ok || got != want {
			t.Errorf("%s: %v (%v), want %v", name, got, ok, want)
		}
	}
	positive := []string{
		"tasker_lease_remaining_seconds", "tasker_heartbeat_last_success_timestamp_seconds", "process_start_time_seconds",
		"go_goroutines", `go_sql_max_open_connections{db_name="tasker"}`,
		`tasker_tasks_open{status="SENT",task_type="worker"}`, `tasker_oldest_open_seconds{task_type="worker"}`, "tasker_oldest_unsent_seconds",
	}
	for _, name := range positive[:5] {
		if series[name] <= 0 {
			t.Errorf("%s: %v", name, series[name])
		}
	}
	for _, name := range positive[5:] {
		if _, ok := series[name]; !ok {
			t.Errorf("%s is not served", name)
		}
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(series)), func(name string) bool {
		return strings.HasPrefix(name, "tasker_build_info{") && strings.Contains(name, `version="1.2.3"`)
	}) {
		t.Error("tasker_build_info is not served")
	}
}

// A stream that somebody watches is counted while it lasts.
func TestMetricsCountStreams(t *testing.T) {
	base, _ := dev(t, load(t), app.DevOptions{Ephemeral: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	untilMetrics(t, base+"/metrics", func(s map[string]float64) bool { return s["tasker_streams_open"] == 1 })
	cancel()
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	untilMetrics(t, base+"/metrics", func(s map[string]float64) bool { return s["tasker_streams_open"] == 0 })
}

// However many endpoints and tasks there are, the series are the same.
func TestEndpointsAndTasksAddNoSeries(t *testing.T) {
	const endpoints, tasks = 1000, 100
	dir := t.TempDir()
	base, _ := dev(t, load(t), app.DevOptions{DataDir: dir})
	metrics := base + "/metrics"
	names := func(s map[string]float64) []string { return slices.Sorted(maps.Keys(s)) }
	for _, taskType := range []string{"worker", "backup", "sleep"} {
		post(t, base, taskType, "first")
		until(t, base+"/"+taskType+"/first", func(a answer) bool { return a.Summary.Finished == 2 })
	}
	request(t, http.MethodGet, base+"/nowhere/at/all", "", nil)
	scrape(t, metrics, "") // counted itself from the second one on
	before := untilMetrics(t, metrics, func(s map[string]float64) bool {
		return s[`tasker_loop_last_success_timestamp_seconds{loop="census"}`] > 0 &&
			s[`tasker_loop_last_success_timestamp_seconds{loop="purge"}`] > 0 &&
			s[`tasker_attempts_total{outcome="DONE",task_type="sleep"}`] == 2 &&
			s[`tasker_attempts_total{outcome="DONE",task_type="worker"}`] == 2 &&
			s[`tasker_attempts_total{outcome="FAILED",task_type="backup"}`] == 2
	})

	db, err := store.Open(store.Config{URI: "sqlite://" + filepath.Join(dir, "tasker.db")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for i := range endpoints {
		e := tasker.Endpoint{Name: fmt.Sprintf("e-%d", i), Manager: "01AAAAAAAAAAAAAAAAAAAAAAAA", TaskTypes: []string{"elsewhere"}}
		if _, err := db.Endpoints.AcquireEndpoint(t.Context(), e, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for i := range tasks {
		post(t, base, "sleep", fmt.Sprintf("task-%d", i))
		request(t, http.MethodGet, base+fmt.Sprintf("/nowhere/at/all/%d", i), "", nil)
	}
	after := untilMetrics(t, metrics, func(s map[string]float64) bool {
		return s[`tasker_attempts_total{outcome="DONE",task_type="sleep"}`] == 2*(tasks+1) &&
			s[`tasker_endpoints{state="seen"}`]+s[`tasker_endpoints{state="silent"}`] == endpoints+2
	})
	added := slices.DeleteFunc(names(after), func(name string) bool { _, ok := before[name]; return ok })
	if len(added) > 0 {
		t.Errorf("%d series were added: %v", len(added), added[:min(10, len(added))])
	}
}

// A manager serves its metrics on an address of its own.
func TestManagerServesItsMetrics(t *testing.T) {
	cfg := load(t, "TASKER_MANAGER_METRICS_LISTEN=127.0.0.1:0")
	log := &addressLog{Handler: slog.DiscardHandler, address: make(chan string, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- app.RunDev(ctx, cfg, app.DevOptions{Ephemeral: true}, slog.New(log)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	series := untilMetrics(t, "http://"+<-log.address+"/metrics", func(s map[string]float64) bool {
		return s["tasker_heartbeat_last_success_timestamp_seconds"] > 0
	})
	if series[`tasker_slots{state="free",task_type="worker"}`] != 8 {
		t.Errorf("%v", series)
	}
}

// Being stopped while it starts is no error.
func TestDevIsStoppedWhileItStarts(t *testing.T) {
	cfg := load(t, "TASKER_MANAGER_METRICS_LISTEN=127.0.0.1:0")
	for range 10 {
		log := &addressLog{Handler: slog.DiscardHandler, address: make(chan string, 1)}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- app.RunDev(ctx, cfg, app.DevOptions{Ephemeral: true}, slog.New(log)) }()
		<-log.address // its endpoints are not registered yet
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// addressLog is a log handler that passes on where metrics are served.
type addressLog struct {
	slog.Handler
	address chan string
}

func (l *addressLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *addressLog) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *addressLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "metrics listening" {
		r.Attrs(func(a slog.Attr) bool { l.address <- a.Value.String(); return true })
	}
	return nil
}
