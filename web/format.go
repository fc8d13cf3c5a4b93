package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/nodeset"
	"github.com/taskerhq/tasker/internal/x/text"
)

// functions returns what templates can call.
func functions(a assets) template.FuncMap {
	return template.FuncMap{
		"asset":   a.url,
		"entry":   func(p page, section, link, name string) entry { return entry{link, name, p.Section == section} },
		"mark":    markOf,
		"tags":    labelsOf,
		"ago":     func(t time.Time) string { return ago(now().Sub(t)) },
		"utc":     utc,
		"local":   func(t time.Time) string { return t.Format("Mon 2006-01-02 15:04:05 -07:00") },
		"since":   since,
		"seconds": seconds,
		"size":    size,
		"plural":  plural,
		"visible": text.Visible,
		"lines":   text.VisibleLines,
		"cut":     func(limit int, s string) string { return text.Shorten(s, limit) },
		"names":   foldedNames,
		"fold":    nodeset.Fold,
		"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05") },
		"hold":    func(path, verb, held string, hold *tasker.Hold) holdForm { return holdForm{path, verb, held, hold} },
		"deref":   func(s *string) string { return value(s) },
	}
}

// entry is an entry of the navigation.
type entry struct {
	Link, Name string
	Current    bool
}

// mark is how a state looks: never as a colour alone.
type mark struct {
	Glyph, Word string
	Class       string // ok, bad, warn, run, wait or off
}

// missing is the state of an endpoint that has not received the task.
const missing = "MISSING"

// marks are those of everything that has a state. A name that several have means the same
// in all.
var marks = map[string]mark{
	string(tasker.Scheduled):  {Glyph: "◷", Class: "wait"},
	string(tasker.Created):    {Glyph: "○", Class: "wait"},
	string(tasker.Sent):       {Glyph: "▸", Class: "run"},
	string(tasker.Incomplete): {Glyph: "◐", Class: "warn"},
	string(tasker.Canceling):  {Glyph: "◌", Class: "off"},
	string(tasker.Done):       {Glyph: "✓", Class: "ok"},
	string(tasker.Failed):     {Glyph: "✗", Class: "bad"},
	string(tasker.Canceled):   {Glyph: "⊘", Class: "off"},
	string(tasker.Received):   {Glyph: "○", Class: "wait"},
	string(tasker.Running):    {Glyph: "▸", Class: "run"},
	string(tasker.Retrying):   {Glyph: "↻", Class: "warn"},
	string(tasker.Lost):       {Glyph: "?", Class: "warn"},
	string(tasker.TimedOut):   {Glyph: "✗", Class: "bad"},
	string(tasker.Expired):    {Glyph: "✗", Class: "bad"},
	string(tasker.Rejected):   {Glyph: "✗", Class: "bad"},
	string(tasker.Superseded): {Glyph: "⊘", Class: "off"},
	missing:                   {Glyph: "–", Class: "warn"},

	rolloutSoaking:             {Glyph: "◷", Class: "run"},
	rolloutWaiting:             {Glyph: "!", Class: "warn"},
	rolloutHalted:              {Glyph: "■", Class: "bad"},
	rolloutPaused:              {Glyph: "‖", Class: "warn"},
	string(tasker.SlotFired):   {Glyph: "▸", Class: "run"},
	string(tasker.SlotMissed):  {Glyph: "✗", Class: "bad"},
	string(tasker.SlotOverlap): {Glyph: "⊘", Class: "off"},

	string(tasker.WaveUnopened): {Glyph: "○", Class: "wait"},
	string(tasker.WaveOpen):     {Glyph: "▸", Class: "run"},
	string(tasker.WaveEnded):    {Glyph: "▪", Class: "off"},
}

// markOf returns the mark of a status or a state, also of one that a newer API has.
func markOf(state any) mark {
	word := fmt.Sprint(state)
	m, ok := marks[word]
	if !ok {
		m = mark{Glyph: "•", Class: "wait"}
	}
	m.Word = word
	return m
}

// ago says how long ago something was, or how far away it is.
func ago(d time.Duration) string {
	switch {
	case d <= -time.Second:
		return "in " + seconds(-d)
	case d < time.Second:
		return "now"
	}
	return seconds(d) + " ago"
}

// since says how long something took that has ended, or 0 if it was not possible.
func since(from, to time.Time) string { return seconds(max(0, to.Sub(from))) }

// seconds says how long something takes, in at most two units.
func seconds(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return twoUnits(int(d.Seconds()), 60, "min", "s")
	case d < 48*time.Hour:
		return twoUnits(int(d.Minutes()), 60, "h", "min")
	}
	return twoUnits(int(d.Hours()), 24, "d", "h")
}

func twoUnits(n, per int, large, small string) string {
	if n%per == 0 {
		return fmt.Sprintf("%d %s", n/per, large)
	}
	return fmt.Sprintf("%d %s %d %s", n/per, large, n%per, small)
}

// utc returns a time for people, to the second.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// size returns a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// plural returns a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// number returns a number with a comma between thousands.
func number(n int) string {
	digits := strconv.Itoa(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// maxNames bounds a list of endpoints within a page, in bytes.
const maxNames = 400

// foldedNames joins folded names, and leaves out those that do not fit.
func foldedNames(items []string) string {
	var b strings.Builder
	for i, item := range items {
		if b.Len()+len(item) > maxNames {
			if i == 0 {
				return text.Visible(text.Shorten(item, maxNames))
			}
			return text.Visible(b.String()) + ", ..."
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(item)
	}
	return text.Visible(b.String())
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// maxShown bounds a payload within a page, in bytes.
const maxShown = 8 << 10

// document is a JSON value for a page.
type document struct {
	Text string // empty if there is none
	Size int    // of the whole, in bytes
	Cut  bool
}

// Size64 returns the size for a template.
func (d document) Size64() int64 { return int64(d.Size) }

// documentOf returns a JSON value, indented and cut to what fits a page.
func documentOf(raw json.RawMessage) document {
	if len(raw) == 0 || string(raw) == "null" {
		return document{}
	}
	d := document{Size: len(raw)}
	shown := string(raw)
	if len(raw) <= maxShown {
		var indented bytes.Buffer
		if json.Indent(&indented, raw, "", "  ") == nil {
			shown = indented.String()
		}
	}
	d.Cut = len(shown) > maxShown
	d.Text = text.Shorten(string(text.VisibleJSON([]byte(text.Shorten(shown, maxShown)))), maxShown)
	return d
}
