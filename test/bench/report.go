package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// report has the measurements of one run.
type report struct {
	Time     time.Time `json:"time"`
	Go       string    `json:"go"`
	CPUs     int       `json:"cpus"`
	Load     string    `json:"load_average"` // at the start of the run
	Payload  int       `json:"payload_bytes"`
	Message  int       `json:"message_bytes"`
	InFlight int       `json:"tasks_in_flight"`
	Slots    int       `json:"slots"`
	Idle     *idle     `json:"idle_manager,omitempty"`
	Rounds   []round   `json:"rounds"`
}

func newReport(opts options) *report {
	r := &report{
		Time: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), CPUs: runtime.GOMAXPROCS(0),
		Payload: opts.payload, Message: messageSize(opts.payload), InFlight: opts.inFlight, Slots: opts.slots,
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Load = strings.Join(strings.Fields(string(data))[:3], " ")
	}
	return r
}

func (r *report) print(w io.Writer, format string) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	return r.text(w)
}

// line is a row of the table: a name, and its value in a round.
type line struct {
	name  string
	value func(r *round) string
}

func (r *report) text(w io.Writer) error {
	const scope = `One process plays the API, its reconciler, the managers of all endpoints and
the clients; for the ceilings and the naive daemon one process plays the
publisher and all consumers. RabbitMQ and the database share the processors
with it. All results are durable: persistent messages, committed rows.
`
	_, err := fmt.Fprintf(w, "tasker benchmark, %s, %s, %d CPUs, load average %s\n"+
		"%d bytes of payload, %d of message, %d tasks in flight, %d slots per endpoint\n\n%s\n",
		r.Time.Format(time.RFC3339), r.Go, r.CPUs, r.Load, r.Payload, r.Message, r.InFlight, r.Slots, scope)
	if err != nil {
		return err
	}
	for _, l := range lines() {
		row := l.name
		if l.value != nil {
			row = fmt.Sprintf("%-59s", l.name)
			for i := range r.Rounds {
				row += fmt.Sprintf(" %16s", l.value(&r.Rounds[i]))
			}
		}
		if _, err := fmt.Fprintln(w, row); err != nil {
			return err
		}
	}
	if r.Idle != nil {
		_, err = fmt.Fprintf(w, "\nmemory of an idle manager process: %.1f MiB resident, %.1f MiB peak\n", r.Idle.Resident, r.Idle.Peak)
	}
	return err
}

func lines() []line {
	number := func(f func(*round) float64) func(*round) string {
		return func(r *round) string { return fmt.Sprintf("%.0f", f(r)) }
	}
	factor := func(f func(*round) float64) func(*round) string {
		return func(r *round) string { return fmt.Sprintf("%.2f", f(r)) }
	}
	spread := func(f func(*round) latency) func(*round) string {
		return func(r *round) string { return fmt.Sprintf("%.1f / %.1f", f(r).P50, f(r).P99) }
	}
	return []line{
		{"endpoints", func(r *round) string { return fmt.Sprint(r.Endpoints) }},
		{"", nil},
		{"latency, one task at a time, p50 / p99 in ms", nil},
		{"  POST answered", spread(func(r *round) latency { return r.Latency.Posted })},
		{"  POST to all results stored", spread(func(r *round) latency { return r.Latency.Stored })},
		{"  POST to GET says DONE", spread(func(r *round) latency { return r.Latency.Done })},
		{"  broker alone: publish to all consumed", spread(func(r *round) latency { return r.Broker.Fanout })},
		{"  database alone: insert and update of a row", spread(func(r *round) latency { return r.Database.Life })},
		{"  all results stored / (broker + database), of the p50", factor(func(r *round) float64 { return r.Ratios.Latency })},
		{"", nil},
		{"throughput", nil},
		{"  tasks/s", factor(func(r *round) float64 { return r.Throughput.PerSec })},
		{"  results/s", number(func(r *round) float64 { return r.Throughput.Results })},
		{"  POST to all results stored, p50 / p99 in ms", spread(func(r *round) latency { return r.Throughput.Stored })},
		{"  CPU of this process per result, us", number(func(r *round) float64 { return r.Throughput.CPU })},
		{"  last task DONE in its row after, ms", number(func(r *round) float64 { return r.Throughput.Settled })},
		{"", nil},
		{"ceilings and the naive daemon, per second", nil},
		{"  broker: publish, confirm, consume; deliveries", number(func(r *round) float64 { return r.Broker.Deliveries })},
		{"  database: insert + update, 1 connection; rows", number(func(r *round) float64 { return r.Database.OneByOne })},
		{"  database: insert + update, 8 connections; rows", number(func(r *round) float64 { return r.Database.Single })},
		{"  database: the same, 100 rows a statement; rows", number(func(r *round) float64 { return r.Database.Batches })},
		{"  broker and batched database, computed; results", number((*round).both)},
		{"  naive: consume, insert, ack, update, one by one; results", number(func(r *round) float64 { return r.Naive })},
		{"", nil},
		{"results/s of tasker divided by", nil},
		{"  broker", factor(func(r *round) float64 { return r.Ratios.Broker })},
		{"  database, 8 connections", factor(func(r *round) float64 { return r.Ratios.Single })},
		{"  database, 100 rows a statement", factor(func(r *round) float64 { return r.Ratios.Batches })},
		{"  broker and batched database, computed", factor(func(r *round) float64 { return r.Ratios.Both })},
		{"  naive", factor(func(r *round) float64 { return r.Ratios.Naive })},
	}
}
