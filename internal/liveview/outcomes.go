package liveview

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// maxRows is how many outcomes are shown one by one.
const maxRows = 30

// Outcomes are the results of a task, those that are alike together.
type Outcomes struct {
	Groups  client.TaskGroups
	Summary tasker.Summary
	// Examples are payloads, by the hash of their group.
	Examples map[string]string
	// Missing says when the missing endpoints were last seen; it may be empty.
	Missing string
	// Elapsed is how long the task was watched; 0 if it was not.
	Elapsed time.Duration
}

// row is a line of the table.
type row struct {
	count                      int
	label, message, names, ink string
}

// Outcomes returns the table of the outcomes, and below it a line with the numbers.
// Width is that of the terminal: names that do not fit are cut. With a width of 0
// they are complete.
func (s Style) Outcomes(o Outcomes, width int) []string {
	outcomes := len(o.Groups.Groups) + len(o.Groups.Other)
	if o.Groups.Missing.Count > 0 {
		outcomes++
	}
	lines := append([]string{o.title(outcomes)}, s.table(rowsOf(o), width)...)
	return append(lines, s.SummaryLine(o.Groups.Task.Status, o.Summary))
}

func (o Outcomes) title(outcomes int) string {
	title := fmt.Sprintf("%s, %s", counted(o.Groups.Expected, "endpoint"), counted(outcomes, "outcome"))
	if o.Elapsed > 0 {
		title += " in " + clockOf(o.Elapsed)
	}
	return title
}

// counted returns a number with a noun: 1 endpoint, 2 endpoints.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func rowsOf(o Outcomes) (rows []row) {
	for i := range o.Groups.Groups {
		g := &o.Groups.Groups[i]
		r := row{count: g.Count, label: string(g.State), names: strings.Join(g.Names, ","), ink: ink(g.State)}
		if g.Errnr != 0 {
			r.label = fmt.Sprintf("%s %d", g.State, g.Errnr)
		}
		r.message = o.Examples[g.Hash]
		if g.Errmsg != nil {
			r.message = *g.Errmsg
		}
		rows = append(rows, r)
	}
	if more := len(rows) - maxRows; more > 0 {
		rest := row{label: "various", message: counted(more, "other outcome")}
		for _, r := range rows[maxRows:] {
			rest.count += r.count
		}
		rows = append(rows[:maxRows], rest)
	}
	for _, other := range o.Groups.Other {
		rows = append(rows, row{
			count: other.Count, label: string(other.State), message: "various", names: strings.Join(other.Names, ","),
			ink: ink(other.State),
		})
	}
	if missing := o.Groups.Missing; missing.Count > 0 {
		message := "never received it"
		if o.Missing != "" {
			message += " (" + o.Missing + ")"
		}
		if !tookTime(o.Groups.Task.Status) {
			message = "not received yet"
		}
		rows = append(rows, row{
			count: missing.Count, label: "missing", message: message, names: strings.Join(missing.Names, ","), ink: yellow,
		})
	}
	for i := range rows {
		r := &rows[i]
		r.label, r.message, r.names = visible(r.label), firstOf(r.message), visible(r.names)
	}
	return rows
}

// tookTime reports whether the time to receive a task has passed.
func tookTime(status tasker.TaskStatus) bool {
	switch status {
	case tasker.Scheduled, tasker.Created, tasker.Sent:
		return false
	}
	return true
}

// ink returns the color of a state.
func ink(state tasker.ResultState) string {
	switch {
	case state == tasker.ResultDone:
		return green
	case Failed(state):
		return red
	}
	return yellow
}

// table lays out the rows in columns.
func (s Style) table(rows []row, width int) (lines []string) {
	countWidth, labelWidth, messageWidth, longest := 1, 0, 0, 0
	for _, r := range rows {
		countWidth = max(countWidth, len(fmt.Sprint(r.count)))
		labelWidth = max(labelWidth, utf8.RuneCountInString(r.label))
		messageWidth = max(messageWidth, utf8.RuneCountInString(r.message))
		longest = max(longest, utf8.RuneCountInString(r.names))
	}
	const gap = 2
	messageWidth = min(messageWidth, maxMessage)
	namesWidth, below := 0, false
	if width > 0 {
		room := max(width-1-gap-countWidth-gap-labelWidth-gap, 0)
		messageWidth = min(messageWidth, max(room*3/5, room-gap-longest))
		if namesWidth = room - messageWidth - gap; namesWidth < 12 {
			below, messageWidth, namesWidth = true, room, max(width-1-2*gap-countWidth, 0)
		}
	}
	for _, r := range rows {
		names := r.names
		if width > 0 {
			names = clip(names, namesWidth)
		}
		line := fmt.Sprintf("  %*d  %s", countWidth, r.count, s.paint(r.ink, pad(r.label, labelWidth)))
		if messageWidth > 0 {
			line += "  " + pad(clip(r.message, messageWidth), messageWidth)
		}
		if below {
			lines = append(lines, strings.TrimRight(line, " "), strings.Repeat(" ", countWidth+2*gap)+names)
			continue
		}
		lines = append(lines, strings.TrimRight(line+"  "+names, " "))
	}
	return lines
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
}

// SummaryLine returns the status of a task and the numbers of its results, such as
// "INCOMPLETE: 45 ok, 2 failed, 3 missing".
func (s Style) SummaryLine(status tasker.TaskStatus, sum tasker.Summary) string {
	color := red
	switch status {
	case tasker.Done:
		color = green
	case tasker.Scheduled, tasker.Created, tasker.Sent, tasker.Canceling, tasker.Canceled:
		color = yellow
	}
	parts := []string{fmt.Sprintf("%d ok", max(sum.Finished-sum.Failed-sum.Canceled, 0))}
	for _, part := range []struct {
		count int
		name  string
	}{
		{sum.Failed, "failed"},
		{sum.Canceled, "canceled"},
		{sum.Lost, "lost"},
		{sum.Held, "held"},
		{sum.Received - sum.Finished - sum.Lost - sum.Held, "unfinished"},
		{sum.Expected - sum.Received - sum.Untaken, "missing"},
		{sum.Untaken, "not taken"},
	} {
		if part.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.count, part.name))
		}
	}
	return s.paint(color, visible(string(status))) + ": " + strings.Join(parts, ", ")
}
