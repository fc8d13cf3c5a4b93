package liveview

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// Style is how lines look. Colors only repeat what words say.
type Style struct {
	Color bool // with ANSI colors
	ASCII bool // without any other character of its own
}

// The colors.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (s Style) paint(color, text string) string {
	if !s.Color || color == "" || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func (s Style) dim(text string) string { return s.paint(faint, text) }

// visible is text of others in one line.
func visible(s string) string { return text.Visible(s) }

// maxMessage is the length of a message in a line if the width is unknown, in
// characters.
const maxMessage = 200

// clip shortens a text to so many characters.
func clip(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	const dots = "..."
	if limit <= len(dots) {
		return string([]rune(s)[:max(limit, 0)])
	}
	return string([]rune(s)[:limit-len(dots)]) + dots
}

// firstOf shortens text before it is made visible: what follows can be megabytes.
func firstOf(message string) string { return visible(text.Cut(message, 4*maxMessage)) }

// failure returns the line about a result that failed.
func (s Style) failure(r *tasker.TaskResult, width int) string {
	glyph := "✗"
	if s.ASCII {
		glyph = "x"
	}
	state := fmt.Sprintf("%s %d", visible(string(r.State)), r.Errnr)
	head := fmt.Sprintf("%s %s  ", glyph, visible(r.Endpoint))
	tail := "  " + firstOf(r.Errmsg)
	if r.Attempt > 1 {
		tail += fmt.Sprintf(" (attempt %d)", r.Attempt)
	}
	room := maxMessage
	if width > 0 {
		room = max(width-utf8.RuneCountInString(head+state)-1, 0)
	}
	return strings.TrimRight(head+s.paint(red, state)+clip(tail, room), " ")
}

// StatusLine returns the line that says how far the task is. It has less than width
// characters.
func (v *View) StatusLine(elapsed time.Duration, width int) string {
	clock := clockOf(elapsed)
	if v.status == "" {
		return clip(v.task+"  connecting  "+clock, width-1)
	}
	if v.status == tasker.Scheduled {
		return clip(v.task+"  starts at "+v.starts+"  "+clock, width-1)
	}
	n := v.numbers()
	counts, short := n.words(), n.short()
	share := fmt.Sprintf("%d/%d", n.ended, n.total)
	for _, parts := range [][]string{
		{v.task, v.style.bar(n, 24), share, counts, clock},
		{v.task, v.style.bar(n, 12), share, counts, clock},
		{v.task, share, counts, clock},
		{clip(v.task, 20), share, counts, clock},
		{share, counts, clock},
		{share, short, clock},
	} {
		if line := strings.Join(parts, "  "); utf8.RuneCountInString(line) < width {
			return line
		}
	}
	return clip(share+"  "+short+"  "+clock, width-1)
}

// CountsLine returns the same for where no line can be replaced.
func (v *View) CountsLine(elapsed time.Duration) string {
	n := v.numbers()
	status := cmp.Or(visible(string(v.status)), "connecting")
	return fmt.Sprintf("%s  %s  %d/%d  %s  %s", v.task, status, n.ended, n.total, n.words(), clockOf(elapsed))
}

// words returns the numbers with their names.
func (n numbers) words() string {
	parts := []string{fmt.Sprintf("ok %d", n.ok), fmt.Sprintf("failed %d", n.failed)}
	for _, part := range []struct {
		name  string
		count int
	}{{"canceled", n.canceled}, {"running", n.running}, {"waiting", n.waiting}, {"held", n.held}, {"unfinished", n.open}} {
		if part.count > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", part.name, part.count))
		}
	}
	return strings.Join(parts, "  ")
}

// short returns what matters most of them.
func (n numbers) short() string { return fmt.Sprintf("ok %d failed %d", n.ok, n.failed) }

// bar returns a bar of so many characters.
func (s Style) bar(n numbers, width int) string {
	full, empty := "█", "░"
	if s.ASCII {
		full, empty = "#", "."
	}
	done := 0
	if n.total > 0 {
		done = min(width*n.ended/n.total, width)
	}
	return strings.Repeat(full, done) + strings.Repeat(empty, width-done)
}

// clockOf returns a duration as 00:41, or 1:02:03.
func clockOf(d time.Duration) string {
	seconds := int(max(d, 0) / time.Second)
	if seconds >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	}
	return fmt.Sprintf("%02d:%02d", seconds/60, seconds%60)
}
