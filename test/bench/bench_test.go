package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/testservices"
	"github.com/taskerhq/tasker/test/internal/daemons"
	"github.com/taskerhq/tasker/test/internal/noop"
)

func TestMain(m *testing.M) {
	noop.Program()
	goleak.VerifyTestMain(m)
}

func TestPercentileIsNearestRank(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{nil, 50, 0},
		{hundred[:1], 99, 1},
		{hundred[:2], 50, 1},
		{hundred[:3], 50, 2},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
	} {
		if got := percentile(c.sorted, c.p); got != c.want {
			t.Errorf("percentile %v of %d durations: %d, want %d", c.p, len(c.sorted), got, c.want)
		}
	}
}

func TestCounterWaits(t *testing.T) {
	var c counter
	reached := make(chan error, 1)
	go func() {
		_, err := c.wait(t.Context(), 2)
		reached <- err
	}()
	c.add(1)
	select {
	case err := <-reached:
		t.Fatalf("wait for two returned after one, or failed: %v", err)
	default:
	}
	c.add(1)
	if err := <-reached; err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	c.fail(broken)
	if _, err := c.wait(t.Context(), 3); !errors.Is(err, broken) {
		t.Errorf("wait after fail: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&counter{}).wait(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("wait after fail: %v", err)
	}
}

func TestTrackerReportsFailedResults(t *testing.T) {
	finish := func(endpoint string, state tasker.ResultState) []ledger.End {
		return []ledger.End{{ResultKey: tasker.ResultKey{TaskID: 7, Endpoint: endpoint}, State: state}}
	}
	for _, c := range []struct {
		second tasker.ResultState
		want   error
	}{{tasker.ResultDone, nil}, {tasker.ResultFailed, errNotDone}} {
		tr := newTracker(store.Attempts{}, 2)
		tr.count(finish("a", tasker.ResultDone), []bool{true})
		tr.count(finish("b", tasker.ResultDone), []bool{false}) // lost its race
		tr.count(finish("b", tasker.Retrying), []bool{true})
		select {
		case <-tr.task(7).complete:
			t.Fatal("complete with one result of two")
		default:
		}
		tr.count(finish("b", c.second), []bool{true})
		if _, err := tr.wait(t.Context(), 7); !errors.Is(err, c.want) {
			t.Errorf("second result %s: %v", c.second, err)
		}
	}
}

func TestPayloadAndMessageSizes(t *testing.T) {
	for _, size := range []int{16, 1024} {
		if got := payloadOf(size); len(got) != size || !json.Valid(got) {
			t.Errorf("payload of %d bytes: %s", size, got)
		}
	}
	if size := messageSize(1024); size < 1100 || size > 1300 {
		t.Errorf("message with a payload of 1024 bytes: %d bytes", size)
	}
}

func TestRatiosAreThoseWithinARun(t *testing.T) {
	made := func(results, prototype, total, prototypeTotal float64) turn {
		return turn{
			Tasker: tasked{
				Latency: latencies{Stored: latency{P50: 6}}, Throughput: throughput{Results: results}, Cost: cost{Total: &total},
			},
			Prototype: rival{Results: prototype, Cost: cost{Total: &prototypeTotal}},
			Naive:     rival{Results: 1000},
		}
	}
	r := round{
		Database: databaseCeiling{Batches: 30_000, Life: latency{P50: 1}},
		Broker:   brokerCeiling{Deliveries: 15_000, Fanout: latency{P50: 2}},
		// The machine was twice as fast during the second run.
		Runs: []turn{made(1000, 4000, 900, 300), made(2000, 8000, 400, 100), made(1000, 2000, 500, 250)},
	}
	r.compute()
	for name, c := range map[string]struct{ got, want spread }{
		"CPU":      {r.Ratios.CPUPrototype, spread{3, 2, 4}},
		"results":  {r.Ratios.Prototype, spread{0.25, 0.25, 0.5}},
		"naive":    {r.Ratios.Naive, spread{1, 1, 2}},
		"unknown":  {r.Ratios.CPUNaive, spread{}},
		"ceilings": {r.Ratios.LatencyCeilings, spread{2, 2, 2}},
	} {
		if c.got != c.want {
			t.Errorf("%s: %+v, want %+v", name, c.got, c.want)
		}
	}
	if got := spreadOf([]float64{4, 1, 3, 2}); got != (spread{2.5, 1, 4}) {
		t.Errorf("spread of four values: %+v", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range []string{
		"-endpoints 2,x", "-runs 0", "-mode gateway", "-processes -mode other", "-endpoints 0", "-inflight 0", "-duration 0s", "-payload 3", "-output xml", "-tasks -1", "stray", "-unknown",
		"-fields [1]",
	} {
		if _, err := parse(strings.Fields(args), io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("%s: %v", args, err)
		}
	}
	opts, err := parse([]string{"-endpoints", "1, 3"}, io.Discard)
	if err != nil || len(opts.endpoints) != 2 || opts.endpoints[1] != 3 {
		t.Errorf("-endpoints: %v, %v", opts.endpoints, err)
	}
}

// A short run on real servers must measure everything; no number is checked.
func TestWholeRun(t *testing.T) {
	testservices.Need(t)
	opts := shortRun(t, "-endpoints 2,3 -runs 2")
	var out, progress bytes.Buffer
	if err := run(t.Context(), opts, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	var rep report
	if err := json.Unmarshal(out.Bytes(), &rep); err != nil {
		t.Fatal(err)
	}
	if len(rep.Rounds) != 2 {
		t.Fatalf("%d rounds", len(rep.Rounds))
	}
	for _, r := range rep.Rounds {
		checkMeasured(t, r)
	}
	out.Reset()
	if err := rep.text(&out); err != nil || !strings.Contains(out.String(), "results/s") {
		t.Errorf("text output %q, %v", out.String(), err)
	}
}

// With -any, a task has one result, whichever endpoint takes it.
func TestAny(t *testing.T) {
	testservices.Need(t)
	var out, progress bytes.Buffer
	if err := run(t.Context(), shortRun(t, `-any -fields {"priority":5} -endpoints 2 -runs 1`), &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	var rep report
	if err := json.Unmarshal(out.Bytes(), &rep); err != nil {
		t.Fatal(err)
	}
	checkMeasured(t, rep.Rounds[0])
	out.Reset()
	if err := rep.text(&out); err != nil || !rep.Any || rep.Fields["priority"] != 5.0 || !strings.Contains(out.String(), anyEndpoint) {
		t.Errorf("%+v, text output %q, %v", rep, out.String(), err)
	}
}

func shortRun(t *testing.T, args string) options {
	t.Helper()
	opts, err := parse(strings.Fields(args+" -duration 400ms -samples 3 -inflight 4 -tasks 20 -output json -memory=false"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return opts
}

func checkMeasured(t *testing.T, r round) {
	t.Helper()
	if len(r.Runs) == 0 {
		t.Fatal("no runs")
	}
	figures := map[string]float64{
		"broker": r.Broker.Deliveries, "fan-out": r.Broker.Fanout.P50, "rows": r.Database.Single, "batches": r.Database.Batches,
		"deliveries per result": r.Messages.Delivered, "ratio": r.Ratios.Naive.Min,
	}
	for _, x := range r.Runs {
		figures["latency"] = x.Tasker.Latency.Stored.P50
		figures["GET"] = x.Tasker.Latency.Done.P50
		figures["tasks"] = x.Tasker.Throughput.PerSec
		figures["results"] = x.Tasker.Throughput.Results
		figures["statements"] = x.Tasker.Cost.Statements
		figures["prototype"] = x.Prototype.Results
		figures["prototype's statements"] = x.Prototype.Cost.Statements
		figures["naive"] = x.Naive.Results
		for name, figure := range figures {
			if figure <= 0 {
				t.Errorf("%d endpoints: %s is %v", r.Endpoints, name, figure)
			}
		}
	}
}

// With -processes, the managers and the API are this program, started again.
func TestProcesses(t *testing.T) {
	testservices.Need(t)
	for _, mode := range []string{config.ModeDatabase, config.ModeGateway} {
		t.Run(mode, func(t *testing.T) { testProcesses(t, shortRun(t, "-endpoints 2 -runs 1 -processes -mode "+mode)) })
	}
}

func testProcesses(t *testing.T, opts options) {
	var out, progress bytes.Buffer
	if err := run(t.Context(), opts, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	var rep report
	if err := json.Unmarshal(out.Bytes(), &rep); err != nil {
		t.Fatal(err)
	}
	checkMeasured(t, rep.Rounds[0])
	if c := rep.Rounds[0].Runs[0].Tasker.Cost; known(c.Managers) <= 0 {
		t.Errorf("CPU of the managers: %+v", c)
	}
}

func TestInterruptedWhileTaskerWorks(t *testing.T) {
	testservices.Need(t)
	opts, err := parse(strings.Fields("-endpoints 2 -duration 500ms -memory=false"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	progress := watch(func(line string) {
		if strings.Contains(line, "tasker's throughput") {
			interrupt()
		}
	})
	if err := run(ctx, opts, io.Discard, progress); !errors.Is(err, context.Canceled) {
		t.Errorf("run returned %v", err)
	}
}

// watch is a writer that calls a function with each line.
type watch func(line string)

func (w watch) Write(p []byte) (int, error) { w(string(p)); return len(p), nil }

func TestServicesAreRemovedAfterAnInterrupt(t *testing.T) {
	testservices.Need(t)
	ctx, interrupt := context.WithCancel(t.Context())
	var made services
	err := withServices(ctx, func(s *services) error {
		made = *s
		interrupt()
		return context.Cause(ctx)
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	db, err := daemons.OpenDB(made.mysql, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("the database was not dropped")
	}
	if conn, err := amqp.Dial(made.rabbit); err == nil {
		_ = conn.Close()
		t.Error("the virtual host was not deleted")
	}
}
