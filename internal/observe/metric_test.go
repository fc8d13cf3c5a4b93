package observe

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

var update = flag.Bool("update", false, "write the table of docs/metrics.md")

// components are the structs of metrics, by who serves them.
var components = []struct {
	servedBy string
	metrics  any
}{
	{"API", APIMetrics{}},
	{"API", DispatchMetrics{}},
	{"API", BrokerMetrics{}},
	{"API", ReconcileMetrics{}},
	{"API", RolloutMetrics{}},
	{"API", ScheduleMetrics{}},
	{"both", StoreMetrics{}},
	{"manager", ManagerMetrics{}},
	{"both", processMetrics{}},
}

// everything returns a registry with all metrics, each with a value.
func everything(t *testing.T) *Registry {
	t.Helper()
	r := NewRegistry("1.2.3")
	for _, metrics := range []any{
		NewAPIMetrics(r), NewDispatchMetrics(r), NewBrokerMetrics(r), NewReconcileMetrics(r), NewRolloutMetrics(r), NewScheduleMetrics(r),
		NewStoreMetrics(r), NewManagerMetrics(r),
	} {
		fields := reflect.ValueOf(metrics)
		for i := range fields.NumField() {
			labels := define(fields.Type().Field(i)).labels
			switch metric := fields.Field(i).Interface().(type) {
			case Counter:
				metric.Inc(labels...)
			case Histogram:
				metric.Observe(time.Second, labels...)
			case Gauge:
				metric.Add(1, labels...)
			case Reading:
				metric.From(func(report Report) { report(1, labels...) })
			default:
				t.Fatalf("unknown kind of metric %T", metric)
			}
		}
	}
	return r
}

func TestEachMetricIsServed(t *testing.T) {
	t.Parallel()
	families, err := everything(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, f := range families {
		served[f.GetName()] = true
	}
	for _, c := range components {
		for f := range reflect.TypeOf(c.metrics).Fields() {
			if name := namespace + "_" + define(f).name; !served[name] {
				t.Errorf("%s is not served", name)
			}
		}
	}
}

func TestNamesFollowTheConventions(t *testing.T) {
	t.Parallel()
	families, err := everything(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, namespace) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// Labels come from closed sets: none is for an endpoint, an identifier or an error.
func TestLabelsAreOfClosedSets(t *testing.T) {
	t.Parallel()
	closed := map[string]bool{
		"task_type": true, "status": true, "state": true, "outcome": true, "loop": true, "reason": true,
		"subject": true,                               // endpoint, task_type or task
		"route":   true, "method": true, "code": true, // see APIMetrics.Answered
		"version": true, "revision": true, "go": true,
	}
	for _, c := range components {
		for f := range reflect.TypeOf(c.metrics).Fields() {
			for _, label := range define(f).labels {
				if !closed[label] {
					t.Errorf("%s has the label %s: is its set of values closed? Then add it here", define(f).name, label)
				}
			}
		}
	}
}

// A component without metrics works.
func TestZeroValuesCountNothing(t *testing.T) {
	t.Parallel()
	Counter{}.Inc("a")
	Histogram{}.Observe(time.Second, "a")
	Gauge{}.Add(1)
	Gauge{}.SetTime(time.Now(), "a")
	Reading{}.From(func(Report) { t.Error("read") })
	APIMetrics{}.Answered("/", "GET", 200, time.Second)
}

func TestWrongLabelsCountNothing(t *testing.T) {
	t.Parallel()
	m := NewManagerMetrics(prometheus.NewRegistry())
	m.Runs.Inc("worker")
	m.Runs.Inc("worker", "\xff")
	if n := testutil.CollectAndCount(m.Runs.vec); n != 0 {
		t.Errorf("%d series", n)
	}
}

func TestReadingsWithTheSameLabelsAddUp(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	m := NewManagerMetrics(r)
	m.Slots.From(func(report Report) {
		report(2, "worker", "busy")
		report(1, "worker", "free")
		report(3, "worker", "busy")
	})
	const want = `# HELP tasker_slots Slots for tasks, busy or free.
# TYPE tasker_slots gauge
tasker_slots{state="busy",task_type="worker"} 5
tasker_slots{state="free",task_type="worker"} 1
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "tasker_slots"); err != nil {
		t.Error(err)
	}
}

// What a client sends makes no series.
func TestRequestsHaveAClosedSetOfLabels(t *testing.T) {
	t.Parallel()
	m := NewAPIMetrics(prometheus.NewRegistry())
	for i := range 1000 {
		m.Answered("", fmt.Sprintf("BREW%d", i), 404, time.Millisecond)
		m.Answered("/{task_type}", "POST", 600+i, time.Millisecond)
	}
	if n := testutil.CollectAndCount(m.Requests.vec); n != 2 {
		t.Errorf("%d series, want 2", n)
	}
}

// Counting allocates nothing: it is on the way of every task.
func TestCountingAllocatesNothing(t *testing.T) {
	r := prometheus.NewRegistry()
	api, manager, dispatch := NewAPIMetrics(r), NewManagerMetrics(r), NewDispatchMetrics(r)
	taskType, state := strings.Clone("worker"), strings.Clone("DONE")
	for name, count := range map[string]func(){
		"counter":   func() { manager.Runs.Inc(taskType, state) },
		"histogram": func() { manager.RunSeconds.Observe(time.Millisecond, taskType) },
		"no labels": func() { dispatch.SendDelay.Observe(time.Millisecond) },
		"gauge":     func() { api.StreamsOpen.Add(1) },
		"request":   func() { api.Answered("/{task_type}", "POST", 201, time.Millisecond) },
	} {
		if n := testing.AllocsPerRun(1000, count); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkCount(b *testing.B) {
	m := NewManagerMetrics(prometheus.NewRegistry())
	b.ReportAllocs()
	for b.Loop() {
		m.Runs.Inc("worker", "DONE")
		m.RunSeconds.Observe(time.Millisecond, "worker")
	}
}

// TestDocs compares the table of docs/metrics.md with the tags of the metrics. Run it
// with -update to write the table.
func TestDocs(t *testing.T) {
	t.Parallel()
	const path, from, to = "../../docs/metrics.md", "<!-- metrics -->\n", "<!-- end -->\n"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(content), from)
	_, after, found := strings.Cut(rest, to)
	if !ok || !found {
		t.Fatalf("%s: no %q, or no %q after it", path, from, to)
	}
	var table strings.Builder
	table.WriteString("| metric | kind | served by | labels | meaning |\n|---|---|---|---|---|\n")
	for _, c := range components {
		for f := range reflect.TypeOf(c.metrics).Fields() {
			d := define(f)
			kind := strings.ToLower(f.Type.Name())
			if kind == "reading" {
				kind = "gauge"
			}
			labels := ""
			if len(d.labels) > 0 {
				labels = "`" + strings.Join(d.labels, "`, `") + "`"
			}
			fmt.Fprintf(&table, "| `%s_%s` | %s | %s | %s | %s |\n", namespace, d.name, kind, c.servedBy, labels, d.help)
		}
	}
	want := before + from + table.String() + to + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // for everybody
			t.Fatal(err)
		}
	} else if string(content) != want {
		t.Errorf("%s is out of date: run go test ./internal/observe -run Docs -update", path)
	}
}
