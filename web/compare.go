package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/linediff"
	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	// maxCompared bounds what a handler returned that is compared, in bytes as it came.
	maxCompared = 256 << 10
	// maxRows bounds the lines of a comparison within a page, and around is how many equal
	// ones it has beside each difference.
	maxRows = 400
	around  = 3
)

// comparePage has two results of a task beside each other, or of two tasks of a type.
type comparePage struct {
	Type, Identifier string
	A, B             side
	With             string // the identifier of the task of B, if it is another one
	Wrong            string // why there is nothing to compare
	Facts            []fact
	Parts            []comparison
}

// side is one of the two results.
type side struct {
	Identifier, Endpoint string
	Result               tasker.TaskResult
	Took                 string // its latest attempt; empty if none has ended
	Log                  client.LogAnswer
	From                 int64 // the first line of the log that was read
}

// fact is what both results have.
type fact struct {
	Name, A, B string
	State      bool // A and B are states
}

// Differs reports whether it is not the same.
func (f fact) Differs() bool { return f.A != f.B }

// comparison is a text of one result beside that of the other.
type comparison struct {
	Title string
	Rows  []lineRow
	Same  bool
	Empty bool     // neither has any
	More  int      // rows that are not shown
	Cut   []string // what was not compared
}

// showCompare shows a comparison. The address names both results: a page without them leads
// to one that has them.
func showCompare(v *visit) error {
	taskType, identifier, err := v.task()
	if err != nil {
		return err
	}
	given := v.r.URL.Query()
	p := comparePage{
		Type: taskType, Identifier: identifier, With: v.param("with"),
		A: side{Identifier: identifier, Endpoint: v.param("a")},
		B: side{Identifier: cmp.Or(v.param("with"), identifier), Endpoint: v.param("b")},
	}
	status := http.StatusOK
	if given.Get("a") == "" || given.Get("b") == "" {
		chosen, err := v.choosePair(&p)
		if err != nil {
			return err
		}
		if chosen {
			query := url.Values{"a": {p.A.Endpoint}, "b": {p.B.Endpoint}}
			if p.With != "" {
				query.Set("with", p.With)
			}
			return v.redirect("tasks/" + taskType + "/" + identifier + "/compare?" + query.Encode())
		}
		p.Wrong = "There are no two outcomes to compare: name two endpoints."
	} else if err := v.compare(&p); err != nil {
		f, code := failureOf(err)
		if !refused(err) && tasker.CodeOf(err) != tasker.NotFound {
			return err
		}
		p.Wrong, status = f.Detail, code
	}
	return v.show(status, "compare", page{Title: "Comparison of " + taskType + "/" + identifier, Section: "tasks", Body: p})
}

// choosePair chooses the results that are not named: the first of the largest outcomes that
// are not the same, and of another run the same endpoint.
func (v *visit) choosePair(p *comparePage) (chosen bool, err error) {
	if p.A.Endpoint != "" && p.With != "" {
		p.B.Endpoint = p.A.Endpoint
		return true, nil
	}
	g, err := v.api.Groups(v.ctx(), p.Type, p.Identifier)
	if err != nil {
		return false, err
	}
	slices.SortStableFunc(g.Groups, func(a, b client.ResultGroup) int { return b.Count - a.Count })
	if p.A.Endpoint == "" {
		if p.A.Endpoint, err = besides(g.Groups, p.B.Endpoint); err != nil {
			return false, err
		}
	}
	switch {
	case p.B.Endpoint != "":
	case p.With != "":
		p.B.Endpoint = p.A.Endpoint
	default:
		p.B.Endpoint, err = besides(g.Groups, p.A.Endpoint)
	}
	return p.A.Endpoint != "" && p.B.Endpoint != "", err
}

// besides returns the first endpoint of the first group that does not have an endpoint or, if
// all have the same outcome, another one of its group; empty if there is none.
func besides(groups []client.ResultGroup, endpoint string) (other string, err error) {
	for _, group := range groups {
		names, err := group.Endpoints()
		if err != nil {
			return "", err
		}
		if !slices.Contains(names, endpoint) {
			return group.Endpoint, nil
		}
		for _, name := range names {
			if name != endpoint && other == "" {
				other = name
			}
		}
	}
	return other, nil
}

