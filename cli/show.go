package cli

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/text"
)

// showFlags are the flags of "tasker show".
type showFlags struct {
	endpoint   string
	only       []string
	exitStatus bool
}

func showCommand(r *run) *cobra.Command {
	f := &showFlags{}
	var api *apiFlags
	cmd := &cobra.Command{
		Use:   "show TYPE/IDENTIFIER | -",
		Short: "Show a task and its outcomes",
		Long: `Show a task and its outcomes: results that are alike once, with the names of their
endpoints. With --endpoint, the result of one endpoint with its attempts. With
--only, the results of the endpoints in some states, one by one. "-" is the last
task that you have run.

--output json is the answer of the API, names the bare names of the endpoints, jsonl
one result a line.

The exit code is 0 if the task exists. With --exit-status it says how the task went,
or stands: see "tasker help exit-codes".`,
		Example: `  tasker show app-update/upd-17
  tasker show - -e web07
  tasker show app-update/upd-17 --only failed,missing
  tasker show app-update/upd-17 --only failed --output names | tasker run diagnose -e - --yes
  tasker show app-update/upd-17 --exit-status --output json > task.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			taskType, identifier, err := r.taskOf(cmd, api, args)
			if err != nil {
				return err
			}
			c, err := api.client(cmd)
			if err != nil {
				return err
			}
			return r.paged(func() error { return f.show(cmd.Context(), r, cmd, c, taskType, identifier) })
		},
	}
	api = r.addAPIFlags(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.endpoint, "endpoint", "e", "", "show the result of this `endpoint`")
	flags.StringSliceVar(&f.only, "only", nil,
		"show the results of `which` endpoints: failed, missing, unfinished, ok, or states such as TIMED_OUT")
	r.addPager(cmd)
	flags.BoolVar(&f.exitStatus, "exit-status", false, "end with the exit code that says how the task went")
	cmd.ValidArgsFunction = r.completeTasks(api)
	complete(cmd, "only", onlyValues)
	r.completeEndpoints(cmd, api)
	return withOutputs(cmd, outputText, outputJSON, outputLines, outputNames, outputCSV)
}

func (f *showFlags) show(ctx context.Context, r *run, cmd *cobra.Command, c *client.Client, taskType, identifier string) error {
	if f.endpoint != "" && len(f.only) > 0 {
		return usagef("--endpoint and --only exclude each other")
	}
	states, missing, err := statesOf(f.only)
	if err != nil {
		return err
	}
	final, err := c.Summary(ctx, taskType, identifier)
	if err != nil {
		return err
	}
	switch {
	case f.endpoint != "":
		err = r.showResult(ctx, c, taskType, identifier, f.endpoint)
	case len(f.only) == 0 && r.output == outputText:
		err = r.showTask(ctx, cmd, c, final)
	case len(f.only) == 0 && r.output == outputJSON:
		err = r.printTask(ctx, c, taskType, identifier)
	default:
		if len(f.only) == 0 {
			states, missing = []tasker.ResultState{""}, true
		}
		err = r.showResults(ctx, c, final, states, missing)
	}
	if err == nil && f.exitStatus {
		err = endWith(exitOf(final.Task, final.Summary))
	}
	return err
}

// only are the values of --only that are not states.
var only = map[string][]tasker.ResultState{
	"ok":         {tasker.ResultDone},
	"failed":     {tasker.ResultFailed, tasker.TimedOut, tasker.Rejected, tasker.Expired},
	"unfinished": {tasker.Received, tasker.Running, tasker.Retrying, tasker.Lost},
	"missing":    nil,
}

func onlyValues() []string {
	values := []string{"failed", "missing", "unfinished", "ok"}
	for _, state := range tasker.ResultStates() {
		values = append(values, string(state))
	}
	return values
}

// statesOf returns the states that the values of --only select, and whether they
// select the missing endpoints, too.
func statesOf(values []string) (states []tasker.ResultState, missing bool, err error) {
	for _, value := range values {
		selected, known := only[strings.ToLower(value)]
		if !known {
			state := tasker.ResultState(strings.ToUpper(value))
			if !state.Valid() {
				return nil, false, usagef("invalid --only %q: must be one of %s", value, strings.Join(onlyValues(), ", "))
			}
			selected = []tasker.ResultState{state}
		}
		states = append(states, selected...)
		missing = missing || strings.EqualFold(value, "missing") || strings.EqualFold(value, "unfinished")
	}
	slices.Sort(states)
	return slices.Compact(states), missing, nil
}

// showTask prints a task and its outcomes.
func (r *run) showTask(ctx context.Context, cmd *cobra.Command, c *client.Client, final client.TaskSummary) error {
	t := final.Task
	name := t.Type + "/" + t.Identifier
	lines := []string{name}
	add := func(what, value string) { lines = append(lines, fmt.Sprintf("%-9s %s", what, text.Visible(value))) }
	add("started", t.StartTime.Format(time.RFC3339))
	if t.Status == tasker.Scheduled {
		lines[len(lines)-1] = "starts    " + t.StartTime.Format(time.RFC3339)
	}
	add("changed", t.LastModifiedTime.Format(time.RFC3339))
	if t.Expires != nil {
		add("expires", t.Expires.Format(time.RFC3339))
	}
	if t.CreatedBy != "" {
		add("created", "by "+t.CreatedBy)
	}
	if t.Priority > 0 {
		add("priority", strconv.Itoa(t.Priority))
	}
	if t.Topic != "" {
		add("topic", t.Topic)
	}
	if t.Superseded != nil {
		add("replaced", t.Superseded.At.Format(time.RFC3339)+" by "+t.Type+"/"+t.Superseded.By)
	}
	if s := t.Signature; s != nil {
		add("signed", s.Time().Format(time.RFC3339)+" by "+s.Key+", until "+s.Until().Format(time.RFC3339))
		add("uid", s.UID)
	}
	for _, key := range slices.Sorted(maps.Keys(t.Labels)) {
		add("label", key+"="+t.Labels[key])
	}
	if len(t.Select) > 0 {
		add("select", strings.Join(t.Select, " or "))
	}
	if len(t.RemovedEndpoints) > 0 {
		add("removed", folded(t.RemovedEndpoints))
	}
	if t.Hold != nil {
		add("paused", t.Hold.At.Format(time.RFC3339)+" "+t.Hold.Describe("paused"))
	}
	if t.Cancel != nil {
		by := t.Cancel.By
		if t.Cancel.Reason != "" {
			by += ": " + t.Cancel.Reason
		}
		add("canceled", t.Cancel.At.Format(time.RFC3339)+" by "+by)
	}
	if err := r.printStyled(lines); err != nil {
		return err
	}
	if err := r.printOutcomes(ctx, c, final, 0); err != nil {
		return err
	}
	r.screen().Lines(r.nextSteps(cmd, name, final)...)
	return nil
}

// showResult prints the result of one endpoint.
func (r *run) showResult(ctx context.Context, c *client.Client, taskType, identifier, endpoint string) error {
	answer, err := c.Result(ctx, taskType, identifier, endpoint)
	if err != nil {
		return err
	}
	switch r.output {
	case outputJSON:
		return r.print(answer, "")
	case outputText:
		return r.print(answer, resultText(answer))
	}
	return r.printResults(resultRows{results: []tasker.TaskResult{answer.Result}})
}

// resultText returns a result with its attempts for people.
func resultText(a client.ResultAnswer) string {
	var b strings.Builder
	result := a.Result
	fmt.Fprintf(&b, "%s %s", result.Endpoint, result.State)
	if result.Errnr != 0 {
		fmt.Fprintf(&b, " %d", result.Errnr)
	}
	b.WriteByte('\n')
	if result.Errmsg != "" {
		fmt.Fprintf(&b, "error    %s\n", text.Visible(result.Errmsg))
	}
	if result.Position > 0 {
		fmt.Fprintf(&b, "position %d of what waits there\n", result.Position)
	}
	for _, attempt := range a.Attempts {
		fmt.Fprintf(&b, "attempt  %d %s", attempt.Attempt, attempt.State)
		if attempt.StartTime != nil {
			fmt.Fprintf(&b, ", began %s", attempt.StartTime.Format(time.RFC3339))
			if attempt.EndTime != nil {
				fmt.Fprintf(&b, ", took %s", attempt.EndTime.Sub(*attempt.StartTime).Round(time.Millisecond))
			}
		}
		if attempt.Errmsg != "" && attempt.Errmsg != result.Errmsg {
			fmt.Fprintf(&b, ": %s", text.Visible(attempt.Errmsg))
		}
		fmt.Fprintf(&b, " (%d log lines)\n", attempt.Log.Lines)
	}
	if len(result.Payload) > 0 && string(result.Payload) != "null" {
		fmt.Fprintf(&b, "payload\n%s\n", text.VisibleJSON(result.Payload))
	}
	return b.String()
}

// resultRows are results and missing endpoints.
type resultRows struct {
	results []tasker.TaskResult
	missing []string
}

// showResults prints the results in some states, and the missing endpoints.
func (r *run) showResults(
	ctx context.Context, c *client.Client, final client.TaskSummary, states []tasker.ResultState, missing bool,
) error {
	rows := resultRows{results: []tasker.TaskResult{}, missing: []string{}}
	for _, state := range states {
		for result, err := range c.Results(ctx, final.Task.Type, final.Task.Identifier, state) {
			if err != nil {
				return err
			}
			rows.results = append(rows.results, result)
		}
	}
	if missing {
		names, err := collect(c.Missing(ctx, final.Task.Type, final.Task.Identifier))
		if err != nil {
			return err
		}
		rows.missing = append(rows.missing, names...)
	}
	slices.SortFunc(rows.results, func(a, b tasker.TaskResult) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	return r.printResults(rows)
}

func collect[T any](list iter.Seq2[T, error]) (all []T, err error) {
	for entry, err := range list {
		if err != nil {
			return nil, err
		}
		all = append(all, entry)
	}
	return all, nil
}

func (r *run) printResults(rows resultRows) error {
	switch r.output {
	case outputJSON:
		return r.print(map[string]any{"results": rows.results, "missing": rows.missing}, "")
	case outputLines:
		for i := range rows.results {
			if err := r.printLine("result", map[string]any{"result": &rows.results[i]}); err != nil {
				return err
			}
		}
		for _, name := range rows.missing {
			if err := r.printLine("missing", map[string]any{"endpoint": name}); err != nil {
				return err
			}
		}
		return nil
	case outputNames:
		names := slices.Clone(rows.missing)
		for i := range rows.results {
			names = append(names, rows.results[i].Endpoint)
		}
		slices.Sort(names)
		return r.printNames(names)
	}
	header, cells := rows.table()
	if r.output == outputCSV {
		return r.printCSV(header, cells)
	}
	return r.printTable(header, cells)
}

// table returns the rows of a table.
func (rows resultRows) table() (header []string, cells [][]string) {
	for i := range rows.results {
		result := &rows.results[i]
		payload := string(result.Payload)
		if payload == "null" {
			payload = ""
		}
		cells = append(cells, []string{
			result.Endpoint, string(result.State), strconv.Itoa(result.Attempt), strconv.Itoa(result.Errnr), result.Errmsg, payload,
		})
	}
	for _, name := range rows.missing {
		cells = append(cells, []string{name, "missing", "", "", "", ""})
	}
	return []string{"ENDPOINT", "STATE", "ATTEMPT", "ERRNR", "ERRMSG", "PAYLOAD"}, cells
}
