package rollout_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/rollout"
)

// untils returns the cumulative borders of the waves.
func untils(p rollout.Plan) []int {
	var u []int
	for _, w := range p.Waves {
		u = append(u, w.Until)
	}
	return u
}

func TestRounding(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		n       int
		list    []int // of [1,"10%","50%","100%"]
		percent int   // waves of "10%"
		last    int   // the size of the last of them
		five    int   // waves of 5
		halts10 int   // halts_at of max_failures "10%"
		halts5  int   // of "5%"
		window  int   // max_concurrency "15%"
	}{
		{1, []int{1}, 1, 1, 1, 1, 1, 1},
		{2, []int{1, 2}, 2, 1, 1, 1, 1, 1},
		{3, []int{1, 2, 3}, 3, 1, 1, 1, 1, 1},
		{10, []int{1, 5, 10}, 10, 1, 2, 2, 1, 2},
		{11, []int{1, 2, 6, 11}, 6, 1, 3, 2, 1, 2},
		{50, []int{1, 5, 25, 50}, 10, 5, 10, 6, 3, 8},
		{1000, []int{1, 100, 500, 1000}, 10, 100, 200, 101, 51, 150},
	} {
		t.Run(fmt.Sprint(test.n), func(t *testing.T) {
			t.Parallel()
			if got := untils(plan(t, settings(t, `{"batch":[1,"10%","50%","100%"]}`), test.n)); !slices.Equal(got, test.list) {
				t.Errorf("list: %v, want %v", got, test.list)
			}
			p := plan(t, settings(t, `{"batch":"10%","max_failures":"10%"}`), test.n)
			if len(p.Waves) != test.percent || p.Waves[len(p.Waves)-1].Size != test.last || p.HaltsAt != test.halts10 {
				t.Errorf("10%%: %+v, want %d waves, the last of %d, halts at %d", p, test.percent, test.last, test.halts10)
			}
			p = plan(t, settings(t, `{"batch":5,"max_failures":"5%"}`), test.n)
			if len(p.Waves) != test.five || p.HaltsAt != test.halts5 {
				t.Errorf("5: %+v, want %d waves, halts at %d", p, test.five, test.halts5)
			}
			if p = plan(t, settings(t, `{"max_concurrency":"15%"}`), test.n); p.Window != test.window {
				t.Errorf("window: %d, want %d", p.Window, test.window)
			}
		})
	}
}

func TestBorders(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		batch string
		n     int
		want  []int
	}{
		{`[1,"10%","50%","100%"]`, 3, []int{1, 2, 3}},
		{`[1,"10%","50%","100%"]`, 0, nil},
		{`["100%"]`, 7, []int{7}},
		{`"100%"`, 7, []int{7}},
		{`"34%"`, 100, []int{34, 68, 100}},
		{`"50%"`, 5, []int{3, 5}},
		{`50`, 7, []int{7}},
		{`[2,"10%","100%"]`, 10, []int{2, 10}},  // 10 % have been tried already
		{`["99%",40]`, 50, []int{50}},           // so are 40
		{`["10%",20,"100%"]`, 10, []int{1, 10}}, // 20 are all of them
		{`[1,3,5]`, 5, []int{1, 3, 5}},          // ends at N
		{`[1,3,50]`, 5, []int{1, 3, 5}},         // more than N
		{`["10%",4,"20%",7,"100%"]`, 30, []int{3, 4, 6, 7, 30}},
	} {
		if got := untils(plan(t, settings(t, `{"batch":`+test.batch+`}`), test.n)); !slices.Equal(got, test.want) {
			t.Errorf("%s of %d: %v, want %v", test.batch, test.n, got, test.want)
		}
	}
	_, err := settings(t, `{"batch":[1,"10%",40]}`).Plan(50)
	if err == nil || !strings.Contains(err.Error(), "rollout.batch[2] 40") {
		t.Errorf("the waves end before N: %v", err)
	}
}

