package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker/internal/x/text"
)

// Report has the findings, in the order of the checks.
type Report struct {
	Checks []Check
}

func (r Report) levels(level Level) (n int) {
	for _, c := range r.Checks {
		if c.Level == level {
			n++
		}
	}
	return n
}

// Problems returns the number of problems.
func (r Report) Problems() int { return r.levels(Problem) }

// Warnings returns the number of warnings.
func (r Report) Warnings() int { return r.levels(Warning) }

// MarshalJSON encodes the report for programs: the checks, flat, with durations such
// as "1.5ms", and the numbers of problems and warnings.
func (r Report) MarshalJSON() ([]byte, error) {
	type flat struct {
		Group    string `json:"group"`
		Name     string `json:"name"`
		Level    Level  `json:"level"`
		Message  string `json:"message"`
		Advice   string `json:"advice"`
		Duration string `json:"duration"`
	}
	list := make([]flat, len(r.Checks))
	for i, c := range r.Checks {
		list[i] = flat{c.Group, c.Name, c.Level, c.Message, c.Advice, c.Duration.Round(time.Microsecond).String()}
	}
	return json.Marshal(struct {
		Checks   []flat `json:"checks"`
		Problems int    `json:"problems"`
		Warnings int    `json:"warnings"`
	}{list, r.Problems(), r.Warnings()})
}

// severity orders findings, the worst first.
var severity = map[Level]int{Problem: 0, Warning: 1, Note: 2, OK: 3}

// colors are the terminal colors of the levels.
var colors = map[Level]string{Problem: "\x1b[1;31m", Warning: "\x1b[33m", Note: "\x1b[36m", OK: "\x1b[32m"}

const noColor = "\x1b[0m"

// WriteText writes the report for people: by group, the worst findings first, with
// advice, and a summary.
func (r Report) WriteText(w io.Writer, color bool) error {
	var b strings.Builder
	shown := map[string]bool{}
	for _, c := range r.Checks {
		if shown[c.Group] {
			continue
		}
		shown[c.Group] = true
		b.WriteString(c.Group + "\n")
		group := slices.DeleteFunc(slices.Clone(r.Checks), func(other Check) bool { return other.Group != c.Group })
		slices.SortStableFunc(group, func(x, y Check) int { return severity[x.Level] - severity[y.Level] })
		for _, g := range group {
			fmt.Fprintf(&b, "  %s  %s: %s\n", paint(g.Level, fmt.Sprintf("%-7s", g.Level), color), g.Name, text.Visible(g.Message))
			if g.Advice != "" && g.Level != OK {
				fmt.Fprintf(&b, "           %s\n", text.Visible(g.Advice))
			}
		}
		b.WriteString("\n")
	}
	b.WriteString(r.summary(color) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) summary(color bool) string {
	problems, warnings := r.Problems(), r.Warnings()
	level, text := OK, "no problems"
	if problems > 0 {
		level, text = Problem, count(problems, "problem")
	} else if warnings > 0 {
		level = Warning
	}
	if warnings > 0 {
		text += ", " + count(warnings, "warning")
	} else {
		text += ", no warnings"
	}
	return paint(level, text, color)
}

func paint(level Level, text string, color bool) string {
	if !color {
		return text
	}
	return colors[level] + text + noColor
}