// compare reads both results, and compares them.
func (v *visit) compare(p *comparePage) error {
	for _, s := range []*side{&p.A, &p.B} {
		if err := v.readSide(p.Type, s); err != nil {
			return err
		}
	}
	a, b := &p.A.Result, &p.B.Result
	p.Facts = []fact{
		{Name: "State", A: string(a.State), B: string(b.State), State: true},
		{Name: "errnr", A: strconv.Itoa(a.Errnr), B: strconv.Itoa(b.Errnr)},
		{Name: "Attempt", A: strconv.Itoa(a.Attempt), B: strconv.Itoa(b.Attempt)},
		{Name: "Received", A: utc(a.StartTime), B: utc(b.StartTime)},
		{Name: "Took", A: p.A.Took, B: p.B.Took},
	}
	payload := comparison{Title: "What the handler returned"}
	payload.of(payload.lines(p.A.Endpoint, a.Payload), payload.lines(p.B.Endpoint, b.Payload))
	log := comparison{Title: "Log of the latest attempt"}
	log.of(log.logLines(&p.A), log.logLines(&p.B))
	message := comparison{Title: "Message"}
	message.of(linesOf(a.Errmsg), linesOf(b.Errmsg))
	p.Parts = []comparison{message, payload, log}
	return nil
}

// readSide reads a result with the end of its log.
func (v *visit) readSide(taskType string, s *side) error {
	if err := tasker.ValidateIdentifier(s.Identifier); err != nil {
		return err
	}
	if err := tasker.ValidateEndpoint(s.Endpoint); err != nil {
		return err
	}
	found, err := v.api.Result(v.ctx(), taskType, s.Identifier, s.Endpoint)
	if err != nil {
		return err
	}
	s.Result = found.Result
	if len(found.Attempts) == 0 {
		return nil
	}
	last := found.Attempts[len(found.Attempts)-1]
	if last.StartTime != nil && last.EndTime != nil {
		s.Took = since(*last.StartTime, *last.EndTime)
	}
	s.From = max(0, last.Log.Lines-logLines)
	query := url.Values{
		"attempt": {strconv.Itoa(last.Attempt)}, "limit": {strconv.Itoa(logLines)}, "offset": {strconv.FormatInt(s.From, 10)},
	}
	s.Log, err = get[client.LogAnswer](v, query, taskType, s.Identifier, "results", s.Endpoint, "log")
	return err
}

// linesOf returns the lines of a text; none of an empty one.
func linesOf(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// lines returns what a handler returned, indented. Of what is too large nothing is compared.
func (c *comparison) lines(endpoint string, raw json.RawMessage) []string {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if len(raw) > maxCompared {
		c.Cut = append(c.Cut, fmt.Sprintf("That of %s is %s, and is not compared: the limit is %s.",
			endpoint, size(int64(len(raw))), size(maxCompared)))
		return nil
	}
	var indented bytes.Buffer
	if json.Indent(&indented, raw, "", "  ") != nil {
		return []string{string(raw)}
	}
	return linesOf(indented.String())
}

// logLines returns the lines of a log, without their times, which always differ.
func (c *comparison) logLines(s *side) (lines []string) {
	if s.From > 0 {
		c.Cut = append(c.Cut, fmt.Sprintf("The log of %s has %s before these.", s.Endpoint, plural(int(s.From), "line")))
	}
	for _, line := range s.Log.Lines {
		if line.LeftOut > 0 {
			lines = append(lines, fmt.Sprintf("… %d lines were not kept", line.LeftOut))
			continue
		}
		lines = append(lines, linesOf(cmp.Or(line.Text, " "))...)
	}
	return lines
}

// of compares two texts.
func (c *comparison) of(a, b []string) {
	c.Empty = len(a) == 0 && len(b) == 0
	c.Same = slices.Equal(a, b)
	if longest := max(len(a), len(b)); longest > linediff.MaxLines {
		c.Cut = append(c.Cut, fmt.Sprintf("The first %s lines are compared, of %s.", number(linediff.MaxLines), number(longest)))
	}
	if c.Same {
		return
	}
	rows := linediff.Fold(linediff.Compare(a, b), around)
	c.More = len(rows) - maxRows
	for _, row := range rows[:min(maxRows, len(rows))] {
		shown := lineRow{row, row.Same()}
		shown.A, shown.B = text.Shorten(text.Visible(row.A), maxLine), text.Shorten(text.Visible(row.B), maxLine)
		c.Rows = append(c.Rows, shown)
	}
}

// maxLine bounds a line of a comparison within a page, in bytes.
const maxLine = 400

// lineRow is a line as a page shows it. Those that differ behind the cut look alike.
type lineRow struct {
	linediff.Row
	Equal bool
}
