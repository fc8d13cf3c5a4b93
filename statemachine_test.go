package tasker_test

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
)

// edge is an arrow of a diagram; the outside is "[*]".
type edge struct{ from, to string }

const outside = "[*]"

func readDoc(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("docs/state-machine.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// section returns the part of the document under a heading.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(readDoc(t), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("the document has no section %q", heading)
	}
	part, _, _ := strings.Cut(rest, "\n## ")
	return part
}

var arrow = regexp.MustCompile(`^(\[\*\]|[A-Z_]+) --> (\[\*\]|[A-Z_]+)(: .+)?$`)

// drawing reads the arrows of a section's diagram.
func drawing(t *testing.T, heading string) map[edge]bool {
	t.Helper()
	_, rest, found := strings.Cut(section(t, heading), "```mermaid\nstateDiagram-v2\n")
	if !found {
		t.Fatalf("section %s has no stateDiagram-v2", heading)
	}
	diagram, _, _ := strings.Cut(rest, "```")
	edges := map[edge]bool{}
	for line := range strings.Lines(diagram) {
		line = strings.TrimSpace(line)
		m := arrow.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("section %s: not an arrow: %q", heading, line)
		}
		e := edge{m[1], m[2]}
		if edges[e] {
			t.Errorf("section %s: drawn twice: %q", heading, line)
		}
		edges[e] = true
	}
	return edges
}

// firstColumn reads the first cells of a section's table.
func firstColumn(t *testing.T, heading string) []string {
	t.Helper()
	var cells []string
	for line := range strings.Lines(section(t, heading)) {
		if strings.HasPrefix(line, "|") {
			cells = append(cells, strings.TrimSpace(strings.Split(line, "|")[1]))
		}
	}
	if len(cells) < 3 {
		t.Fatalf("section %s has no table", heading)
	}
	return cells[2:] // without the head and the line below it
}

// compare compares a diagram, and the table below it, with the code.
func compare[S ~string](t *testing.T, heading string, all, initial []S, canMove func(S, S) bool, final func(S) bool) {
	t.Helper()
	drawn := drawing(t, heading)
	want := map[edge]bool{}
	var names []string
	for _, from := range all {
		names = append(names, string(from))
		if slices.Contains(initial, from) {
			want[edge{outside, string(from)}] = true
		}
		if final(from) {
			want[edge{string(from), outside}] = true
		}
		for _, to := range all {
			if canMove(from, to) {
				want[edge{string(from), string(to)}] = true
			}
		}
	}
	for e := range maps.Keys(want) {
		if !drawn[e] {
			t.Errorf("%s --> %s is legal, and not drawn", e.from, e.to)
		}
	}
	for e := range maps.Keys(drawn) {
		if !want[e] {
			t.Errorf("%s --> %s is drawn, and not legal", e.from, e.to)
		}
	}
	described := firstColumn(t, heading)
	slices.Sort(described)
	slices.Sort(names)
	if !slices.Equal(described, names) {
		t.Errorf("the table describes %v, and there are %v", described, names)
	}
}

func TestTaskDrawing(t *testing.T) {
	t.Parallel()
	compare(t, "Task", tasker.TaskStatuses(), []tasker.TaskStatus{tasker.Scheduled, tasker.Created},
		func(from, to tasker.TaskStatus) bool {
			return from.CanMoveTo(to) || to == tasker.Sent && from != to && from.CanRetry()
		}, tasker.TaskStatus.Final)
}

func TestResultDrawing(t *testing.T) {
	t.Parallel()
	compare(t, "Result", tasker.ResultStates(), tasker.InitialResultStates(),
		func(from, to tasker.ResultState) bool {
			return from.CanMoveTo(to) || to == tasker.Received && from.CanRetry()
		}, tasker.ResultState.Finished)
}

// TestErrnrTable compares the table of error numbers with the constants, and
// their states with the existing ones.
func TestErrnrTable(t *testing.T) {
	t.Parallel()
	constants := errnrConstants(t)
	for line := range strings.Lines(section(t, "errnr")) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.Contains(cells[2], "`Errnr") {
			continue
		}
		number, name := strings.TrimSpace(cells[1]), strings.Trim(cells[2], " `")
		if constants[name] != number {
			t.Errorf("the table gives %s as %s, and the code as %q", name, number, constants[name])
		}
		delete(constants, name)
		for state := range strings.SplitSeq(cells[3], ",") {
			if !tasker.ResultState(strings.TrimSpace(state)).Valid() {
				t.Errorf("%s: there is no state %s", name, state)
			}
		}
	}
	for name := range maps.Keys(constants) {
		t.Errorf("%s is not in the table", name)
	}
}

// errnrConstants reads the numbers from the source.
func errnrConstants(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "task.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string]string{}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Errnr") {
			return true
		}
		sign := ""
		value := spec.Values[0]
		if negative, ok := value.(*ast.UnaryExpr); ok {
			sign, value = negative.Op.String(), negative.X
		}
		literal, ok := value.(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s has a value that is no number", spec.Names[0].Name)
		}
		constants[spec.Names[0].Name] = sign + constant.MakeFromLiteral(literal.Value, literal.Kind, 0).ExactString()
		return true
	})
	if len(constants) == 0 {
		t.Fatal("task.go has no error numbers")
	}
	return constants
}
