package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// TestRolloutFlags: what the flags of "tasker run" make of a rollout.
func TestRolloutFlags(t *testing.T) {
	t.Parallel()
	for flags, want := range map[string]string{
		"":                                      "null",
		"--rollout 5":                           `{"batch":5}`,
		"--rollout 10%":                         `{"batch":"10%"}`,
		"--rollout 1,10%,100% --max-failures 2": `{"batch":[1,"10%","100%"],"max_failures":2}`,
		"--rollout 1,x --pause 30s --approve --splay 1m --wave-timeout 15m --max-failures 5%": `{"batch":[1,"x"],"pause":"30s","max_failures":"5%",` +
			`"wave_timeout":"15m","approve":true,"splay":"1m"}`,
		"--max-concurrency 50 --ramp": `{"max_concurrency":50,"ramp":true}`,
		"--max-failures 2":            "needs --rollout",
	} {
		var f rolloutFlags
		cmd := &cobra.Command{}
		f.add(cmd)
		if err := cmd.ParseFlags(strings.Fields(flags)); err != nil {
			t.Fatal(err)
		}
		var task client.NewTask
		err := f.applyRollout(&task)
		got, _ := json.Marshal(task.Rollout)
		if err != nil {
			got = []byte(strings.ReplaceAll(err.Error(), "waves of a rollout need", "needs"))
		}
		if !strings.Contains(string(got), want) {
			t.Errorf("%s: %s, want %s", flags, got, want)
		}
	}
}

// TestWavesText: the waves of a plan in a line.
func TestWavesText(t *testing.T) {
	t.Parallel()
	waves := func(sizes ...int) *tasker.Rollout {
		r := &tasker.Rollout{HaltsAt: 3}
		for _, size := range sizes {
			r.Endpoints += size
			r.Waves = append(r.Waves, tasker.RolloutWave{Size: size, Approve: size == 4})
		}
		return r
	}
	for want, r := range map[string]*tasker.Rollout{
		"": nil,
		"rollout: waves of 1, 4 (approval), 5, halts at 3 bad\n":                              waves(1, 4, 5),
		"rollout: waves of 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ... (40 waves), halts at 3 bad\n": waves(slices.Repeat([]int{1}, 40)...),
		"rollout: 5 of 50 at once, halts at 2 bad\n":                                          {Endpoints: 50, MaxConcurrency: 5, HaltsAt: 2},
	} {
		if got := wavesText(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
