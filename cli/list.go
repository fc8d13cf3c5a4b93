package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// windowFlags are the flags of windows of time, and what they are for.
var windowFlags = [4]struct{ name, usage string }{
	{"since", "changed so long ago at most, such as 2h or 7d, or since a `time`"},
	{"until", "changed longer ago, such as 1h, or before a `time`"},
	{"created-since", "accepted so long ago at most, or since a `time`"},
	{"created-until", "accepted longer ago, or before a `time`"},
}

// listFlags are the flags of "tasker list".
type listFlags struct {
	search   client.TaskSearch
	statuses []string
	labels   []string
	window   [4]string // what the flags of windowFlags say
	limit    int
	counts   bool
}

func listCommand(r *run) *cobra.Command {
	f := &listFlags{}
	var api *apiFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tasks, newest first",
		Long: `List tasks of all types, newest first: those that all the given flags select.
--output names prints TYPE/IDENTIFIER, one a line.

With --counts it says how many there are, by status. It looks at a limited number of
them: a + behind a number says that there may be more.`,
		Example: `  tasker list
  tasker list --status FAILED,INCOMPLETE --since 2h
  tasker list --type app-update --endpoint web07 --text "no space"
  tasker list --created-since "2026-11-30 22:00" --created-until "2026-11-30 23:00"
  tasker list --label ticket=CHG-7
  tasker list --label ticket=CHG-7 --counts
  tasker list --status SCHEDULED --output names`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.counts && cmd.Flags().Changed("limit") {
				return usagef("--counts has no --limit: it counts all tasks that the other flags select")
			}
			c, err := api.client(cmd)
			if err != nil {
				return err
			}
			return r.paged(func() error { return f.list(cmd.Context(), r, c) })
		},
	}
	api = r.addAPIFlags(cmd)
	flags := cmd.Flags()
	flags.StringSliceVar(&f.search.Types, "type", nil, "of this task `type`; may be repeated")
	flags.StringSliceVar(&f.statuses, "status", nil, "with this `status`; may be repeated")
	flags.StringVar(&f.search.Endpoint, "endpoint", "", "for this `endpoint`")
	flags.StringVar(&f.search.Topic, "topic", "", "with this `topic`")
	flags.StringVar(&f.search.Prefix, "identifier", "", "with an identifier that begins with this `text`")
	flags.StringArrayVar(&f.labels, "label", nil, "with this label, such as `ticket=CHG-7`, or ticket for any value; may be repeated")
	flags.StringVar(&f.search.CreatedBy, "created-by", "", "created by this `principal`")
	for i, flag := range windowFlags {
		flags.StringVar(&f.window[i], flag.name, "", flag.usage)
	}
	flags.StringVar(&f.search.Text, "text", "", "with this `text` in the payload or in the error of a result")
	flags.IntVar(&f.limit, "limit", 20, "how many to list")
	r.addPager(cmd)
	flags.BoolVar(&f.counts, "counts", false, "only say how many there are, by status")
	complete(cmd, "status", func() []string {
		var names []string
		for _, status := range tasker.TaskStatuses() {
			names = append(names, string(status))
		}
		return names
	})
	_ = cmd.RegisterFlagCompletionFunc("type", r.completeTypes(api)) // the flag exists
	r.completeEndpoints(cmd, api)
	return withOutputs(cmd, outputText, outputJSON, outputLines, outputNames, outputCSV)
}

func (f *listFlags) list(ctx context.Context, r *run, c *client.Client) error {
	if f.limit < 1 {
		return usagef("invalid --limit %d: must be 1 or more", f.limit)
	}
	for _, status := range f.statuses {
		f.search.Statuses = append(f.search.Statuses, tasker.TaskStatus(strings.ToUpper(status)))
	}
	for _, label := range f.labels {
		f.search.Labels = append(f.search.Labels, tasker.ParseLabelFilter(label))
	}
	if err := f.applyWindows(time.Now()); err != nil {
		return err
	}
	if f.counts {
		return f.count(ctx, r, c)
	}
	tasks := []client.TaskView{}
	for task, err := range c.Search(ctx, f.search) {
		if err != nil {
			return err
		}
		if len(tasks) == f.limit {
			r.screen().Lines(fmt.Sprintf("there are more: --limit %d", 10*f.limit))
			break
		}
		tasks = append(tasks, task)
	}
	return r.printTasks(tasks)
}

// count prints how many tasks there are.
func (f *listFlags) count(ctx context.Context, r *run, c *client.Client) error {
	if r.output == outputNames || r.output == outputLines {
		return usagef("--counts has no --output %s: use %s, %s or %s", r.output, outputText, outputJSON, outputCSV)
	}
	counts, err := c.Count(ctx, f.search)
	if err != nil {
		return err
	}
	if r.output == outputJSON {
		return r.print(counts, "")
	}
	var cells [][]string
	if r.output == outputCSV {
		for _, n := range counts.Statuses {
			cells = append(cells, []string{string(n.Status), strconv.Itoa(n.Count), strconv.FormatBool(n.AtLeast)})
		}
		return r.printCSV([]string{"STATUS", "TASKS", "AT_LEAST"}, cells)
	}
	for _, n := range counts.Statuses {
		if n.Count > 0 || n.AtLeast {
			cells = append(cells, []string{string(n.Status), atLeast(n.Count, n.AtLeast)})
		}
	}
	return r.printTable([]string{"STATUS", "TASKS"}, append(cells, []string{"all", atLeast(counts.Total, counts.AtLeast)}))
}

