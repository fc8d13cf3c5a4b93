package rollout_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/rollout"
)

// The diagram of docs/rollouts.md has the legal moves, no other, and its table the states.
func TestDrawing(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/rollouts.md")
	if err != nil {
		t.Fatal(err)
	}
	var drawn, want, described, states []string
	for _, m := range regexp.MustCompile(`(?m)^    (\S+) --> ([A-Z_]+|\[\*\])`).FindAllStringSubmatch(string(doc), -1) {
		drawn = append(drawn, m[1]+" "+m[2])
	}
	for _, m := range regexp.MustCompile(`(?m)^\| ([A-Z_]+) \|`).FindAllStringSubmatch(string(doc), -1) {
		if rollout.State(m[1]).Valid() {
			described = append(described, m[1])
		}
	}
	want = append(want, "[*] "+string(rollout.New(start).State))
	for _, from := range rollout.States() {
		states = append(states, string(from))
		if from.Final() {
			want = append(want, string(from)+" [*]")
		}
		for _, to := range rollout.States() {
			if from.CanMoveTo(to) {
				want = append(want, string(from)+" "+string(to))
			}
		}
	}
	slices.Sort(drawn)
	slices.Sort(want)
	if !slices.Equal(drawn, want) {
		t.Errorf("drawn are\n%s\nlegal are\n%s", strings.Join(drawn, "\n"), strings.Join(want, "\n"))
	}
	if !slices.Equal(described, states) {
		t.Errorf("described are %v, want %v", described, states)
	}
}

// The table of docs/rollouts.md has every setting.
func TestSettingsAreDescribed(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/rollouts.md")
	if err != nil {
		t.Fatal(err)
	}
	_, err = rollout.Decode([]byte(`{"batch":1,"x~":1}`)) // the error lists them
	_, list, _ := strings.Cut(err.Error(), ": use ")
	for name := range strings.SplitSeq(list, ", ") {
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("%s is not described", name)
		}
	}
}