// An approval that falls into an entry without endpoints is not lost.
func TestApprovals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		batch, approve string
		n              int
		want           string // per wave
	}{
		{`[1,"10%","50%","100%"]`, `true`, 50, "-aaa"},
		{`[1,"10%","50%","100%"]`, `false`, 50, "----"},
		{`[1,"10%","50%","100%"]`, `[2,4]`, 50, "-a-a"},
		{`[1,"10%","50%","100%"]`, `[1]`, 50, "a---"},
		{`[1,"10%","50%","100%"]`, `[2]`, 10, "-a-"},
		{`[1,"10%","50%","100%"]`, `[2]`, 2, "-a"},
		{`[1,"10%","50%","100%"]`, `[3]`, 10, "-a-"},
		{`[1,"10%","50%","100%"]`, `[4]`, 10, "--a"},
		{`[1,"10%","50%","100%"]`, `true`, 1, "-"},
		{`5`, `true`, 11, "-aa"},
		{`5`, `[3,9]`, 11, "--a"},
	} {
		s := settings(t, fmt.Sprintf(`{"batch":%s,"approve":%s}`, test.batch, test.approve))
		got := ""
		for _, w := range plan(t, s, test.n).Waves {
			got += map[bool]string{true: "a", false: "-"}[w.Approve]
		}
		if got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func TestPlanInJSON(t *testing.T) {
	t.Parallel()
	for object, want := range map[string]string{
		`{"batch":[1,"10%","50%","100%"],"max_failures":2,"approve":[3]}`: `{"endpoints":50,"halts_at":3,"waves":[` +
			`{"n":1,"size":1,"until":1,"halts_at":1,"bad_at_most":1},{"n":2,"size":4,"until":5,"bad_at_most":5},` +
			`{"n":3,"size":20,"until":25,"bad_at_most":22,"approve":true},{"n":4,"size":25,"until":50,"bad_at_most":27}]}`,
		`{"batch":["50%","100%"],"wave_max_failures":"10%","max_failures":"100%"}`: `{"endpoints":50,"halts_at":51,"waves":[` +
			`{"n":1,"size":25,"until":25,"halts_at":3,"bad_at_most":25},{"n":2,"size":25,"until":50,"halts_at":3,"bad_at_most":50}]}`,
		`{"batch":["20%","50%","100%"],"proceed_at":"89%"}`: `{"endpoints":50,"halts_at":1,"waves":[` +
			`{"n":1,"size":10,"until":10,"halts_at":1,"bad_at_most":10},{"n":2,"size":15,"until":25,"bad_at_most":16},` +
			`{"n":3,"size":25,"until":50,"bad_at_most":27}]}`,
		`{"batch":[1,"100%"],"unreached":"ignore"}`: `{"endpoints":50,"halts_at":1,"waves":[` +
			`{"n":1,"size":1,"until":1,"halts_at":1,"bad_at_most":1},{"n":2,"size":49,"until":50,"bad_at_most":50}]}`,
		`{"max_concurrency":"10%","ramp":true,"max_failures":"5%"}`: `{"endpoints":50,"halts_at":3,"max_concurrency":5,"ramp":true,` +
			`"bad_at_most":7,"waves":[]}`,
	} {
		got, err := json.Marshal(plan(t, settings(t, object), 50))
		if err != nil || string(got) != want {
			t.Errorf("%s:\n%s\nwant\n%s (%v)", object, got, want, err)
		}
	}
}

func TestWaveAt(t *testing.T) {
	t.Parallel()
	p := plan(t, settings(t, `{"batch":[1,3,6]}`), 6)
	window := plan(t, settings(t, `{"max_concurrency":2}`), 6)
	for i, want := range []int{1, 2, 2, 3, 3, 3} {
		if got := p.WaveAt(i); got != want {
			t.Errorf("position %d is in wave %d, want %d", i, got, want)
		}
		if got := window.WaveAt(i); got != i+1 {
			t.Errorf("position %d of a window is in wave %d", i, got)
		}
	}
	if p.Steps() != 3 || window.Steps() != 6 {
		t.Error(p.Steps(), window.Steps())
	}
}