// atLeast returns a number, with a + if there may be more.
func atLeast(n int, more bool) string {
	if more {
		return strconv.Itoa(n) + "+"
	}
	return strconv.Itoa(n)
}

// applyWindows puts the windows of time into the search.
func (f *listFlags) applyWindows(now time.Time) (err error) {
	q := &f.search
	for i, at := range []*time.Time{&q.Since, &q.Until, &q.CreatedSince, &q.CreatedUntil} {
		if *at, err = parseAgo(windowFlags[i].name, f.window[i], now); err != nil {
			return err
		}
	}
	return nil
}

// parseAgo parses what a flag says: a time, or a duration before now; no text is the
// zero time.
func parseAgo(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= 100_000 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	at, err := parseTime(s)
	if err != nil {
		return time.Time{}, usagef("invalid --%s %q: must be a duration such as 2h or 7d, or a time such as 2026-05-06T03:30:00Z", flag, s)
	}
	return at, nil
}

func (r *run) printTasks(tasks []client.TaskView) error {
	switch r.output {
	case outputJSON:
		return r.print(map[string]any{"tasks": tasks}, "")
	case outputLines:
		for i := range tasks {
			if err := r.printLine("task", map[string]any{"task": &tasks[i]}); err != nil {
				return err
			}
		}
		return nil
	case outputNames:
		var names []string
		for _, t := range tasks {
			names = append(names, t.Type+"/"+t.Identifier)
		}
		return r.printNames(names)
	}
	var cells [][]string
	for _, t := range tasks {
		whom := "all"
		switch {
		case t.Endpoints != nil:
			whom = strconv.Itoa(len(t.Endpoints))
		case t.Status == tasker.Scheduled:
			whom = "-"
		}
		cells = append(cells, []string{
			t.Type + "/" + t.Identifier, string(t.Status), whom, t.StartTime.Format(time.RFC3339), t.LastModifiedTime.Format(time.RFC3339),
		})
	}
	header := []string{"TASK", "STATUS", "ENDPOINTS", "STARTED", "CHANGED"}
	if r.output == outputCSV {
		return r.printCSV(header, cells)
	}
	if len(tasks) == 0 {
		return r.print(nil, "no tasks\n")
	}
	return r.printTable(header, cells)
}

// printTable prints a table for people: each cell is one line, and not long.
func (r *run) printTable(header []string, cells [][]string) error {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, strings.Join(header, "\t"))
	for _, row := range cells {
		short := make([]string, len(row))
		for i, cell := range row {
			short[i] = oneLine(cell)
		}
		_, _ = fmt.Fprintln(table, strings.Join(short, "\t"))
	}
	_ = table.Flush()
	return r.print(nil, b.String())
}

func typesCommand(r *run) *cobra.Command {
	var api *apiFlags
	cmd := &cobra.Command{
		Use:   "types [TYPE]",
		Short: "List the task types, or describe one",
		Long: `List the task types, or describe one: what its payload is, with an example, its
limits, and the endpoints that perform it.`,
		Example: "  tasker types\n  tasker types sleep",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("unexpected argument %q: %s takes one task type at most", args[1], cmd.CommandPath())
			}
			c, err := api.client(cmd)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				answer, err := c.TaskType(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if r.output == outputNames {
					return r.printNames([]string{answer.Name})
				}
				return r.print(answer, typeText(answer))
			}
			types, err := c.TaskTypes(cmd.Context())
			if err != nil {
				return err
			}
			return r.printTypes(types)
		},
	}
	api = r.addAPIFlags(cmd)
	cmd.ValidArgsFunction = r.completeTypes(api)
	return withOutputs(cmd, outputText, outputJSON, outputNames)
}

func (r *run) printTypes(types []client.TaskTypeInfo) error {
	var names []string
	var cells [][]string
	for _, t := range types {
		names = append(names, t.Name)
		cells = append(cells, []string{t.Name, t.Handler, t.Description})
	}
	switch r.output {
	case outputJSON:
		return r.print(client.TaskTypeList{TaskTypes: types}, "")
	case outputNames:
		return r.printNames(names)
	}
	return r.printTable([]string{"TYPE", "HANDLER", "DESCRIPTION"}, cells)
}

// typeText returns a task type for people.
func typeText(t client.TaskTypeAnswer) string {
	var b strings.Builder
	add := func(what, value string) {
		if value != "" && value != "null" {
			fmt.Fprintf(&b, "%-12s %s\n", what, value)
		}
	}
	add("type", t.Name)
	add("handler", t.Handler)
	add("description", t.Description)
	add("usage", t.Usage)
	add("example", string(t.Example))
	add("schema", string(t.Schema))
	add("timeout", seconds(t.Timeout))
	add("concurrency", strconv.Itoa(t.Concurrency))
	var alive, silent []string
	for _, e := range t.Endpoints {
		if e.Alive {
			alive = append(alive, e.Name)
			continue
		}
		silent = append(silent, e.Name)
	}
	more := ""
	if t.Next != nil {
		more = ", and more"
	}
	add("endpoints", fmt.Sprintf("%d alive%s (%s)", len(alive), more, orNone(folded(alive))))
	if len(silent) > 0 {
		add("silent", fmt.Sprintf("%d (%s)", len(silent), folded(silent)))
	}
	return b.String()
}

// seconds returns a number of seconds as a duration; 0 is none.
func seconds(n float64) string {
	if n == 0 {
		return ""
	}
	return time.Duration(n * float64(time.Second)).String()
}
