// Package observe has the metrics of tasker's components, for Prometheus, and is
// the only package that knows Prometheus.
//
// Each component has a struct of metrics, in a file of its own. A new metric is one
// field with a tag, and a call of it where the component counts: the field's tag
// has the name, without "tasker_", the labels and the help; docs/metrics.md is
// generated from the tags by go test ./internal/observe -run Docs -update.
//
// Components hold these structs, or single fields of them, by value. The zero value
// of a struct, and of a metric, counts nothing: a component works without metrics.
//
// The values of a label come from a closed set, such as the configured task types.
// Names of endpoints, identifiers and texts of errors are no labels.
package observe

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Registry is where metrics are registered, and from where they are served.
type Registry = prometheus.Registry

// namespace begins the names of tasker's own metrics.
const namespace = "tasker"

// buckets are the upper bounds of the histograms, 5 ms to 1 h, in seconds.
var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}

// Counter counts events.
type Counter struct{ vec *prometheus.CounterVec }

// Inc counts one event.
func (c Counter) Inc(labels ...string) { c.Add(1, labels...) }

// Add counts n events. Labels that are not those of the metric count nothing:
// no metric is worth a crash.
func (c Counter) Add(n int, labels ...string) {
	if c.vec == nil {
		return
	}
	if one, err := c.vec.GetMetricWithLabelValues(labels...); err == nil {
		one.Add(float64(n))
	}
}

// Histogram counts durations.
type Histogram struct{ vec *prometheus.HistogramVec }

// Observe counts a duration.
func (h Histogram) Observe(d time.Duration, labels ...string) {
	if h.vec == nil {
		return
	}
	if one, err := h.vec.GetMetricWithLabelValues(labels...); err == nil {
		one.Observe(d.Seconds())
	}
}

// Gauge is a value that its component sets.
type Gauge struct{ vec *prometheus.GaugeVec }

// Add adds to the value.
func (g Gauge) Add(n int, labels ...string) {
	if one, ok := g.with(labels); ok {
		one.Add(float64(n))
	}
}

// SetTime sets the value to a time.
func (g Gauge) SetTime(t time.Time, labels ...string) {
	if one, ok := g.with(labels); ok {
		one.Set(Seconds(t))
	}
}

func (g Gauge) with(labels []string) (prometheus.Gauge, bool) {
	if g.vec == nil {
		return nil, false
	}
	one, err := g.vec.GetMetricWithLabelValues(labels...)
	return one, err == nil
}

// Seconds returns a time in Unix seconds, 0 for the zero time.
func Seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

// Reading is a gauge whose values are read from the component at each scrape.
type Reading struct{ source *source }

// Report is what a component calls with each value. Values with the same labels are
// added up.
type Report func(value float64, labels ...string)

// From sets how the values are read. read is called by several goroutines, and must
// not block.
func (r Reading) From(read func(report Report)) {
	if r.source != nil {
		r.source.read.Store(&read)
	}
}

// source is the collector of a Reading.
type source struct {
	desc *prometheus.Desc
	read atomic.Pointer[func(Report)]
}

// Describe implements [prometheus.Collector].
func (s *source) Describe(to chan<- *prometheus.Desc) { to <- s.desc }

// Collect implements [prometheus.Collector].
func (s *source) Collect(to chan<- prometheus.Metric) {
	read := s.read.Load()
	if read == nil {
		return
	}
	type sum struct {
		value  float64
		labels []string
	}
	var sums []*sum
	(*read)(func(value float64, labels ...string) {
		at := slices.IndexFunc(sums, func(s *sum) bool { return slices.Equal(s.labels, labels) })
		if at < 0 {
			at, sums = len(sums), append(sums, &sum{labels: slices.Clone(labels)})
		}
		sums[at].value += value
	})
	for _, s2 := range sums {
		if m, err := prometheus.NewConstMetric(s.desc, prometheus.GaugeValue, s2.value, s2.labels...); err == nil {
			to <- m
		}
	}
}

// definition is what the tag of a metric says.
type definition struct {
	name, help string
	labels     []string
}

func define(f reflect.StructField) definition {
	d := definition{name: f.Tag.Get("name"), help: f.Tag.Get("help")}
	if labels := f.Tag.Get("labels"); labels != "" {
		d.labels = strings.Split(labels, ",")
	}
	return d
}

// register returns the metrics of a component, registered. It panics if a name is
// registered already, or a field is no metric.
func register[M any](r prometheus.Registerer) (metrics M) {
	fields := reflect.ValueOf(&metrics).Elem()
	for i := range fields.NumField() {
		d := define(fields.Type().Field(i))
		var metric prometheus.Collector
		switch field := fields.Field(i).Addr().Interface().(type) {
		case *Counter:
			field.vec = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: d.name, Help: d.help}, d.labels)
			metric = field.vec
			if len(d.labels) == 0 {
				field.vec.WithLabelValues() // 0 from the start
			}
		case *Histogram:
			field.vec = prometheus.NewHistogramVec(
				prometheus.HistogramOpts{Namespace: namespace, Name: d.name, Help: d.help, Buckets: buckets}, d.labels)
			metric = field.vec
		case *Gauge:
			field.vec = prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: d.name, Help: d.help}, d.labels)
			metric = field.vec
			if len(d.labels) == 0 {
				field.vec.WithLabelValues()
			}
		case *Reading:
			field.source = &source{desc: prometheus.NewDesc(namespace+"_"+d.name, d.help, d.labels, nil)}
			metric = field.source
		default:
			panic(fmt.Sprintf("observe: field %s of %T is no metric", fields.Type().Field(i).Name, metrics))
		}
		r.MustRegister(metric)
	}
	return metrics
}
