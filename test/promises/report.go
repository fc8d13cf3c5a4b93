package promises

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report counts what a history contains, to show that there was something to
// check.
type Report struct {
	Seed     uint64
	Duration time.Duration

	Posted   int // distinct tasks in POSTs
	Accepted int // those that were answered
	Tries    int // number of POSTs

	Schedules, Stored int            // schedules, and those that were accepted
	Slots             map[string]int // slots of schedules, by outcome

	Started, Ended int            // runs
	Outcomes       map[string]int // ends of runs, by outcome
	Attempts       map[int]int    // runs, by attempt

	Faults   map[string]int // by kind
	Seen     int            // answers during the faults
	Statuses map[string]int // of tasks at the end
	States   map[string]int // of results at the end

	Violations []Violation
	Promises   [6]int // violations by promise; index 0 is unused
}

// NewReport counts a history and the violations that [Check] found.
func NewReport(h History, found []Violation) Report {
	r := Report{
		Seed: h.Seed, Duration: h.End.Sub(h.Begin),
		Schedules: len(h.Schedules), Slots: map[string]int{},
		Outcomes: map[string]int{}, Attempts: map[int]int{}, Faults: map[string]int{},
		Seen: len(h.Seen), Statuses: map[string]int{}, States: map[string]int{},
		Violations: found,
	}
	posts := map[task]bool{}
	for _, p := range h.Posts {
		key := task{p.Type, p.Identifier}
		posts[key] = posts[key] || !p.Accepted.IsZero()
		r.Tries += max(p.Tries, 1)
	}
	r.Posted = len(posts)
	for _, accepted := range posts {
		if accepted {
			r.Accepted++
		}
	}
	for _, s := range h.Schedules {
		if !s.Accepted.IsZero() {
			r.Stored++
		}
		for _, slot := range s.Slots {
			r.Slots[slot.Outcome]++
		}
	}
	for i := range h.Runs {
		switch e := &h.Runs[i]; e.Event {
		case "start":
			r.Started++
			r.Attempts[e.Attempt]++
		case "end":
			r.Ended++
			r.Outcomes[e.Outcome]++
		}
	}
	for _, f := range h.Faults {
		r.Faults[f.Kind]++
	}
	for i := range h.Final {
		r.Statuses[h.Final[i].Task.Status]++
		for j := range h.Final[i].Results {
			r.States[h.Final[i].Results[j].State]++
		}
	}
	for _, v := range found {
		if v.Promise > 0 && v.Promise < len(r.Promises) {
			r.Promises[v.Promise]++
		}
	}
	return r
}

// mostShown is the maximum number of violations in a report.
const mostShown = 50

// Write prints the report as a table, followed by the violations.
func (r Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("seed", "%d", r.Seed)
	line("duration", "%v", r.Duration.Round(time.Second))
	line("tasks", "%d accepted of %d, in %d tries", r.Accepted, r.Posted, r.Tries)
	line("schedules", "%d accepted of %d; slots: %s", r.Stored, r.Schedules, list(r.Slots, ""))
	line("runs", "%d started, %d ended%s", r.Started, r.Ended, list(r.Outcomes, ": "))
	named := map[string]int{}
	for attempt, n := range r.Attempts {
		named[fmt.Sprintf("at attempt %d", attempt)] = n
	}
	line("attempts", "%s", list(named, ""))
	line("faults", "%s", list(r.Faults, ""))
	line("answers", "%d under faults, and the last of each task", r.Seen)
	line("tasks at the end", "%s", list(r.Statuses, ""))
	line("results at the end", "%s", list(r.States, ""))
	for promise := 1; promise < len(r.Promises); promise++ {
		line("violations of promise "+fmt.Sprint(promise), "%d", r.Promises[promise])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for i, v := range r.Violations {
		if i == mostShown {
			_, err := fmt.Fprintf(out, "... and %d more violations\n", len(r.Violations)-i)
			return err
		}
		if _, err := fmt.Fprintf(out, "VIOLATION of promise %d, %s: %s\n", v.Promise, v.Rule, v.Detail); err != nil {
			return err
		}
	}
	return nil
}

// list formats counts, sorted by name.
func list(counts map[string]int, prefix string) string {
	if len(counts) == 0 && prefix == "" {
		return "none"
	}
	items := make([]string, 0, len(counts))
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		items = append(items, fmt.Sprintf("%d %v", counts[name], name))
	}
	if len(items) == 0 {
		return ""
	}
	return prefix + strings.Join(items, ", ")
}
