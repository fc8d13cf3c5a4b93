package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/liveview"
)

const (
	// maxExamples is how many payloads are read to show what outcomes are like.
	maxExamples = 5
	// maxMissing is of how many missing endpoints the last sign of life is shown.
	maxMissing = 5
)

// finish prints the outcomes of the task, and ends with the exit code that says how it
// went.
func (w *watching) finish(ctx context.Context, end ending) error {
	w.screen.Status("")
	w.screen.Lines(w.view.Hidden()...)
	switch end {
	case ranOut:
		w.screen.Lines("the wait of " + w.wait.String() + " has run out: " + w.comeBack() + " comes back")
	case firstFailed:
		w.screen.Lines("the first failure: the task goes on: " + w.comeBack() + " comes back")
	}
	final, err := w.client.Summary(ctx, w.taskType, w.identifier)
	if err != nil {
		return w.lost(err)
	}
	code := exitOf(final.Task, final.Summary)
	if end == firstFailed && code == ExitUnaccounted && final.Summary.Lost == 0 {
		code = ExitSomeFailed // of the others nobody has asked
	}
	switch w.r.output {
	case outputLines:
		err = w.r.printLine("summary", map[string]any{"status": final.Task.Status, "summary": final.Summary, "exit_code": code})
	case outputJSON:
		err = w.r.printTask(ctx, w.client, w.taskType, w.identifier)
	default:
		err = w.r.printOutcomes(ctx, w.client, final, time.Since(w.started))
		w.screen.Lines(w.r.nextSteps(w.cmd, w.name, final)...)
	}
	if err != nil {
		return err
	}
	return endWith(code)
}

// printTask prints the answer of GET /TYPE/IDENTIFIER.
func (r *run) printTask(ctx context.Context, c *client.Client, taskType, identifier string) error {
	document, err := c.TaskDocument(ctx, taskType, identifier)
	if err != nil {
		return err
	}
	return r.printDocument(document)
}

// printOutcomes prints the results of a task, those that are alike once.
func (r *run) printOutcomes(ctx context.Context, c *client.Client, final client.TaskSummary, elapsed time.Duration) error {
	task := final.Task
	groups, err := c.Groups(ctx, task.Type, task.Identifier)
	if err != nil {
		return err
	}
	o := liveview.Outcomes{
		Groups: groups, Summary: final.Summary, Elapsed: elapsed,
		Examples: examples(ctx, c, groups), Missing: lastSeen(ctx, c, groups.Missing, time.Now()),
	}
	lines := r.style(r.Stdout).Outcomes(o, columns(r.Stdout))
	if task.Errmsg != "" {
		lines = append(lines, "  "+oneLine(task.Errmsg))
	}
	return r.printStyled(lines)
}

// examples returns payloads of results without an error, by the hash of their group.
// They only help to tell the groups apart: errors are ignored.
func examples(ctx context.Context, c *client.Client, groups client.TaskGroups) map[string]string {
	payloads := map[string]string{}
	for _, g := range groups.Groups {
		if g.Errmsg != nil || g.State != tasker.ResultDone || len(payloads) == maxExamples {
			continue
		}
		answer, err := c.Result(ctx, groups.Task.Type, groups.Task.Identifier, g.Endpoint)
		if payload := string(answer.Result.Payload); err == nil && payload != "null" {
			payloads[g.Hash] = payload
		}
	}
	return payloads
}

// lastSeen says when the first of some endpoints were last seen; nothing if there are
// none, or that cannot be found out.
func lastSeen(ctx context.Context, c *client.Client, missing client.EndpointSet, now time.Time) string {
	if missing.Count == 0 {
		return ""
	}
	names, err := missing.Endpoints()
	if err != nil {
		return ""
	}
	names = names[:min(len(names), maxMissing)]
	seen := map[string]time.Time{}
	for e, err := range c.SelectEndpoints(ctx, "name in ("+strings.Join(names, ",")+")") {
		if err != nil {
			return ""
		}
		seen[e.Name] = e.LastSeen
	}
	var parts []string
	for _, name := range names {
		at, ok := seen[name]
		if !ok {
			parts = append(parts, "never")
			continue
		}
		parts = append(parts, ago(now.Sub(at)))
	}
	more := ""
	if missing.Count > len(parts) {
		more = ", ..."
	}
	return "last seen " + strings.Join(parts, ", ") + more
}

// ago returns a duration in its largest unit: 3d ago.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(d, 0)/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", d/time.Hour)
	}
	return fmt.Sprintf("%dd ago", d/(24*time.Hour))
}

// nextSteps returns what to run after a task that did not go well.
func (r *run) nextSteps(cmd *cobra.Command, name string, final client.TaskSummary) (lines []string) {
	s := final.Summary
	if hold := final.Task.Hold; hold != nil && !final.Task.Status.Final() {
		lines = append(lines, fmt.Sprintf("%s; %s resume %s", oneLine(hold.Describe("paused")), r.Name, name))
	}
	if s.Failed > 0 {
		lines = append(lines, fmt.Sprintf("look: %s show %s --only failed; %[1]s logs %[2]s -e NAME", r.Name, name))
	}
	if again, _, err := cmd.Root().Find([]string{"retry"}); err != nil || again.Name() != "retry" {
		return lines
	}
	only := ""
	switch missing := s.Expected > s.Received || s.Lost > 0; {
	case s.Failed > 0 && missing:
		only = "unfinished"
	case s.Failed > 0:
		only = "failed"
	case missing:
		only = "missing"
	}
	if only != "" {
		lines = append(lines, fmt.Sprintf("again: %s retry %s --only %s", r.Name, name, only))
	}
	return lines
}
