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
	Time      time.Time `json:"time"`
	Go        string    `json:"go"`
	CPUs      int       `json:"cpus"`
	Load0     string    `json:"load_average"` // at the start of the run
	Endpoints int       `json:"endpoints"`
	Mode      string    `json:"mode"`
	APIs      int       `json:"api_processes"`
	Real      int       `json:"manager_processes"`
	PerManger int       `json:"endpoints_per_simulated_manager"`
	Payload   int       `json:"payload_bytes"`

	// Ready is from the start of all processes until all endpoints consume.
	Ready   period `json:"ready"`
	Tasks   []task `json:"tasks"`
	Sending period `json:"sending"` // of all Tasks
	// Statements at MariaDB, and messages published and delivered at RabbitMQ, per
	// result.
	Statements float64            `json:"statements_per_result"`
	Kinds      map[string]float64 `json:"statement_kinds_per_result"`
	Published  float64            `json:"published_per_result"`
	Delivered  float64            `json:"delivered_per_result"`
	Load       period             `json:"load,omitzero"`
	LoadTasks  int                `json:"load_tasks,omitempty"`
	Memory     map[part]float64   `json:"resident_mib"`
	Get        get                `json:"get"`
	Idle       period             `json:"idle"`
	// IdleStatements are those of an idle fleet, per second.
	IdleStatements float64            `json:"idle_statements_per_s"`
	IdleKinds      map[string]float64 `json:"idle_statement_kinds_per_s"`
	// Restarted is from the restart of RabbitMQ until all endpoints consume again.
	Restarted *period  `json:"after_restart,omitempty"`
	TaskAfter *task    `json:"task_after_restart,omitempty"`
	Failures  []string `json:"failures"`
}

func newReport(opts options) *report {
	r := &report{
		Time: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), CPUs: runtime.NumCPU(), Endpoints: opts.endpoints,
		Mode: opts.mode, APIs: opts.apis, Real: opts.real, PerManger: opts.perManager, Payload: opts.payload, Failures: []string{},
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Load0 = strings.Join(strings.Fields(string(data))[:3], " ")
	}
	return r
}

func (r *report) print(w io.Writer, format string) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	_, err := io.WriteString(w, r.text())
	return err
}

func (r *report) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("tasker fleet, %s, %s, %d CPUs, load average %s", r.Time.Format(time.RFC3339), r.Go, r.CPUs, r.Load0)
	line("%d endpoints in mode %s: %d manager processes, the others simulated, %d for each manager; %d API processes",
		r.Endpoints, r.Mode, r.Real, r.PerManger, r.APIs)
	line("")
	r.costs(line)
	line("")
	r.events(line)
	return b.String()
}

// costs prints the CPU time and the memory of the parts.
func (r *report) costs(line func(format string, args ...any)) {
	var header strings.Builder
	fmt.Fprintf(&header, "%-34s", "")
	for _, p := range parts {
		fmt.Fprintf(&header, " %11s", p)
	}
	line("%s", header.String())
	if r.Ready.CPU != nil {
		line("%s", row("until ready, CPU s", r.Ready.CPU, 1))
	}
	if results := float64(len(r.Tasks) * r.Endpoints); r.Sending.CPU != nil && results > 0 {
		line("%s", row("tasks, CPU per result, us", r.Sending.CPU, 1e6/results))
	}
	if results := float64(len(r.Tasks) * r.Endpoints); r.Idle.CPU != nil && results > 0 {
		line("%s", row("the same without the idle share", r.withoutIdle(), 1e6/results))
	}
	if results := float64(r.LoadTasks * r.Endpoints); results > 0 {
		line("%s", row("load, CPU per result, us", r.Load.CPU, 1e6/results))
	}
	if r.Idle.CPU != nil {
		line("%s", row("idle, CPU %", r.Idle.CPU, 100/r.Idle.Seconds))
	}
	if r.Restarted != nil {
		line("%s", row("broker's restart, CPU s", r.Restarted.CPU, 1))
	}
	if r.Memory != nil {
		line("%s", row("resident, MiB", r.Memory, 1))
	}
}

// events prints what happened, in order.
func (r *report) events(line func(format string, args ...any)) {
	if r.Ready.Seconds > 0 {
		line("ready: all endpoints consume after %.1f s", r.Ready.Seconds)
	}
	for i, t := range r.Tasks {
		if i < 2 || i == len(r.Tasks)-1 {
			line("task %d: %s", i+1, t)
		}
	}
	if r.Sending.CPU != nil {
		line("per result: %.2f statements, %.2f messages published, %.2f delivered", r.Statements, r.Published, r.Delivered)
		line("statements: %s", usage.KindsText(r.Kinds))
	}
	if r.LoadTasks > 0 {
		line("load: %.0f results/s", float64(r.LoadTasks*r.Endpoints)/r.Load.Seconds)
	}
	if r.Get.Bytes > 0 {
		zipped := "gzip is not served"
		if r.Get.Zipped > 0 {
			zipped = fmt.Sprintf("%d with gzip", r.Get.Zipped)
		}
		line("GET of the last task: %.3f s, %d bytes, %s", r.Get.Seconds, r.Get.Bytes, zipped)
	}
	if r.Idle.Seconds > 0 {
		line("idle: %.0f statements/s: %s", r.IdleStatements, usage.KindsText(r.IdleKinds))
	}
	if r.Restarted != nil {
		line("after a restart of RabbitMQ all endpoints consume after %.1f s", r.Restarted.Seconds)
	}
	if r.TaskAfter != nil {
		line("task after the restart: %s", *r.TaskAfter)
	}
	for _, failure := range r.Failures {
		line("FAILED: %s", failure)
	}
}

// withoutIdle returns what sending took beyond what the idle fleet takes in that time.
func (r *report) withoutIdle() map[part]float64 {
	net := map[part]float64{}
	for p, used := range r.Sending.CPU {
		net[p] = used - r.Idle.CPU[p]/r.Idle.Seconds*r.Sending.Seconds
	}
	return net
}

func row(name string, values map[part]float64, factor float64) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%-34s", name)
	sum := 0.0
	for _, p := range parts {
		value, ok := values[p]
		if !ok {
			fmt.Fprintf(&text, " %11s", "unknown")
			continue
		}
		sum += value * factor
		fmt.Fprintf(&text, " %11.1f", value*factor)
	}
	fmt.Fprintf(&text, "   = %.1f", sum)
	return text.String()
}

func (t task) String() string {
	return fmt.Sprintf("POST answered %s after %.2f s, sent %.2f s, received %.2f to %.2f s, all stored %.2f s, DONE %.2f s, missing %d",
		t.Status, t.Posted, t.Sent, t.FirstReceived, t.LastReceived, t.Stored, t.Done, t.Missing)
}
