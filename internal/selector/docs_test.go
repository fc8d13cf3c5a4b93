package selector_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/selector"
)

var code = regexp.MustCompile("`([^`]+)`")

// TestDocumentedExamples reads the tables of the page for users: selectors to
// parse, those that choose some of its endpoints, and those with an error.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	var fleet []selector.Endpoint
	seen := map[string]int{}
	for _, table := range tables(t, "../../docs/selectors.md") {
		for _, row := range table[1:] {
			if table[0][0] == "name" {
				fleet = append(fleet, endpoint(t, row))
				continue
			}
			var texts []string
			for _, m := range code.FindAllStringSubmatch(row[0], -1) {
				texts = append(texts, m[1])
			}
			kind := table[0][1]
			seen[kind]++
			u, err := selector.ParseUnion(texts)
			switch {
			case kind == "error":
				if wrong, ok := errors.AsType[*selector.SyntaxError](err); ok {
					wrong.Number = 0 // it is one alone
				}
				if err == nil || "`"+err.Error()+"`" != row[1] {
					t.Errorf("%s:\n got %v\nwant %s", row[0], err, row[1])
				}
			case err != nil:
				t.Errorf("%s: %v", row[0], err)
			case kind == "chooses":
				checkChoice(t, u, fleet, row)
			}
		}
	}
	if len(fleet) != 5 || seen["chooses"] < 10 || seen["error"] < 10 || len(seen) < 4 {
		t.Errorf("tables not found: %d endpoints, rows %v", len(fleet), seen)
	}
}

func checkChoice(t *testing.T, u selector.Union, fleet []selector.Endpoint, row []string) {
	t.Helper()
	var chosen, lacking []string
	for _, e := range fleet {
		m := u.Match(e, now)
		if m.Matched {
			chosen = append(chosen, e.Name)
		}
		if m.Lacks != "" {
			lacking = append(lacking, e.Name)
		}
	}
	if got := strings.Join(chosen, " "); got != strings.TrimPrefix(row[1], "none") {
		t.Errorf("%s chooses %q, want %q", row[0], got, row[1])
	}
	if got := strings.Join(lacking, " "); got != row[2] {
		t.Errorf("%s chooses %q only for lack of a label, want %q", row[0], got, row[2])
	}
}

// endpoint reads a row of the fleet.
func endpoint(t *testing.T, row []string) selector.Endpoint {
	t.Helper()
	silent, err := time.ParseDuration(row[4])
	if err != nil {
		t.Fatal(err)
	}
	e := selector.Endpoint{
		Name: row[0], Labels: map[string]string{}, Types: strings.Fields(row[2]), Version: row[3],
		LastSeen: now.Add(-silent), Drained: row[5] == "yes",
	}
	for label := range strings.FieldsSeq(row[1]) {
		key, value, _ := strings.Cut(label, "=")
		e.Labels[key] = value
	}
	return e
}

// tables returns the tables of a page: rows of cells, without the line below the
// header.
func tables(t *testing.T, page string) [][][]string {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var found [][][]string
	inside := false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		row := strings.HasPrefix(line, "| ")
		if row && !inside {
			found = append(found, nil)
		}
		inside = row || strings.HasPrefix(line, "|-")
		if !row {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		last := len(found) - 1
		found[last] = append(found[last], cells)
	}
	return found
}
