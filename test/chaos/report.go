package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/taskerhq/tasker/test/promises"
)

// report is the outcome of a run.
type report struct {
	promises.Report
	Plan    map[action]int    // what was planned
	Revived int               // processes that ended by themselves and were restarted
	First   map[string]sample // of the first processes
	Last    map[string]sample // of the last processes
	Logged  map[string]int    // errors that the processes logged, by message
	Dir     string            // of logs, journals and the history, if kept
}

func (r *run) report(h promises.History, plan []step, first, last map[string]sample) report {
	logged, crashes := readLogs(r.system.daemons)
	found := slices.Concat(promises.Check(h), r.nemesis.wrong, r.clients.wrong, crashes)
	rep := report{
		Report: promises.NewReport(h, found), Plan: map[action]int{}, Revived: r.nemesis.ended,
		First: first, Last: last, Logged: logged, Dir: r.dir,
	}
	for _, s := range plan {
		rep.Plan[s.Do]++
	}
	return rep
}

// readLogs counts the errors in the logs, and finds panics, fatal errors and
// data races.
func readLogs(daemons []*daemon) (errors map[string]int, crashes []promises.Violation) {
	errors = map[string]int{}
	for _, d := range daemons {
		file, err := os.Open(d.log)
		if err != nil {
			continue // never started
		}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			var line struct{ Level, Msg string }
			switch text := lines.Bytes(); {
			case json.Unmarshal(text, &line) == nil:
				if line.Level == "ERROR" {
					errors[line.Msg]++
				}
			case bytes.HasPrefix(text, []byte("panic:")), bytes.HasPrefix(text, []byte("fatal error:")),
				bytes.Contains(text, []byte("DATA RACE")):
				crashes = append(crashes, promises.Violation{Promise: 4, Rule: "crash", Detail: fmt.Sprintf("%s: %s", d.log, text)})
			}
		}
		_ = file.Close()
	}
	return errors, crashes
}

// write prints the report as a table.
func (r report) write(out io.Writer) error {
	if err := r.Write(out); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "planned\t%s\n", counts(r.Plan))
	_, _ = fmt.Fprintf(w, "ended by themselves\t%d processes, restarted\n", r.Revived)
	for _, role := range []string{"api", "console"} {
		first, last := summarize(r.First, role), summarize(r.Last, role)
		_, _ = fmt.Fprintf(w, "memory of each %s\t%.1f to %.1f MB at the start, %.1f to %.1f MB at the end\n", role,
			megabytes(first.low.RSS), megabytes(first.high.RSS), megabytes(last.low.RSS), megabytes(last.high.RSS))
		_, _ = fmt.Fprintf(w, "goroutines of each %s\t%d to %d at the start, %d to %d at the end\n", role,
			first.low.Goroutines, first.high.Goroutines, last.low.Goroutines, last.high.Goroutines)
	}
	for i, message := range slices.SortedFunc(maps.Keys(r.Logged), func(a, b string) int { return cmp.Compare(r.Logged[b], r.Logged[a]) }) {
		if i < 8 {
			_, _ = fmt.Fprintf(w, "logged as an error\t%d times: %s\n", r.Logged[message], message)
		}
	}
	return w.Flush()
}

func counts(of map[action]int) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		list = append(list, fmt.Sprintf("%d %s", of[name], name))
	}
	return strings.Join(list, ", ")
}

// extremes has the minimum and maximum of each field of some samples.
type extremes struct{ low, high sample }

func summarize(samples map[string]sample, role string) extremes {
	var e extremes
	started := false
	for name, s := range samples {
		if len(name) < len(role) || name[:len(role)] != role {
			continue
		}
		if !started {
			e, started = extremes{s, s}, true
		}
		e.low.RSS, e.high.RSS = min(e.low.RSS, s.RSS), max(e.high.RSS, s.RSS)
		e.low.Goroutines, e.high.Goroutines = min(e.low.Goroutines, s.Goroutines), max(e.high.Goroutines, s.Goroutines)
	}
	return e
}

func megabytes(n int64) float64 { return float64(n) / (1 << 20) }
