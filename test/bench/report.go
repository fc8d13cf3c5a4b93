package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/taskerhq/tasker/test/internal/usage"
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
	Runs     int       `json:"runs"`
	// Processes is set if tasker ran in processes of its own.
	Processes  bool   `json:"processes"`
	Mode       string `json:"mode"`
	Persistent bool   `json:"persistent"`
	// Any is set if each task was for any one of the endpoints.
	Any    bool           `json:"any"`
	Fields map[string]any `json:"fields,omitempty"` // further members of each POST
	Idle   *idle          `json:"idle_manager,omitempty"`
	Rounds []round        `json:"rounds"`
}

func newReport(opts options) *report {
	r := &report{
		Time: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), CPUs: runtime.GOMAXPROCS(0),
		Payload: opts.payload, Message: messageSize(opts.payload), InFlight: opts.inFlight, Slots: opts.slots,
		Runs: opts.runs, Processes: opts.processes, Mode: opts.mode, Persistent: opts.persistent,
		Any: opts.any, Fields: opts.fields,
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

const (
	oneProcess = `tasker is one process here: the API, its reconciler, one manager that serves all
endpoints, and the clients.`
	manyProcesses = `tasker is an API process and a manager process for each endpoint here, in mode
%s. The CPU of the clients is not counted.`
	anyEndpoint = `Each task is for any one of the endpoints; the others consume one queue.`
	scope       = `The prototype and the naive daemon are one process each: publisher and all
consumers. Each result has a payload of its own. Values are medians of all runs;
ratios are those within a run, with their extremes.`
)

func (r *report) text(w io.Writer) error {
	setup, messages := oneProcess, "transient"
	if r.Processes {
		setup = fmt.Sprintf(manyProcesses, r.Mode)
	}
	if r.Persistent {
		messages = "persistent"
	}
	if r.Any {
		setup += "\n" + anyEndpoint
	}
	_, err := fmt.Fprintf(w, "tasker benchmark, %s, %s, %d CPUs, load average %s\n"+
		"%d bytes of payload, %d of message, %d tasks in flight, %d slots per endpoint,\n"+
		"runs: %d, messages: %s\n\n%s\n%s\n\n",
		r.Time.Format(time.RFC3339), r.Go, r.CPUs, r.Load, r.Payload, r.Message, r.InFlight, r.Slots, r.Runs, messages, setup, scope)
	if err != nil {
		return err
	}
	for _, l := range lines(r.Processes) {
		row := l.name
		if l.value != nil {
			row = fmt.Sprintf("%-47s", l.name)
			for i := range r.Rounds {
				row += fmt.Sprintf(" %26s", l.value(&r.Rounds[i]))
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(row, " ")); err != nil {
			return err
		}
	}
	for i := range r.Rounds {
		_, err := fmt.Fprintf(w, "\nstatements per result, %d endpoints: %s", r.Rounds[i].Endpoints,
			usage.KindsText(r.Rounds[i].Runs[0].Tasker.Cost.Kinds))
		if err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	if r.Idle != nil {
		_, err = fmt.Fprintf(w, "\nmemory of an idle manager process: %.1f MiB resident, %.1f MiB peak\n", r.Idle.Resident, r.Idle.Peak)
	}
	return err
}

// median prints the median of the turns.
func median(format string, f func(*turn) float64) func(*round) string {
	return func(r *round) string { return fmt.Sprintf(format, r.over(f).Median) }
}

// factor prints a ratio with its spread.
func factor(f func(*ratios) spread) func(*round) string {
	return func(r *round) string {
		s := f(&r.Ratios)
		if s.Max == 0 {
			return "unknown"
		}
		return fmt.Sprintf("%.2f (%.2f to %.2f)", s.Median, s.Min, s.Max)
	}
}

func percentiles(f func(*turn) latency) func(*round) string {
	return func(r *round) string {
		p50 := r.over(func(x *turn) float64 { return f(x).P50 })
		p99 := r.over(func(x *turn) float64 { return f(x).P99 })
		return fmt.Sprintf("%.1f / %.1f", p50.Median, p99.Median)
	}
}

func ceiling(format string, f func(*round) float64) func(*round) string {
	return func(r *round) string { return fmt.Sprintf(format, f(r)) }
}

func lines(processes bool) []line {
	taskerParts := "  tasker: process + MariaDB + RabbitMQ"
	if processes {
		taskerParts = "  tasker: API + managers + MariaDB + RabbitMQ"
	}
	return []line{
		{"endpoints", func(r *round) string { return fmt.Sprint(r.Endpoints) }},
		{"", nil},
		{"CPU per result, us", nil},
		{taskerParts, shares(func(x *turn) cost { return x.Tasker.Cost })},
		{"  prototype: process + MariaDB + RabbitMQ", shares(func(x *turn) cost { return x.Prototype.Cost })},
		{"  naive: process + MariaDB + RabbitMQ", shares(func(x *turn) cost { return x.Naive.Cost })},
		{"  tasker / prototype", factor(func(r *ratios) spread { return r.CPUPrototype })},
		{"  tasker / naive", factor(func(r *ratios) spread { return r.CPUNaive })},
		{"", nil},
		{"results/s", nil},
		{"  tasker", median("%.0f", func(x *turn) float64 { return x.Tasker.Throughput.Results })},
		{"  prototype", median("%.0f", func(x *turn) float64 { return x.Prototype.Results })},
		{"  naive: consume, insert, ack, update", median("%.0f", func(x *turn) float64 { return x.Naive.Results })},
		{"  tasker / prototype", factor(func(r *ratios) spread { return r.Prototype })},
		{"  tasker / naive", factor(func(r *ratios) spread { return r.Naive })},
		{"  tasker / broker", factor(func(r *ratios) spread { return r.Broker })},
		{"  tasker / database, 100 rows a statement", factor(func(r *ratios) spread { return r.Database })},
		{"", nil},
		{"per result", nil},
		{"  statements: tasker", median("%.2f", func(x *turn) float64 { return x.Tasker.Cost.Statements })},
		{"  statements: prototype", median("%.2f", func(x *turn) float64 { return x.Prototype.Cost.Statements })},
		{"  messages: published, delivered", func(r *round) string {
			return fmt.Sprintf("%.2f, %.2f", r.Messages.Published, r.Messages.Delivered)
		}},
		{"", nil},
		{"one task at a time, p50 / p99 in ms", nil},
		{"  POST answered", percentiles(func(x *turn) latency { return x.Tasker.Latency.Posted })},
		{"  POST to all results stored", percentiles(func(x *turn) latency { return x.Tasker.Latency.Stored })},
		{"  POST to GET says DONE", percentiles(func(x *turn) latency { return x.Tasker.Latency.Done })},
		{"  prototype: publish to all stored", percentiles(func(x *turn) latency { return x.Prototype.Latency })},
		{"  stored / prototype, p50", factor(func(r *ratios) spread { return r.LatencyPrototype })},
		{"  stored / (broker + database alone), p50", factor(func(r *ratios) spread { return r.LatencyCeilings })},
		{"", nil},
		{"under load", nil},
		{"  tasks/s", median("%.0f", func(x *turn) float64 { return x.Tasker.Throughput.PerSec })},
		{"  POST to all results stored, p50 / p99 in ms", percentiles(func(x *turn) latency { return x.Tasker.Throughput.Stored })},
		{"  last task DONE in its row after, ms", median("%.0f", func(x *turn) float64 { return x.Tasker.Throughput.Settled })},
		{"", nil},
		{"alone, per second (measured once)", nil},
		{"  broker: publish, confirm, consume; deliveries", ceiling("%.0f", func(r *round) float64 { return r.Broker.Deliveries })},
		{"  broker: publish to all consumed, p50, ms", ceiling("%.1f", func(r *round) float64 { return r.Broker.Fanout.P50 })},
		{"  database: insert and update, p50, ms", ceiling("%.1f", func(r *round) float64 { return r.Database.Life.P50 })},
		{"  database: the same, 8 connections; rows", ceiling("%.0f", func(r *round) float64 { return r.Database.Single })},
		{"  database: 100 rows a statement; rows", ceiling("%.0f", func(r *round) float64 { return r.Database.Batches })},
	}
}

// shares returns the CPU time of each part, and the sum.
func shares(of func(*turn) cost) func(*round) string {
	part := func(r *round, f func(cost) *float64) string {
		if f(of(&r.Runs[0])) == nil {
			return "unknown"
		}
		return fmt.Sprintf("%.0f", r.over(func(x *turn) float64 { return known(f(of(x))) }).Median)
	}
	return func(r *round) string {
		own := part(r, func(c cost) *float64 { return &c.Program })
		if of(&r.Runs[0]).API != nil {
			own = part(r, func(c cost) *float64 { return c.API }) + " + " + part(r, func(c cost) *float64 { return c.Managers })
		}
		return own + " + " + part(r, func(c cost) *float64 { return c.MariaDB }) + " + " +
			part(r, func(c cost) *float64 { return c.RabbitMQ }) + " = " + part(r, func(c cost) *float64 { return c.Total })
	}
}
